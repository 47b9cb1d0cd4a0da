package actors_test

import (
	"sync/atomic"
	"testing"
	"time"

	msg "runnerd/messages"
	"runnerd/spool/memfs"
	"runnerd/tests/fakes"
)

// The server deletes the runner.

func TestADeletedRunnerAbortsItsJobsTellsTheServerAndLeavesNothing(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		w.start()
		jobs := []msg.JobID{
			w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Hangs: true}}),
			w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Hangs: true}}),
		}
		for _, id := range jobs {
			w.begins(id)
		}
		w.server.Say(msg.Delete{})
		for _, id := range jobs {
			w.fails(id, msg.Aborted, "the server has deleted the runner")
		}
		w.until("it is deleted", time.Minute, w.deleted.Load)
		if n := len(w.server.Calls(fakes.Unregister)); n != 1 {
			t.Errorf("the server was told %d times", n)
		}
		if len(w.alive()) > 0 || len(w.spool.Executors()) > 0 {
			t.Errorf("left are %v", w.alive())
		}
		w.passes(time.Hour)
		if n := len(w.server.Calls(fakes.Register)); n != 1 {
			t.Errorf("it has registered %d times", n)
		}
	})
}

func TestADeletedRunnerUnregistersOnceWhateverTheAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		call fakes.Call
		left bool
	}{
		"the server takes it":         {left: true},
		"the server is busy":          {call: fakes.Call{Fails: refusal(503, 0)}},
		"the server does not answer":  {call: fakes.Call{Takes: 10 * time.Second, Fails: errNoAnswer}},
		"the server knows it no more": {call: fakes.Call{Fails: refusal(401, 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.start()
				w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
				w.server.Script(fakes.Unregister, c.call)
				w.server.Say(msg.Delete{})
				w.until("it is deleted", time.Minute, w.deleted.Load)
				if n := len(w.server.Calls(fakes.Unregister)); n != 1 || w.server.HasLeft() != c.left {
					t.Errorf("it was told %d times", n)
				}
			})
		})
	}
}

func TestADeletedRunnerTellsTheServerOfItsWaitingJobsFirstThoughTheDiskFailsForAWhile(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		var full atomic.Bool
		w.disk.Before = func(memfs.Op) error {
			if full.Load() {
				return errNoSpace
			}
			return nil
		}
		w.server.Script(fakes.Confirm, fakes.Call{Takes: 10 * time.Second})
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin"})
		w.until("it is being confirmed", time.Minute, func() bool { return len(w.server.Calls(fakes.Confirm)) == 1 })
		w.configure(daemonMode(0))
		w.until("it waits", time.Minute, func() bool { return len(w.pool().Waiting) == 1 })
		full.Store(true)
		w.server.Say(msg.Delete{})
		w.passes(10 * time.Second)
		if w.deleted.Load() {
			t.Error("it is deleted, and the server waits for its job")
		}
		full.Store(false)
		w.fails(id, msg.Aborted, "the server has deleted the runner")
		w.until("it is deleted", time.Minute, w.deleted.Load)
	})
}

func TestADeletionGoesOnAfterARestartAndEndsAllThatRuns(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		job := w.isDeletedAtWork()
		w.stop()
		w.goesOnUnregistered()
		if len(w.alive()) > 0 || len(w.spool.Executors()) > 0 {
			t.Errorf("left are %v", w.alive())
		}
		for _, rec := range w.spool.Jobs() {
			if rec.ID != job || rec.Ending.Outcome != msg.Aborted {
				t.Errorf("it keeps %+v", rec)
			}
		}
	})
}

func TestADeletionAbortsWhatIsFoundAfterIt(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Hangs: true}})
		w.begins(id)
		w.stop()
		w.engine.Down(errNoAnswer)
		w.start()
		w.passes(time.Second)
		w.server.Say(msg.Delete{})
		w.passes(time.Second)
		w.engine.Down(nil)
		w.fails(id, msg.Aborted, "the server has deleted the runner")
		w.until("it is deleted", time.Minute, w.deleted.Load)
	})
}

func TestTheServerIsNotToldBeforeTheNextStartKnowsOfTheDeletion(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		w.passes(time.Second)
		w.config.fail(true)
		w.server.Say(msg.Delete{})
		w.passes(5 * time.Minute)
		if w.deleted.Load() || w.server.HasLeft() {
			t.Error("it has left, and a restart would bring it back")
		}
		w.config.fail(false)
		w.until("it is deleted", time.Minute, w.deleted.Load)
	})
}

func TestNoStartOfADeletedRunnerRegisters(t *testing.T) {
	for name, call := range map[string]fakes.Call{
		"killed when it has unregistered": {},
		"killed when the answer is lost":  {AnswerLost: errNoAnswer},
		"killed before the server hears":  {Stalls: true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.server.Script(fakes.Unregister, call)
				w.start()
				w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
				w.server.Say(msg.Delete{})
				w.until("it unregisters", time.Minute, func() bool { return len(w.server.Calls(fakes.Unregister)) > 0 })
				w.stop()
				w.goesOnUnregistered()
			})
		})
	}
}

func TestADeletedRunnerThatLosesItsSessionDoesNotRegister(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.isDeletedAtWork()
		w.server.Script(fakes.Heartbeat, fakes.Call{Fails: refusal(401, 0)})
		w.until("it is deleted", time.Minute, w.deleted.Load)
		if len(w.server.Calls(fakes.Register)) != 1 || len(w.server.Calls(fakes.Unregister)) > 0 || len(w.alive()) > 0 {
			t.Errorf("it has asked for %d registrations; left are %v", len(w.server.Calls(fakes.Register)), w.alive())
		}
	})
}

// isDeletedAtWork lets the server delete a runner whose job does not end by itself, until the next start knows.
func (w *world) isDeletedAtWork() (job msg.JobID) {
	w.t.Helper()
	w.image("stubborn", fakes.Plugin{IgnoresAbort: true, IgnoresTerm: true})
	w.start()
	job = w.server.Submit(fakes.Task{Image: "stubborn", Errand: fakes.Errand{Hangs: true}})
	w.begins(job)
	w.server.Say(msg.Delete{})
	w.until("the next start will know", time.Second, w.config.isDeleted)
	return job
}

// goesOnUnregistered starts a deleted runner once more, and waits for its end. It must say nothing to the server.
func (w *world) goesOnUnregistered() {
	w.t.Helper()
	w.deleted.Store(false)
	calls := func() int { return len(w.server.Calls(fakes.Register)) + len(w.server.Calls(fakes.Unregister)) }
	before := calls()
	w.start()
	w.until("it is deleted", time.Minute, w.deleted.Load)
	w.passes(time.Hour)
	if n := calls() - before; n > 0 {
		w.t.Errorf("it has registered or unregistered %d times", n)
	}
}
