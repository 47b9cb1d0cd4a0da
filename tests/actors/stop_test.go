package actors_test

import (
	"errors"
	"slices"
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

// Disturbances of a job's stop sequence.

// abortRunningJob starts a job with the plugin and aborts it. It returns once the first signal has been sent.
func (e *env) abortRunningJob(p fakes.Plugin) (msg.JobID, msg.ExecutorID) {
	e.t.Helper()
	e.image("odd", p)
	e.start()
	id := e.server.Submit(fakes.Task{Image: "odd", Behavior: fakes.Behavior{Lines: []string{"one"}, Hangs: true}})
	x := e.awaitRun(id)
	e.server.Abort(id, "enough")
	e.until("the first signal is sent", time.Minute, func() bool { return len(e.engine.Calls(fake.Signal)) == 1 })
	return id, x
}

func TestStopSequenceSurvivesRestartAndActorCrash(t *testing.T) {
	disturb := map[string]func(*env, msg.JobID){
		"runner restarts": func(e *env, _ msg.JobID) { e.restart() },
		"actor crashes": func(e *env, id msg.JobID) {
			e.scheduler.(*faultInjector).crashNext("executor")
			e.server.SendEvent(msg.StopJob{Order: msg.StopOrder{ID: id, Execution: e.server.ExecutionOf(id), Reason: "once more"}})
			e.until("the actor has crashed", time.Second, func() bool { return strings.Contains(e.log.text(), "injected crash") })
		},
	}
	for name, c := range map[string]struct {
		plugin  fakes.Plugin
		after   time.Duration // since the start of the sequence
		message string
		result  string
	}{
		"while answering SIGABRT": {fakes.Plugin{SDK: msg.GoSDK, AbortDelay: 8 * time.Second}, 3 * time.Second,
			"The plugin answered SIGABRT with its result after 8.0s", `{"exitCode":134}`},
		"before SIGTERM": {fakes.Plugin{SDK: msg.GoSDK, IgnoresAbort: true}, 7 * time.Second, "The plugin exited on SIGTERM after 10.0s", ""},
		"while answering SIGTERM": {fakes.Plugin{SDK: msg.PythonSDK, AbortDelay: 4 * time.Second}, 2 * time.Second,
			"The plugin answered SIGTERM with its result after 4.0s", `{"exitCode":1}`},
		"before SIGKILL": {fakes.Plugin{IgnoresAbort: true, IgnoresTerm: true}, 13 * time.Second, "The plugin was killed (SIGKILL) after 15.0s", ""},
	} {
		for what, disturb := range disturb {
			t.Run(what+" "+name, func(t *testing.T) {
				withEnv(t, daemonMode(1), func(e *env) {
					e.scheduler = newFaultInjector(point{})
					id, x := e.abortRunningJob(c.plugin)
					e.advance(c.after)
					disturb(e, id)
					f := e.awaitOutcome(id, msg.Aborted, "aborted: enough. "+c.message)
					if f.Result != c.result {
						t.Errorf("the job's result is %q, want %q", f.Result, c.result)
					}
					e.until("its executor is gone", time.Minute, func() bool { return !e.isAlive(x) })
					e.awaitCleanup()
				})
			})
		}
	}
}

func TestJobEndingDuringDowntimeIsReportedAsKnown(t *testing.T) {
	for name, c := range map[string]struct {
		plugin  fakes.Plugin
		message string
	}{
		"plugin returned a result": {fakes.Plugin{AbortDelay: 5 * time.Second}, "The plugin returned its result within 30.0s"},
		"executor was killed":      {fakes.Plugin{AbortDelay: time.Hour}, "The plugin exited within 30.0s"},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.maxStep = minStep // the message contains the time since the abort, so until must return promptly
				id, x := e.abortRunningJob(c.plugin)
				e.advance(time.Second)
				e.stop()
				time.Sleep(29*time.Second - 100*time.Millisecond)
				if c.plugin.AbortDelay > time.Minute {
					e.engine.EndExecutor(x, msg.Exit{Code: 137})
				}
				time.Sleep(100 * time.Millisecond)
				e.start()
				e.awaitOutcome(id, msg.Aborted, "aborted: enough. "+c.message)
				e.awaitCleanup()
			})
		})
	}
}

func TestFinishWaitsForWholeStopSequence(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.limits.Abort, e.limits.Term = 2*time.Minute, 3*time.Minute
		id, _ := e.abortRunningJob(fakes.Plugin{SDK: msg.PythonSDK, AbortDelay: 4 * time.Minute})
		f := e.awaitOutcome(id, msg.Aborted, "enough. The plugin answered SIGTERM with its result after 240.0s")
		if f.Result != `{"exitCode":1}` {
			t.Errorf("the job's result is %q", f.Result)
		}
	})
}

