package actors_test

import (
	"testing"
	"time"

	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

// leave tells the runner that its executors are about to be left, and waits until no job is on its way.
func (w *world) leave() {
	w.t.Helper()
	ready := make(chan struct{}, 1)
	w.root.Tell(msg.Leave{Ready: func() {
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
