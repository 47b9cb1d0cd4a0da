package actors_test

import (
	"context"
	"errors"
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

// crashOn returns a poison function that crashes the actors that receive the first n messages of type M.
func crashOn[M any](n int) func(message any) bool {
	return func(message any) bool {
		_, is := message.(M)
		if is {
			n--
		}
		return is && n >= 0
	}
}

func TestExecutorWithCrashingActorsIsGivenUp(t *testing.T) {
	for name, behavior := range map[string]fakes.Behavior{
		"executor is idle":   {},
		"executor has a job": {Lines: []string{"one"}, Hangs: true},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				s := newFaultInjector(point{})
				delivered := crashOn[msg.Delivered](1)
				s.poison = func(message any) bool {
					_, found := message.(msg.Found)
					return found || behavior.Hangs && delivered(message)
				}
				e.scheduler = s
				e.engine.Script(fake.Remove, fake.Call{Err: errNoAnswer}, fake.Call{Stalls: true})
				e.start()
				id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: behavior})
				x := e.awaitRun(id)
				if behavior.Hangs {
					e.awaitOutcome(id, msg.Failed, "gave up this job")
				} else {
					e.awaitIdle(x)
					s.crashNext("executor")
					e.advance(20 * time.Second)
				}
				next := e.server.Submit(fakes.Task{Image: "plugin"})
				if f := e.awaitCompleted(next); f.At.Sub(startTime(e)) > 5*time.Minute {
					t.Errorf("the next job had to wait until %v", f.At)
				}
				if e.isAlive(x) {
					t.Error("the executor is still alive")
				}
				e.awaitCleanup()
			})
		})
	}
}

func TestUnremovableOrphanTakesOneSlot(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		image := e.engine.Load("stray", fake.Image{})
		if err := errors.Join(e.engine.Create(context.Background(), msg.ExecutorSpec{ID: "stray", Image: image}),
			e.engine.Start(context.Background(), "stray")); err != nil {
			t.Fatal(err)
		}
		e.engine.Script(fake.Remove, fake.Call{Err: errNoAnswer}, fake.Call{Stalls: true}, fake.Call{Stalls: true})
		e.start()
		first := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: 30 * time.Second}})
		second := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(first)
		if !e.isAlive("stray") {
			t.Error("the orphan was removed too early: the test proves nothing")
		}
		e.awaitCompleted(second)
		e.until("the orphan is removed", 5*time.Minute, func() bool { return !e.isAlive("stray") })
	})
}

func TestLogOfGivenUpJobIsComplete(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		s := newFaultInjector(point{})
		crashes, delivered := crashOn[msg.Found](2), crashOn[msg.Delivered](1)
		const lines = 500 // at one per ms, the log lasts longer than the crashes
		s.poison = func(message any) bool { return delivered(message) || crashes(message) }
		e.scheduler = s
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: slices.Repeat([]string{"a line"}, lines), Hangs: true}})
		e.awaitOutcome(id, msg.Failed, "gave up this job")
		e.awaitCleanup()
		if log, ended := e.logOf(id); strings.Count(log, "\n") != lines || !ended {
			t.Errorf("the job's log has %d lines of %d, ended: %v", strings.Count(log, "\n"), lines, ended)
		}
	})
}

func TestCrashBeforeDirectoryLeavesNoEndpoint(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		s := newFaultInjector(point{})
		s.poison = crashOn[msg.Prepared](3) // the number of crashes after which a job is given up
		e.scheduler = s
		var full atomic.Bool
		e.disk.Before = func(op memfs.Op) error {
			if full.Load() && strings.Contains(op.Name, "executor") {
				return errNoSpace
			}
			return nil
		}
		e.start()
		full.Store(true)
		e.awaitOutcome(e.server.Submit(fakes.Task{Image: "plugin"}), msg.Failed, "")
		full.Store(false)
		e.awaitCleanup()
	})
}

func TestGivenUpExecutorsResultSurvivesDiskFailure(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		s := newFaultInjector(point{})
		// The crash at CheckDiskDue is the one after which the executor is given up, long after its result exists.
		found, checkDisk := crashOn[msg.Found](4), crashOn[msg.CheckDiskDue](1)
		var full atomic.Bool
		s.poison = func(message any) bool { return found(message) || full.Load() && checkDisk(message) }
		e.scheduler = s
		e.disk.Before = func(op memfs.Op) error {
			if full.Load() && strings.HasSuffix(op.Name, "/result") {
				return errNoSpace
			}
			return nil
		}
		e.start()
		first := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(first)
		e.awaitIdle(e.executorOf(first))
		s.crashNext("executor")
		e.advance(20 * time.Second)
		full.Store(true)
		second := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{FileOnly: true}})
		e.until("the executor is given up", time.Minute, func() bool { return strings.Contains(e.log.text(), "actors of an executor keep crashing") })
		e.advance(5 * time.Second)
		full.Store(false)
		e.awaitCompleted(second)
		if e.executorOf(first) != e.executorOf(second) {
			t.Error("the second job ran in another executor: the test proves nothing")
		}
		e.awaitCleanup()
	})
}
