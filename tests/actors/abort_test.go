package actors_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
	"runnerd/tests/fakes"
)

func TestRule16AbortedJobEndsWithinGraceTimes(t *testing.T) {
	for name, c := range map[string]struct {
		plugin  fakes.Plugin
		within  time.Duration // after the abort order
		message string
		result  string
	}{
		"plugin answers SIGABRT at once": {fakes.Plugin{}, time.Second, "The plugin answered SIGABRT with its result after 0.0s", `{"exitCode":134}`},
		"plugin answers SIGABRT slowly": {fakes.Plugin{SDK: msg.GoSDK, AbortDelay: 8300 * time.Millisecond}, 9 * time.Second,
			"The plugin answered SIGABRT with its result after 8.3s", `{"exitCode":134}`},
		"plugin answers only SIGTERM":              {fakes.Plugin{SDK: msg.GoSDK, IgnoresAbort: true}, 11 * time.Second, "The plugin exited on SIGTERM after 10.0s", ""},
		"unknown plugin that answers only SIGTERM": {fakes.Plugin{IgnoresAbort: true}, 3 * time.Second, "The plugin exited on SIGTERM after 2.0s", ""},
		"Python plugin": {fakes.Plugin{SDK: msg.PythonSDK, AbortDelay: 1200 * time.Millisecond}, 2 * time.Second,
			"The plugin answered SIGTERM with its result after 1.2s", `{"exitCode":1}`},
		"plugin ignores all signals": {fakes.Plugin{IgnoresAbort: true, IgnoresTerm: true}, 16 * time.Second, "The plugin was killed (SIGKILL) after 15.0s", ""},
		"plugin answers too slowly":  {fakes.Plugin{AbortDelay: time.Hour}, 16 * time.Second, "The plugin was killed (SIGKILL) after 15.0s", ""},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.image("odd", c.plugin)
				e.start()
				id := e.server.Submit(fakes.Task{Image: "odd", Behavior: fakes.Behavior{Lines: []string{"one"}, Hangs: true}})
				x := e.awaitRun(id)
				e.server.Abort(id, "enough of it")
				before := len(e.server.Calls(fakes.Heartbeat))
				e.until("the server has sent the abort", time.Minute, func() bool { return len(e.server.Calls(fakes.Heartbeat)) > before })
				ordered := time.Now()
				f := e.awaitOutcome(id, msg.Aborted, "aborted: enough of it. "+c.message)
				e.until("its executor is gone", time.Minute, func() bool { return !e.isAlive(x) })
				if at, _ := e.eventTime(fake.Died, x); at.Sub(ordered) > c.within {
					t.Errorf("the executor ended after %v", at.Sub(ordered))
				}
				if want := fmt.Sprintf(`{"exitCode":%d}`, f.ExitCode); f.Result != c.result || c.result != "" && c.result != want {
					t.Errorf("the job's result is %q, want %q, and its exit code %d", f.Result, c.result, f.ExitCode)
				}
				e.awaitCleanup()
				e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
			})
		})
	}
}

func TestJobIsAbortedAtEveryStage(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*env)
		plugin  fakes.Plugin
		message string
	}{
		"while pulling": {message: "aborted while its image was being pulled: stop",
			prepare: func(e *env) { e.engine.Script(fake.Pull, fake.Call{Delay: 4 * time.Minute}) }},
		"while starting": {message: "aborted while its executor was being started: stop",
			prepare: func(e *env) { e.engine.Script(fake.Start, fake.Call{Delay: 50 * time.Second}) }},
		"before the plugin polls": {message: "aborted before its plugin asked for it: stop", plugin: fakes.Plugin{StartDelay: 25 * time.Second}},
		"during the hand-out": {message: "aborted: stop. ",
			prepare: func(e *env) { e.gateway.Script(fakes.HandOut, fakes.Call{Delay: 25 * time.Second}) }},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(2), func(e *env) {
				e.image("odd", c.plugin)
				e.start()
				e.advance(10 * time.Second)
				idle := e.server.Submit(fakes.Task{Image: "plugin"})
				e.awaitCompleted(idle)
				if c.prepare != nil {
					c.prepare(e)
				}
				id := e.server.Submit(fakes.Task{Image: "odd", Behavior: fakes.Behavior{Hangs: true}})
				e.until("the job is confirmed", time.Minute, func() bool { return e.server.IsJobConfirmed(id) })
				e.server.Abort(id, "stop")
				e.awaitOutcome(id, msg.Aborted, c.message)
				e.until("its executor is gone", 10*time.Minute, func() bool { return len(e.alive()) <= 1 })
				e.awaitCleanup()
			})
		})
	}
}

