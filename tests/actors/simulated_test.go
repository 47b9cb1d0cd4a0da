package actors_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
	"runnerd/spool/memfs"
	"runnerd/tests/fakes"
)

// What the simulation has found, each as a history of its own.

func TestALogIsNotClosedBeforeItsReadingHasBegun(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		w.engine.Script(fake.Logs, fake.Call{Takes: 10 * time.Second})
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"one"}, Trails: []string{"two"}}})
		w.completes(id)
		w.nothingIsLeft()
		if log, ended := w.logOf(id); log != "one\ntwo\n" || !ended {
			t.Errorf("the log is %q, ended: %v", log, ended)
		}
	})
}

func TestALogIsNotClosedBeforeItsReadingHasLastedAsLongAsAnEngineMayBeLate(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		w.engine.Script(fake.Logs, fake.Call{Takes: 30 * time.Second})
		w.engine.Lag = func() time.Duration { return 35 * time.Second }
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"one"}, Trails: []string{"two"}}})
		w.completes(id)
		w.nothingIsLeft()
		if log, ended := w.logOf(id); log != "one\ntwo\n" || !ended {
			t.Errorf("the log is %q, ended: %v", log, ended)
		}
	})
}

func TestAnEvictedExecutorWhoseActorCrashesGoesThoughTheEngineIsAsked(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		s := newSaboteur(point{})
		w.scheduler = s
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(id)
		w.engine.Script(fake.Signal, fake.Call{Fails: errNoAnswer}, fake.Call{Fails: errNoAnswer})
		w.engine.Script(fake.List, fake.Call{Fails: errNoAnswer}, fake.Call{Fails: errNoAnswer})
		w.until("it is evicted", 2*time.Minute, func() bool { return w.state(w.ranIn(id)) == "stopping" })
		s.soon("executor")
		w.until("it has gone", 5*time.Minute, func() bool { return len(w.alive()) == 0 })
		w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
	})
}

func TestAJobWhoseExecutorHasEndedGetsItsEndingThoughTheDiskFailsOnce(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		var failed atomic.Bool
		w.disk.Before = func(op memfs.Op) error {
			if op.Verb != "sync" || !strings.HasSuffix(op.Name, "journal") {
				return nil
			}
			if rec, _ := w.spool.Job("job1-1"); rec.Log.Ended && rec.Stage == msg.HandedOut && failed.CompareAndSwap(false, true) {
				return errNoSpace
			}
			return nil
		}
		w.start()
		w.fails(w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Dies: 3}}), msg.Failed, "exited with code 3")
		w.nothingIsLeft()
		if !failed.Load() {
			t.Error("the disk did not fail")
		}
	})
}

func TestTheLastOutputOfAnExecutorIsKeptThoughTheDiskFailsForAWhile(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.image("odd", fakes.Plugin{ExitsAfter: 1})
		var failed atomic.Int32
		w.disk.Before = func(op memfs.Op) error {
			if op.Verb == "write" && strings.HasSuffix(op.Name, "/log") && failed.Add(1) <= 6 {
				return errNoSpace
			}
			return nil
		}
		w.start()
		id := w.server.Submit(fakes.Task{Image: "odd", Errand: fakes.Errand{Trails: []string{"done"}}})
		w.completes(id)
		w.nothingIsLeft()
		if log, ended := w.logOf(id); log != "done\n" || !ended || failed.Load() < 7 {
			t.Errorf("the log is %q, ended: %v, after %d writes", log, ended, failed.Load())
		}
	})
}

func TestALossOfPowerMixesUpNoLogsAndShowsNoSecrets(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		first := w.server.Submit(fakes.Task{Image: "plugin", Secret: "sesame", Errand: fakes.Errand{Prints: []string{"the first"}}})
		w.completes(first)
		w.nothingIsLeft()
		w.engine.Down(errNoAnswer) // its output is not read from now on
		second := w.server.Submit(fakes.Task{Image: "plugin", Secret: "hunter2", Errand: fakes.Errand{Prints: []string{"the second knows hunter2, and sesame"}, Works: time.Hour}})
		w.begins(second)
		w.passes(time.Second)
		w.losePower()
		w.engine.Down(nil)
		w.start()
		w.fails(second, msg.Failed, "exited with code 255")
		w.nothingIsLeft()
		if log, _ := w.logOf(second); log != "the second knows ********, and ********\n" {
			t.Errorf("the log of the second is %q", log)
		}
	})
}

func TestAJobThatIsGivenUpBeforeItIsConfirmedIsConfirmedBeforeItsFinish(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		s := newSaboteur(point{})
		s.poison = crashesOn[msg.ConfirmDone](3) // as many as a job bears
		w.scheduler = s
		w.start()
		w.passes(time.Second)
		w.server.Script(fakes.Confirm, slices.Repeat([]fakes.Call{{Fails: errNoAnswer}}, 5)...)
		w.fails(w.server.Submit(fakes.Task{Image: "plugin"}), msg.Failed, "gave this job up")
		w.nothingIsLeft()
		if !strings.Contains(w.log.text(), "the server is away") {
			t.Error("it knocks as if only this job were not answered")
		}
	})
}

func TestAJobWhoseExecutorDidNotStartHasItsEndingBeforeItsLogEnds(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.image("odd", fakes.Plugin{DiesAtStart: 3})
		var steps atomic.Int32
		w.disk.Before = func(op memfs.Op) error {
			if op.Verb != "write" || !strings.HasSuffix(op.Name, "journal") {
				return nil
			}
			if rec, _ := w.spool.Job("job1-1"); rec.Stage >= msg.Confirmed && steps.Add(1) > 1 {
				return errNoSpace
			}
			return nil
		}
		w.start()
		id := w.server.Submit(fakes.Task{Image: "odd"})
		w.until("its end has begun", time.Minute, func() bool { return steps.Load() > 1 })
		w.stop()
		w.image("odd", fakes.Plugin{})
		w.start()
		w.fails(id, msg.Failed, "exited with code 3")
		w.nothingIsLeft()
	})
}

func TestAnAbortThatIsNotNotedOutlivesACrashOfItsExecutorsActor(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		s := newSaboteur(point{})
		s.poison = crashesOn[msg.AbortJob](1)
		w.scheduler = s
		var bad atomic.Bool
		w.disk.Before = func(op memfs.Op) error {
			if bad.Load() && strings.HasSuffix(op.Name, "journal") {
				return errNoSpace
			}
			return nil
		}
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Hangs: true}})
		w.begins(id)
		bad.Store(true)
		w.server.Say(msg.StopJob{Order: msg.StopOrder{ID: id, Execution: w.server.ExecutionOf(id), Reason: "enough"}})
		w.passes(50 * time.Millisecond)
		bad.Store(false)
		w.fails(id, msg.Aborted, "enough")
	})
}

func TestAResultOfAJobThatWasGivenUpAndRefusedKeepsNoExecutor(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		s := newSaboteur(point{})
		first, then := crashesOn[msg.LogWritten](1), crashesOn[msg.Found](2)
		s.poison = func(m any) bool { return first(m) || then(m) }
		w.scheduler = s
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"one"}, Works: 10 * time.Second, FileOnly: true}})
		w.begins(id)
		w.server.Forget(id)
		w.until("it is given up, and refused", 10*time.Second, func() bool { return len(w.spool.Jobs()) == 0 })
		w.until("its executor is gone", 5*time.Minute, func() bool { return len(w.spool.Executors()) == 0 })
	})
}