// A finish that stopped waiting for the job's result is repeated unchanged, although the result has arrived meanwhile.
func TestRepeatedFinishIsIdentical(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.server.Script(fakes.Finish, fakes.Call{AnswerErr: errNoAnswer}, fakes.Call{Delay: time.Minute, Err: errNoAnswer})
		e.image("odd", fakes.Plugin{AbortDelay: 31 * time.Second})
		e.start()
		id := e.server.Submit(fakes.Task{Image: "odd", Behavior: fakes.Behavior{Hangs: true}})
		x := e.awaitRun(id)
		noAnswer := fake.Call{Err: errNoAnswer} // the engine accepts no signal but SIGABRT
		e.engine.Script(fake.Signal, append([]fake.Call{{}}, slices.Repeat([]fake.Call{noAnswer}, 24)...)...)
		e.server.Abort(id, "enough")
		f := e.awaitOutcome(id, msg.Aborted, "aborted: enough. It had not ended after 30.0s")
		if f.Result != "" {
			t.Errorf("the job's result is %q", f.Result)
		}
		e.until("its executor is gone", 10*time.Minute, func() bool { return !e.isAlive(x) })
		e.awaitCleanup()
	})
}

func TestOverdueStopDoesNotSignalInBusyLoop(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		_, x := e.abortRunningJob(fakes.Plugin{IgnoresAbort: true, IgnoresTerm: true})
		e.stop()
		time.Sleep(time.Minute)
		e.engine.Script(fake.Wait, fake.Call{Delay: 20 * time.Second}) // the engine reports the exit late
		e.engine.Script(fake.Signal, slices.Repeat([]fake.Call{{Delay: 100 * time.Millisecond}}, 300)...)
		before := len(e.engine.Calls(fake.Signal))
		e.start()
		e.until("the executor's exit is observed", time.Minute, func() bool { return e.executorState(x) != "stopping" && !e.isAlive(x) && len(e.spool.Executors()) == 0 })
		if sent := len(e.engine.Calls(fake.Signal)) - before; sent < 1 || sent > 5 {
			t.Errorf("%d signals were sent in 20 s", sent)
		}
	})
}

func TestUndeliveredSignalIsNotReportedAsCause(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		noAnswer := fake.Call{Err: errNoAnswer}
		e.engine.Script(fake.Signal, fake.Call{}, noAnswer, noAnswer, noAnswer, noAnswer, noAnswer)
		id, x := e.abortRunningJob(fakes.Plugin{SDK: msg.GoSDK, IgnoresAbort: true, IgnoresTerm: true})
		e.maxStep = minStep
		e.until("SIGTERM has failed twice", time.Minute, func() bool { return len(e.engine.Calls(fake.Signal)) == 3 })
		e.engine.EndExecutor(x, msg.Exit{Code: 1})
		e.awaitOutcome(id, msg.Aborted, "aborted: enough. The plugin exited on SIGABRT after 10.")
		e.awaitCleanup()
	})
}

func TestUnrecordedStopIsStillReported(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		var failNext atomic.Bool
		e.disk.Before = func(op memfs.Op) error {
			if strings.HasSuffix(op.Name, "/journal") && failNext.CompareAndSwap(true, false) {
				return errNoSpace
			}
			return nil
		}
		id, x := e.abortRunningJob(fakes.Plugin{AbortDelay: time.Second})
		failNext.Store(true)
		f := e.awaitOutcome(id, msg.Aborted, "aborted: enough")
		if f.Message != "aborted: enough" || f.Result != `{"exitCode":134}` || failNext.Load() {
			t.Errorf("the finish is %+v", f)
		}
		e.until("its executor is gone", time.Minute, func() bool { return !e.isAlive(x) })
		e.awaitCleanup()
	})
}

func TestGivenUpExecutorsStopIsNotAwaited(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		s := newFaultInjector(point{})
		e.scheduler = s
		id, _ := e.abortRunningJob(fakes.Plugin{IgnoresAbort: true, IgnoresTerm: true})
		s.poison = func(message any) bool { _, found := message.(msg.Found); return found }
		s.crashNext("executor")
		if f := e.awaitOutcome(id, msg.Aborted, "aborted: enough"); f.Message != "aborted: enough" {
			t.Errorf("message: %q", f.Message)
		}
		e.awaitCleanup()
	})
}

func TestStopWithoutExecutorIsNotAwaited(t *testing.T) {
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
		for _, err := range []error{
			sp.Add(offers[0]), e.server.Confirm(t.Context(), id, execution), sp.Confirm(execution),
			sp.CreateExecutor(msg.ExecutorRecord{ID: "x0"}, nil), sp.HandOut(msg.HandOut{Execution: execution, Executor: "x0", From: time.Now()}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		_, endErr := sp.End(execution, msg.Ending{Outcome: msg.Aborted, Message: "aborted: enough"})
		if err := errors.Join(endErr, sp.RemoveExecutor("x0"), sp.Close()); err != nil {
			t.Fatal(err)
		}
		e.start()
		e.until("the job is finished", time.Second, e.isFinished(id))
		if f, _ := e.server.FinishOf(id); f.Message != "aborted: enough" {
			t.Errorf("message: %q", f.Message)
		}
	})
}