func TestAbortedWaitingJobNeverStarts(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		e.server.Script(fakes.Confirm, fakes.Call{}, fakes.Call{Delay: 10 * time.Second})
		e.start()
		first := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: 5 * time.Minute}})
		e.awaitRun(first)
		second := e.server.Submit(fakes.Task{Image: "plugin"})
		e.until("the job is being confirmed", time.Minute, func() bool { return len(e.server.Calls(fakes.Confirm)) == 2 })
		e.configure(daemonMode(1))
		e.until("the job waits", time.Minute, func() bool { return len(e.pool().Waiting) == 1 })
		e.server.Abort(second, "not needed")
		e.awaitOutcome(second, msg.Aborted, "aborted while it waited for an executor: not needed")
		if e.executorOf(second) != "" {
			t.Error("the job ran")
		}
		e.awaitCompleted(first)
	})
}

func TestWaitingJobIsAbortedDespiteDiskFailure(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		var full atomic.Bool
		e.disk.Before = func(memfs.Op) error {
			if full.Load() {
				return errNoSpace
			}
			return nil
		}
		e.start()
		first := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(first)
		config := daemonMode(0)
		e.server.Script(fakes.Confirm, fakes.Call{Delay: 10 * time.Second})
		second := e.server.Submit(fakes.Task{Image: "plugin"})
		e.until("the job is being confirmed", time.Minute, func() bool { return len(e.server.Calls(fakes.Confirm)) == 2 })
		e.configure(config)
		e.until("the job waits", time.Minute, func() bool { return len(e.pool().Waiting) == 1 })
		full.Store(true)
		e.server.AbortOnce(second, "not needed")
		e.until("the job no longer waits", time.Minute, func() bool { return len(e.pool().Waiting) == 0 })
		e.advance(10 * time.Second)
		full.Store(false)
		e.awaitOutcome(second, msg.Aborted, "aborted while it waited for an executor: not needed")
		e.awaitCleanup()
	})
}

func TestAbortSurvivesCrashOfReceivingActor(t *testing.T) {
	for name, crash := range map[string]func(*faultInjector){
		"executor's actor crashes": func(s *faultInjector) { s.crashNext("executor") },
		"no crash":                 func(*faultInjector) {},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				s := newFaultInjector(point{})
				e.scheduler = s
				e.start()
				id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Hangs: true}})
				e.awaitRun(id)
				e.advance(time.Second)
				crash(s)
				e.server.AbortOnce(id, "said once")
				f := e.awaitOutcome(id, msg.Aborted, "said once")
				if f.Result == "" {
					e.t.Errorf("the plugin was not asked to stop: %+v", f)
				}
			})
		})
	}
}

func TestAbortedJobDoesNotStartAfterRestart(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		id := e.server.Submit(fakes.Task{Image: "plugin"})
		offers, err := e.server.Reserve(t.Context(), 1, 0)
		if err != nil || len(offers) != 1 {
			t.Fatal(offers, err)
		}
		execution := offers[0].Execution
		sp, err := spool.Open(e.disk, spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{ // its container is gone, as after a power loss
			sp.Add(offers[0]), e.server.Confirm(t.Context(), id, execution), sp.Confirm(execution),
			sp.CreateExecutor(msg.ExecutorRecord{ID: "x0"}, nil), sp.HandOut(msg.HandOut{Execution: execution, Executor: "x0", From: time.Now()}),
			sp.NotStarted(execution, 1), sp.Abort(execution, "enough"), sp.Close(),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		e.start()
		e.awaitOutcome(id, msg.Aborted, "aborted before it was started: enough")
		if e.executorOf(id) != "" || e.createdCount() > 0 {
			t.Error("the job was started again")
		}
		e.awaitCleanup()
	})
}

