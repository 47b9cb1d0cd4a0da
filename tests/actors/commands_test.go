package actors_test

import (
	"testing"
	"time"

	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/tests/fakes"
)

// place is where the only job in the spool is.
func (w *world) place() string {
	w.t.Helper()
	found, err := spool.Inspect(w.disk)
	if err != nil || len(found) != 1 {
		w.t.Fatalf("in the spool are %v, %v", found, err)
	}
	return found[0].Place
}

func TestAJobThatAPersonDiscardsIsNotWaitedFor(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		for range 100 {
			w.server.Script(fakes.Finish, fakes.Call{Fails: refusal(503, 0)})
		}
		w.start()
		w.server.Submit(fakes.Task{Image: "plugin"})
		w.until("it is over", time.Minute, func() bool {
			jobs := w.spool.Jobs()
			return len(jobs) == 1 && jobs[0].Stage == msg.Ended && jobs[0].Log.Ended
		})
		w.passes(time.Minute) // its next attempt is long to come
		id, err := w.spool.Discard(w.place())
		if err != nil {
			t.Fatal(err)
		}
		w.root.Tell(msg.SpoolChanged{Execution: id})
		drained := make(chan struct{})
		w.root.Tell(msg.Drain{Done: func() { close(drained) }})
		w.until("it is drained", 5*time.Second, func() bool {
			select {
			case <-drained:
				return true
			default:
				return false
			}
		})
	})
}

func TestAJobThatTheServerRefusedIsSentOnceMore(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.server.Script(fakes.Finish, fakes.Call{Fails: refusal(410, 0)})
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"one"}}})
		w.until("it is refused", time.Minute, func() bool { rejected, _, _ := w.spool.Kept(); return rejected == 1 })
		execution, err := w.spool.Resend(w.place())
		if err != nil {
			t.Fatal(err)
		}
		w.root.Tell(msg.SpoolChanged{Execution: execution})
		w.completes(id)
		w.nothingIsLeft()
	})
}
