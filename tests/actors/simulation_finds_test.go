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

// Regression tests for failures that the simulation found.

func TestLogEndWaitsForReadingToBegin(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		e.engine.Script(fake.Logs, fake.Call{Delay: 10 * time.Second})
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one"}, TrailingLines: []string{"two"}}})
		e.awaitCompleted(id)
		e.awaitCleanup()
		if log, ended := e.logOf(id); log != "one\ntwo\n" || !ended {
			t.Errorf("the log is %q, ended: %v", log, ended)
		}
	})
}

// A log is closed only after it has been read for as long as the engine may delay output (maxStampDelay).
func TestLogEndWaitsForEngineLag(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		e.engine.Script(fake.Logs, fake.Call{Delay: 30 * time.Second})
		e.engine.LogDelay = func() time.Duration { return 35 * time.Second }
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one"}, TrailingLines: []string{"two"}}})
		e.awaitCompleted(id)
		e.awaitCleanup()
		if log, ended := e.logOf(id); log != "one\ntwo\n" || !ended {
			t.Errorf("the log is %q, ended: %v", log, ended)
		}
	})
}

func TestEvictionSurvivesActorCrash(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		s := newFaultInjector(point{})
		e.scheduler = s
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(id)
		e.engine.Script(fake.Signal, fake.Call{Err: errNoAnswer}, fake.Call{Err: errNoAnswer})
		e.engine.Script(fake.List, fake.Call{Err: errNoAnswer}, fake.Call{Err: errNoAnswer})
		e.until("the executor is evicted", 2*time.Minute, func() bool { return e.executorState(e.executorOf(id)) == "stopping" })
		s.crashNext("executor")
		e.until("the executor is gone", 5*time.Minute, func() bool { return len(e.alive()) == 0 })
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
	})
}

func TestExitedExecutorsJobEndsDespiteDiskFailure(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		var failed atomic.Bool
		e.disk.Before = func(op memfs.Op) error {
			if op.Kind != "sync" || !strings.HasSuffix(op.Name, "journal") {
				return nil
			}
			if rec, _ := e.spool.Job("job1-1"); rec.Log.Closed && rec.Stage == msg.HandedOut && failed.CompareAndSwap(false, true) {
				return errNoSpace
			}
			return nil
		}
		e.start()
		e.awaitOutcome(e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{DeathCode: 3}}), msg.Failed, "exited with code 3")
		e.awaitCleanup()
		if !failed.Load() {
			t.Error("the disk did not fail")
		}
	})
}

func TestLastOutputSurvivesDiskFailure(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.image("odd", fakes.Plugin{ExitCodeAfterJob: 1})
		var failed atomic.Int32
		e.disk.Before = func(op memfs.Op) error {
			if op.Kind == "write" && strings.HasSuffix(op.Name, "/log") && failed.Add(1) <= 6 {
				return errNoSpace
			}
			return nil
		}
		e.start()
		id := e.server.Submit(fakes.Task{Image: "odd", Behavior: fakes.Behavior{TrailingLines: []string{"done"}}})
		e.awaitCompleted(id)
		e.awaitCleanup()
		if log, ended := e.logOf(id); log != "done\n" || !ended || failed.Load() < 7 {
			t.Errorf("the log is %q, ended: %v, after %d writes", log, ended, failed.Load())
		}
	})
}

func TestPowerLossKeepsLogsSeparateAndMasked(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		first := e.server.Submit(fakes.Task{Image: "plugin", Secret: "sesame", Behavior: fakes.Behavior{Lines: []string{"the first"}}})
		e.awaitCompleted(first)
		e.awaitCleanup()
		e.engine.Down(errNoAnswer) // no output is read from now on
		second := e.server.Submit(fakes.Task{Image: "plugin", Secret: "hunter2", Behavior: fakes.Behavior{Lines: []string{"the second knows hunter2, and sesame"}, Duration: time.Hour}})
		e.awaitRun(second)
		e.advance(time.Second)
		e.losePower()
		e.engine.Down(nil)
		e.start()
		e.awaitOutcome(second, msg.Failed, "exited with code 255")
		e.awaitCleanup()
		if log, _ := e.logOf(second); log != "the second knows ********, and ********\n" {
			t.Errorf("the log of the second job is %q", log)
		}
	})
}

func TestGivenUpJobIsConfirmedBeforeFinish(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		s := newFaultInjector(point{})
		s.poison = crashOn[msg.ConfirmDone](3) // the number of crashes after which a job is given up
		e.scheduler = s
		e.start()
		e.advance(time.Second)
		e.server.Script(fakes.Confirm, slices.Repeat([]fakes.Call{{Err: errNoAnswer}}, 5)...)
		e.awaitOutcome(e.server.Submit(fakes.Task{Image: "plugin"}), msg.Failed, "gave up this job")
		e.awaitCleanup()
		if !strings.Contains(e.log.text(), "server unavailable") {
			t.Error("the outage was not logged")
		}
	})
}

func TestEndingIsRecordedBeforeLogEnds(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.image("odd", fakes.Plugin{StartExitCode: 3})
		var writes atomic.Int32
		e.disk.Before = func(op memfs.Op) error {
			if op.Kind != "write" || !strings.HasSuffix(op.Name, "journal") {
				return nil
			}
			if rec, _ := e.spool.Job("job1-1"); rec.Stage >= msg.Confirmed && writes.Add(1) > 1 {
				return errNoSpace
			}
			return nil
		}
		e.start()
		id := e.server.Submit(fakes.Task{Image: "odd"})
		e.until("a journal write has failed", time.Minute, func() bool { return writes.Load() > 1 })
		e.stop()
		e.image("odd", fakes.Plugin{})
		e.start()
		e.awaitOutcome(id, msg.Failed, "exited with code 3")
		e.awaitCleanup()
	})
}

func TestUnrecordedAbortSurvivesActorCrash(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		s := newFaultInjector(point{})
		s.poison = crashOn[msg.AbortJob](1)
		e.scheduler = s
		var full atomic.Bool
		e.disk.Before = func(op memfs.Op) error {
			if full.Load() && strings.HasSuffix(op.Name, "journal") {
				return errNoSpace
			}
			return nil
		}
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Hangs: true}})
		e.awaitRun(id)
		full.Store(true)
		e.server.SendEvent(msg.StopJob{Order: msg.StopOrder{ID: id, Execution: e.server.ExecutionOf(id), Reason: "enough"}})
		e.advance(50 * time.Millisecond)
		full.Store(false)
		e.awaitOutcome(id, msg.Aborted, "enough")
	})
}

func TestRejectedGivenUpJobReleasesExecutor(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		s := newFaultInjector(point{})
		first, then := crashOn[msg.LogWritten](1), crashOn[msg.Found](2)
		s.poison = func(m any) bool { return first(m) || then(m) }
		e.scheduler = s
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one"}, Duration: 10 * time.Second, FileOnly: true}})
		e.awaitRun(id)
		e.server.Forget(id)
		e.until("the job is given up and rejected", 10*time.Second, func() bool { return len(e.spool.Jobs()) == 0 })
		e.until("its executor is gone", 5*time.Minute, func() bool { return len(e.spool.Executors()) == 0 })
	})
}
