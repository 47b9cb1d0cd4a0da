package actors_test

import (
	"slices"
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

func TestADeletedRunnerSaysThatItIsNoMoreUntilItIsHeard(t *testing.T) {
	for name, c := range map[string]struct {
		calls []fakes.Call
		told  int
		left  bool
	}{
		"the server is away for a while": {[]fakes.Call{{Fails: refusal(503, 0)}, {Fails: errNoAnswer}}, 3, true},
		"it does not come back":          {slices.Repeat([]fakes.Call{{Takes: 10 * time.Second, Fails: errNoAnswer}}, 20), 0, false},
		"it refuses":                     {[]fakes.Call{{Fails: refusal(410, 0)}}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.start()
				w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
				w.server.Script(fakes.Unregister, c.calls...)
				w.server.Say(msg.Delete{})
				w.until("it is deleted", time.Minute, w.deleted.Load)
				if n := len(w.server.Calls(fakes.Unregister)); c.told > 0 && n != c.told || w.server.HasLeft() != c.left {
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
		w.image("stubborn", fakes.Plugin{IgnoresAbort: true, IgnoresTerm: true})
		w.start()
		job, idle := w.server.Submit(fakes.Task{Image: "stubborn", Errand: fakes.Errand{Hangs: true}}), w.server.Submit(fakes.Task{Image: "plugin"})
		w.begins(job)
		w.completes(idle)
		w.server.Say(msg.Delete{})
		w.until("the next start will know", time.Second, w.config.isDeleted)
		w.stop()
		w.start()
		w.fails(job, msg.Aborted, "the server has deleted the runner")
		w.until("it is deleted", time.Minute, w.deleted.Load)
		if len(w.alive()) > 0 || len(w.spool.Executors()) > 0 || len(w.spool.Jobs()) > 0 {
			t.Errorf("left are %v", w.alive())
		}
		if !w.server.HasLeft() {
			t.Error("the server was not told")
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

func TestNoStartRegistersOnceTheDeletedRunnerTakesItsLeave(t *testing.T) {
	for name, c := range map[string]struct {
		first, next fakes.Call // what becomes of the requests of either life
		left        bool
		takes       time.Duration
	}{
		"killed when it has the answer":              {left: true},
		"killed when the answer is lost":             {first: fakes.Call{AnswerLost: errNoAnswer}, left: true},
		"killed before the server hears it":          {first: fakes.Call{Stalls: true}, left: true},
		"killed so, and the server is away at first": {first: fakes.Call{Stalls: true}, next: fakes.Call{Takes: 10 * time.Second, Fails: errNoAnswer}, left: true, takes: 10 * time.Second},
		"killed so, and the session has ended":       {first: fakes.Call{Stalls: true}, next: fakes.Call{Fails: refusal(401, 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.server.Script(fakes.Unregister, c.first, c.next)
				w.start()
				w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
				w.server.Say(msg.Delete{})
				w.until("it takes its leave", time.Minute, func() bool { return len(w.server.Calls(fakes.Unregister)) > 0 })
				w.stop()
				w.goesOnUnregistered(c.takes)
				if w.server.HasLeft() != c.left {
					t.Errorf("it has left: %v", !c.left)
				}
			})
		})
	}
}

func TestADeletedRunnerThatWasKilledWhileTheServerIsAwayWaitsNoLongerThanTheOneBefore(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.isDeletedAtWork()
		w.server.Down(errNoAnswer)
		w.until("it gives up to say how its job has ended", time.Minute, w.config.hasSession)
		w.stop()
		w.goesOnUnregistered(30 * time.Second)
	})
}

// isDeletedAtWork lets the server delete a runner whose job does not end by itself, until the next start knows.
func (w *world) isDeletedAtWork() (job msg.JobID) {
	w.t.Helper()
	w.image("stubborn", fakes.Plugin{IgnoresAbort: true})
	w.start()
	job = w.server.Submit(fakes.Task{Image: "stubborn", Errand: fakes.Errand{Hangs: true}})
	w.begins(job)
	w.server.Say(msg.Delete{})
	w.until("the next start will know", time.Second, w.config.isDeleted)
	return job
}

// goesOnUnregistered starts a deleted runner once more, and waits for its end. It must not register.
func (w *world) goesOnUnregistered(takes time.Duration) {
	w.t.Helper()
	w.deleted.Store(false)
	began, registered := time.Now(), len(w.server.Calls(fakes.Register))
	w.start()
	w.until("it is deleted", time.Minute, w.deleted.Load)
	if took := time.Since(began); took < takes || took > takes+10*time.Second {
		w.t.Errorf("it took %v", took)
	}
	w.passes(time.Hour)
	if n := len(w.server.Calls(fakes.Register)); n != registered {
		w.t.Errorf("it has registered %d times", n-registered)
	}
}

func TestTheServerIsNotToldBeforeTheNextStartCanRepeatIt(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		id := w.isDeletedAtWork()
		w.config.fail(true)
		w.fails(id, msg.Aborted, "the server has deleted the runner")
		w.passes(10 * time.Second)
		if n := len(w.server.Calls(fakes.Unregister)); n > 0 {
			t.Errorf("it was told %d times", n)
		}
		w.config.fail(false)
		w.until("it is deleted", time.Minute, w.deleted.Load)
		if !w.server.HasLeft() {
			t.Error("the server was not told")
		}
	})
}
