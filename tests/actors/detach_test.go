package actors_test

import (
	"strings"
	"testing"
	"time"

	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

// detach asks the runner to detach from its executors, and waits until no job is being handed out.
func (e *env) detach() {
	e.t.Helper()
	ready := make(chan struct{}, 1)
	e.root.Tell(msg.Detach{Ready: func() {
		select {
		case ready <- struct{}{}:
		default:
		}
	}})
	e.until("the runner is ready to detach", 2*time.Second, func() bool { return len(ready) > 0 })
}

func TestDetachHandsOutAndEvictsNothing(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		e.start()
		running := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: 10 * time.Second}})
		x := e.awaitRun(running)
		idle := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(idle)
		e.awaitIdle(e.executorOf(idle))
		e.detach()
		late := e.server.Submit(fakes.Task{Image: "plugin"})
		e.advance(5 * time.Minute)
		e.awaitCompleted(running)
		if e.executorOf(late) != "" || e.server.IsJobConfirmed(late) {
			t.Error("a job was taken while detaching")
		}
		if !e.isAlive(x) || !e.isAlive(e.executorOf(idle)) || e.createdCount() != 2 {
			t.Errorf("alive: %v, created: %d, want the two executors from before the detach", e.alive(), e.createdCount())
		}
		e.restart()
		e.awaitCompleted(late)
	})
}

// A dispatcher that is restarted while the runner detaches knows that the runner detaches.
func TestRestartedDispatcherHandsOutNothingWhileDetaching(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		s := newFaultInjector(point{})
		e.scheduler = s
		e.server.Script(fakes.Confirm, fakes.Call{Delay: 10 * time.Second})
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin"})
		e.until("the job is being confirmed", time.Minute, func() bool { return len(e.server.Calls(fakes.Confirm)) == 1 })
		e.configure(daemonMode(0))
		e.until("the job waits", time.Minute, func() bool { return len(e.pool().Waiting) == 1 })
		e.detach()
		s.crashNext("dispatcher")
		e.configure(daemonMode(1))
		e.until("the restarted dispatcher has the job", time.Minute, func() bool { return strings.Contains(e.log.text(), "injected crash") && len(e.pool().Waiting) == 1 })
		e.advance(time.Minute)
		if e.createdCount() > 0 {
			t.Error("an executor was created")
		}
		e.restart()
		e.awaitCompleted(id)
	})
}
