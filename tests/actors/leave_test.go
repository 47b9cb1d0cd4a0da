package actors_test

import (
	"strings"
	"testing"
	"time"

	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

// leave tells the runner that its executors are about to be left, and waits until no job is on its way.
func (w *world) leave() {
	w.t.Helper()
	ready := make(chan struct{}, 1)
	w.root.Tell(msg.Detach{Ready: func() {
		select {
		case ready <- struct{}{}:
		default:
		}
	}})
	w.until("it is ready to leave", 2*time.Second, func() bool { return len(ready) > 0 })
}

func TestAboutToLeaveNothingIsHandedOutAndNobodyEvicted(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		w.start()
		runs := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: 10 * time.Second}})
		x := w.begins(runs)
		idle := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(idle)
		w.becomesIdle(w.ranIn(idle))
		w.leave()
		late := w.server.Submit(fakes.Task{Image: "plugin"})
		w.passes(5 * time.Minute)
		w.completes(runs)
		if w.ranIn(late) != "" || w.server.Confirmed(late) {
			t.Error("a job is taken that came after that")
		}
		if !w.isAlive(x) || !w.isAlive(w.ranIn(idle)) || w.created() != 2 {
			t.Errorf("alive are %v, of %d", w.alive(), w.created())
		}
		w.restart()
		w.completes(late)
	})
}

func TestAboutToLeaveADispatcherThatIsStartedAgainGivesOutNothingEither(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		s := newSaboteur(point{})
		w.scheduler = s
		w.server.Script(fakes.Confirm, fakes.Call{Takes: 10 * time.Second})
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin"})
		w.until("it is being confirmed", time.Minute, func() bool { return len(w.server.Calls(fakes.Confirm)) == 1 })
		w.configure(daemonMode(0))
		w.until("it waits", time.Minute, func() bool { return len(w.pool().Waiting) == 1 })
		w.leave()
		s.soon("dispatcher")
		w.configure(daemonMode(1))
		w.until("another dispatcher has it", time.Minute, func() bool { return strings.Contains(w.log.text(), "sabotage") && len(w.pool().Waiting) == 1 })
		w.passes(time.Minute)
		if w.created() > 0 {
			t.Error("an executor is started for it")
		}
		w.restart()
		w.completes(id)
	})
}