func TestAbortDuringActorRestartLeavesNothing(t *testing.T) {
	for _, message := range []string{"Launched", "SecretRequested"} {
		t.Run("after "+message, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.image("slow", fakes.Plugin{StartDelay: time.Second})
				s := newFaultInjector(point{actor: "runner/dispatcher/x1", message: message, after: true, n: 1})
				e.scheduler = s
				e.start()
				id := e.server.Submit(fakes.Task{Image: "slow", Behavior: fakes.Behavior{Hangs: true}})
				e.until("the executor's actor has crashed", time.Minute, s.hasCrashed)
				e.engine.Script(fake.List, fake.Call{Delay: 300 * time.Millisecond}) // delays the next actor's search for the executor
				e.server.SendEvent(msg.StopJob{Order: msg.StopOrder{ID: id, Execution: e.server.ExecutionOf(id), Reason: "enough"}})
				e.awaitOutcome(id, msg.Aborted, "enough")
				e.advance(time.Second)
				e.awaitCleanup()
			})
		})
	}
}

func TestResultBeforeAbortCounts(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: time.Second}})
		e.awaitRun(id)
		e.server.Down(errNoAnswer)
		e.advance(10 * time.Second)
		e.server.Abort(id, "late")
		e.server.Down(nil)
		e.awaitCompleted(id)
	})
}

func TestForgottenJobIsStoppedAndRejected(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Hangs: true}})
		x := e.awaitRun(id)
		e.server.Forget(id)
		e.until("its executor is gone", time.Minute, func() bool { return !e.isAlive(x) })
		e.awaitCleanup()
		if rejected, err := e.disk.ReadDir("rejected"); err != nil || len(rejected) != 1 {
			t.Errorf("rejected/ has %v, error %v; want one job", rejected, err)
		}
	})
}

func TestShortEngineOutageDoesNotShortenAbort(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.image("plugin", fakes.Plugin{SDK: msg.GoSDK})
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Hangs: true}})
		e.awaitRun(id)
		e.engine.Down(errNoAnswer)
		e.server.Abort(id, "enough")
		e.until("sending a signal has failed", time.Minute, func() bool { return strings.Contains(e.log.text(), "could not send a signal; will retry") })
		e.advance(2 * time.Second)
		e.engine.Down(nil)
		e.awaitOutcome(id, msg.Aborted, "aborted: enough. The plugin answered SIGABRT with its result after ")
	})
}

func TestNextSignalFollowsUndeliveredOneOnTime(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Hangs: true}})
		x := e.awaitRun(id)
		e.engine.Down(errNoAnswer)
		e.server.Abort(id, "enough")
		e.until("sending a signal has failed", time.Minute, func() bool { return strings.Contains(e.log.text(), "could not send a signal; will retry") })
		e.advance(20 * time.Second)
		e.engine.Down(nil)
		e.awaitOutcome(id, msg.Aborted, "aborted: enough. The plugin was killed (SIGKILL) after ")
		e.until("its executor is gone", time.Minute, func() bool { return !e.isAlive(x) })
	})
}

func TestRecordedAbortIsReportedWithoutContainer(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Hangs: true}})
		x := e.awaitRun(id)
		e.stop()
		sp, err := spool.Open(e.disk, spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := sp.Abort(e.server.ExecutionOf(id), "enough"); err != nil {
			t.Fatal(err)
		}
		e.disk = e.disk.Crash(func() bool { return true })
		e.engine.RemoveExecutor(x)
		e.start()
		e.awaitOutcome(id, msg.Aborted, "aborted: enough")
	})
}
