package actors_test

import (
	"testing"
	"time"

	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/tests/fakes"
)

// jobLocation returns the location of the only job in the spool.
func (e *env) jobLocation() string {
	e.t.Helper()
	found, err := spool.Inspect(e.disk)
	if err != nil || len(found) != 1 {
		e.t.Fatalf("the spool has %v, error %v; want one job", found, err)
	}
	return found[0].Location
}

func TestDiscardedJobDoesNotBlockDrain(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		for range 100 {
			e.server.Script(fakes.Finish, fakes.Call{Err: refusal(503, 0)})
		}
		e.start()
		e.server.Submit(fakes.Task{Image: "plugin"})
		e.until("the job has ended", time.Minute, func() bool {
			jobs := e.spool.Jobs()
			return len(jobs) == 1 && jobs[0].Stage == msg.Ended && jobs[0].Log.Closed
		})
		e.advance(time.Minute) // the next attempt is far in the future
		id, err := e.spool.Discard(e.jobLocation())
		if err != nil {
			t.Fatal(err)
		}
		e.root.Tell(msg.SpoolChanged{Execution: id})
		drained := make(chan struct{})
		e.root.Tell(msg.Drain{Done: func() { close(drained) }})
		e.until("the runner is drained", 5*time.Second, func() bool {
			select {
			case <-drained:
				return true
			default:
				return false
			}
		})
	})
}

func TestRejectedJobCanBeResent(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.server.Script(fakes.Finish, fakes.Call{Err: refusal(410, 0)})
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one"}}})
		e.until("the job is rejected", time.Minute, func() bool { rejected, _, _ := e.spool.CountRejectedAndCorrupt(); return rejected == 1 })
		execution, err := e.spool.Resend(e.jobLocation())
		if err != nil {
			t.Fatal(err)
		}
		e.root.Tell(msg.SpoolChanged{Execution: execution})
		e.awaitCompleted(id)
		e.awaitCleanup()
	})
}
