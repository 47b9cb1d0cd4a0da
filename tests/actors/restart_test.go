package actors_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"runnerd/actors/actorrt"
	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/tests/fakes"
)

func TestRunningJobSurvivesRestart(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Secret: "hunter2", Behavior: fakes.Behavior{
			Lines: []string{"one", "two"}, Duration: 5 * time.Minute, TrailingLines: []string{"three hunter2"}}})
		e.awaitRun(id)
		e.advance(time.Minute)
		e.restart()
		e.awaitCompleted(id)
		e.awaitCleanup()
		if log, _ := e.logOf(id); !strings.HasPrefix(log, "one\ntwo\nthree ") || strings.Contains(log, "hunter2") || strings.Count(log, "\n") != 3 {
			t.Errorf("the log is %q", log)
		}
		if e.createdCount() != 1 {
			t.Errorf("%d executors were created", e.createdCount())
		}
	})
}

func TestRestartDoesNotResetJobTimeout(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Timeout: 10 * time.Minute, Behavior: fakes.Behavior{Hangs: true}})
		e.awaitRun(id)
		for range 3 {
			e.advance(3 * time.Minute)
			e.restart()
		}
		f := e.awaitOutcome(id, msg.TimedOut, "no result after 10m0s")
		if elapsed := f.At.Sub(startTime(e)); elapsed > 11*time.Minute {
			t.Errorf("the job took %v", elapsed)
		}
	})
}

func TestResultDuringDowntimeIsReported(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one"}, Duration: time.Minute, TrailingLines: []string{"two"}}})
		x := e.awaitRun(id)
		e.stop()
		e.advance(10 * time.Minute)
		e.start()
		e.awaitCompleted(id)
		e.until("its executor is retired", time.Minute, func() bool { return !e.isAlive(x) })
		e.awaitCleanup()
		if log, _ := e.logOf(id); log != "one\ntwo\n" {
			t.Errorf("the log is %q", log)
		}
	})
}

func TestJobOfVanishedExecutorReportsLastLines(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"10:00:00 one", "10:00:01 two"}, Duration: time.Hour}})
		x := e.awaitRun(id)
		e.advance(time.Minute)
		e.stop()
		s, err := spool.Open(e.disk, spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(e.engine.Remove(context.Background(), x), s.RemoveExecutor(x), s.Close()); err != nil {
			t.Fatal(err)
		}
		e.start()
		f := e.awaitOutcome(id, msg.Failed, "the job is lost: its executor "+string(x)+" is gone")
		if !strings.HasSuffix(f.Message, "Its last output:\n10:00:00 one\n10:00:01 two") {
			t.Errorf("message: %q", f.Message)
		}
		e.awaitCleanup()
	})
}

func TestRestartKeepsRemainingEvictionTime(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(id)
		e.awaitIdle(e.executorOf(id))
		since := time.Now()
		e.advance(40 * time.Second)
		e.restart()
		e.advance(18 * time.Second)
		if !e.isAlive(e.executorOf(id)) {
			t.Fatal("the executor was evicted early")
		}
		e.until("the executor is evicted", 5*time.Second, func() bool { return !e.isAlive(e.executorOf(id)) })
		if idle := time.Since(since); idle > 61*time.Second {
			t.Errorf("the executor was idle for %v", idle)
		}
	})
}

func TestIdleExecutorIsReusedAfterRestart(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		first := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(first)
		e.awaitIdle(e.executorOf(first))
		e.restart()
		second := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(second)
		if e.executorOf(first) != e.executorOf(second) {
			t.Errorf("the jobs ran in %s and %s", e.executorOf(first), e.executorOf(second))
		}
	})
}

// The logs of all jobs before the restart are complete while their executor stays idle.
func TestRestartCompletesLogsOfQuickJobs(t *testing.T) {
	config := daemonMode(1)
	config.Eviction = time.Hour
	withEnv(t, config, func(e *env) {
		e.start()
		var ids []msg.JobID
		for n := range 5 {
			ids = append(ids, e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{fmt.Sprint("job ", n)}, Duration: 100 * time.Millisecond}}))
		}
		x := e.awaitRun(ids[4])
		e.restart()
		for n, id := range ids {
			e.awaitCompleted(id)
			e.until(fmt.Sprintf("the log of job %d is complete", n), time.Minute, func() bool { log, ended := e.logOf(id); return ended && log == fmt.Sprintf("job %d\n", n) })
		}
		if e.executorState(x) != "idle" {
			t.Errorf("the job's executor is %s", e.executorState(x))
		}
	})
}

func TestUnconfirmedJobIsConfirmedAfterRestart(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.server.Script(fakes.Confirm, fakes.Call{Stalls: true})
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin"})
		e.until("the job is stored", time.Second, func() bool { return len(e.spool.Jobs()) == 1 })
		e.restart()
		e.awaitCompleted(id)
		if n := len(e.pluginHost.Runs()); n != 1 || e.server.ExecutionOf(id) != "job1-1" {
			t.Errorf("the job ran %d times, want 1; its last execution is %s", n, e.server.ExecutionOf(id))
		}
	})
}

func TestConfirmedJobRunsAfterRestart(t *testing.T) {
	for name, prepare := range map[string]func(*env){
		"while pulling":                func(e *env) { e.engine.Script(fake.Pull, fake.Call{Stalls: true}) },
		"while creating the container": func(e *env) { e.engine.Script(fake.Create, fake.Call{Stalls: true}) },
		"while starting the container": func(e *env) { e.engine.Script(fake.Start, fake.Call{Stalls: true}) },
		"while the plugin starts":      func(e *env) { e.image("plugin", fakes.Plugin{StartDelay: 10 * time.Second}) },
		"while admitting the executor": func(e *env) { e.gateway.Script(fakes.Admit, fakes.Call{Delay: 5 * time.Second}) },
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.start()
				prepare(e)
				id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one"}}})
				e.until("the job is confirmed", time.Second, func() bool { return e.server.IsJobConfirmed(id) })
				e.advance(2 * time.Second)
				e.restart()
				f := e.awaitCompleted(id)
				if elapsed := f.At.Sub(startTime(e)); elapsed > time.Minute {
					t.Errorf("the job took %v", elapsed)
				}
				e.awaitCleanup()
				if log, _ := e.logOf(id); log != "one\n" {
					t.Errorf("the log is %q", log)
				}
			})
		})
	}
}

func TestVanishedContainerFailsJobAfterRestart(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Hangs: true}})
		x := e.awaitRun(id)
		e.stop()
		if err := e.engine.Remove(context.Background(), x); err != nil {
			t.Fatal(err)
		}
		e.start()
		e.awaitOutcome(id, msg.Failed, "container disappeared without a result")
		e.awaitCleanup()
	})
}

func TestRestartFailsChildProcessJob(t *testing.T) {
	for name, ends := range map[string]func(*env, msg.ExecutorID) error{
		"container was killed": func(e *env, x msg.ExecutorID) error { e.engine.EndExecutor(x, msg.Exit{Code: -1}); return nil },
		"container is gone":    func(e *env, x msg.ExecutorID) error { return e.engine.Remove(context.Background(), x) },
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.filesOnly = true
				e.start()
				failed := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one"}, Hangs: true}})
				x := e.awaitRun(failed)
				e.stop()
				if err := ends(e, x); err != nil {
					t.Fatal(err)
				}
				e.start()
				e.awaitOutcome(failed, msg.Failed, "the runner was restarted while the job ran in a child process, which ends with the runner. Run the job again")
				completed := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: time.Second}})
				x = e.awaitRun(completed)
				e.stop()
				e.advance(2 * time.Second)
				if err := ends(e, x); err != nil {
					t.Fatal(err)
				}
				e.start()
				e.awaitCompleted(completed) // its result file exists
				e.awaitCleanup()
			})
		})
	}
}

func TestUnstartedJobRunsInAnotherExecutor(t *testing.T) {
	for name, then := range map[string]func(*env){
		"one restart":  func(*env) {},
		"two restarts": func(e *env) { e.advance(time.Millisecond); e.restart() },
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(2), func(e *env) {
				e.image("plugin", fakes.Plugin{HangsAfterJob: true})
				e.start()
				first := e.server.Submit(fakes.Task{Image: "plugin"})
				e.awaitCompleted(first)
				x := e.executorOf(first)
				e.engine.Script(fake.Create, fake.Call{Stalls: true})
				id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one"}}})
				e.until("the job is confirmed", time.Second, func() bool { return e.server.IsJobConfirmed(id) })
				e.stop()

				// The runner was killed after it had journaled the hand-out and before it answered the GET.
				s, err := spool.Open(e.disk, spool.Options{})
				if err != nil {
					t.Fatal(err)
				}
				execution := e.server.ExecutionOf(id)
				err = errors.Join(s.HandOut(msg.HandOut{Execution: execution, Executor: x, From: time.Now()}), s.NotStarted(execution, 1), e.engine.Signal(t.Context(), x, msg.SIGKILL))
				if err != nil {
					t.Fatal(err)
				}
				e.disk = e.disk.Crash(func() bool { return true })

				e.image("plugin", fakes.Plugin{})
				e.start()
				then(e)
				e.awaitCompleted(id)
				if got := e.executorOf(id); got == x {
					t.Errorf("the job ran in %s, which had exited", got)
				}
				e.until("its log is complete", time.Minute, func() bool { log, all := e.logOf(id); return all && strings.HasSuffix(log, "one\n") })
			})
		})
	}
}

func TestOrphanedContainerIsRemoved(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		image := e.engine.Load("stray", fake.Image{})
		if err := e.engine.Create(context.Background(), msg.ExecutorSpec{ID: "stray", Image: image}); err != nil {
			t.Fatal(err)
		}
		if err := e.engine.Start(context.Background(), "stray"); err != nil {
			t.Fatal(err)
		}
		e.start()
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
		if e.isAlive("stray") {
			t.Error("the orphaned container is still alive")
		}
	})
}

func TestNothingIsLostWhileEngineIsUnreachable(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: 20 * time.Minute}})
		x := e.awaitRun(id)
		e.stop()
		e.engine.Down(errNoAnswer)
		e.start()
		e.advance(10 * time.Minute)
		e.engine.Down(nil)
		if !e.isAlive(x) {
			t.Error("the executor was stopped")
		}
		e.awaitCompleted(id)
	})
}

func TestRestartedRunnerIsReadyAfterRecovery(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		e.start()
		a := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: time.Hour}})
		b := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: time.Minute}})
		e.awaitRun(a)
		e.awaitRun(b)
		e.stop()
		e.engine.Down(errNoAnswer)
		e.start()
		e.advance(time.Minute)
		e.checkNotReady(errNoAnswer.Error())
		e.engine.Down(nil)
		e.until("recovery is done", time.Minute, func() bool { return e.status().Recovery.Done })
		e.until("the runner is ready", time.Minute, func() bool { return len(e.status().NotReady) == 0 })
		if got := e.status().Recovery; got != (msg.Recovery{Done: true, Adopted: 2, Attached: 2}) {
			t.Errorf("recovery: %+v", got)
		}
		e.awaitCompleted(b)
	})
}

func TestUnattachedExecutorBlocksReadiness(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: time.Minute}})
		e.awaitRun(id)
		e.stop()
		e.engine.Script(fake.Inspect, fake.Call{Err: errNoAnswer}) // recovery succeeds, the executor's actor gets no answer
		e.start()
		e.until("recovery is done", time.Second, func() bool { return e.status().Recovery.Done })
		e.checkNotReady("1 of 1 adopted executors are not attached yet")
		e.until("the runner is ready", time.Minute, func() bool { return len(e.status().NotReady) == 0 })
		e.awaitCompleted(id)
	})
}

// checkNotReady checks that the reasons why the runner is not ready contain the text.
func (e *env) checkNotReady(message string) {
	e.t.Helper()
	if why := strings.Join(e.status().NotReady, "; "); !strings.Contains(why, message) {
		e.t.Errorf("the runner is not ready because of %q, want %q", why, message)
	}
}

func (e *env) status() (s msg.Status) {
	e.t.Helper()
	s, err := actorrt.Ask(context.Background(), e.root, func(reply func(msg.Status)) msg.ToRunner { return msg.StatusRequested{Reply: reply} })
	if err != nil {
		e.t.Fatal(err)
	}
	return s
}

func TestAbortContinuesAfterRestart(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.image("odd", fakes.Plugin{IgnoresAbort: true, IgnoresTerm: true})
		e.start()
		id := e.server.Submit(fakes.Task{Image: "odd", Behavior: fakes.Behavior{Hangs: true}})
		x := e.awaitRun(id)
		e.server.Abort(id, "enough")
		e.awaitOutcome(id, msg.Aborted, "enough")
		e.restart()
		e.until("its executor is gone", 30*time.Second, func() bool { return !e.isAlive(x) })
		e.awaitCleanup()
	})
}

func TestRestartAtAnyMomentLosesNothing(t *testing.T) {
	for n := range 60 {
		withEnv(t, daemonMode(2), func(e *env) {
			e.image("other", fakes.Plugin{StartDelay: 40 * time.Millisecond})
			e.server.Script(fakes.Confirm, fakes.Call{Delay: 20 * time.Millisecond}, fakes.Call{}, fakes.Call{Delay: 30 * time.Millisecond})
			e.server.Script(fakes.Finish, fakes.Call{Delay: 20 * time.Millisecond}, fakes.Call{}, fakes.Call{Delay: 30 * time.Millisecond})
			e.engine.Script(fake.Create, fake.Call{Delay: 7 * time.Millisecond})
			e.engine.Script(fake.Start, fake.Call{Delay: 15 * time.Millisecond})
			e.start()
			var ids []msg.JobID
			for k := range 4 {
				ids = append(ids, e.server.Submit(fakes.Task{Image: []string{"plugin", "other"}[k%2], Secret: "hunter2", Behavior: fakes.Behavior{
					Lines: []string{"one", "two hunter2"}, Duration: 30 * time.Millisecond, TrailingLines: []string{"three"}}}))
			}
			time.Sleep(time.Duration(n) * 3 * time.Millisecond)
			e.restart()
			for _, id := range ids {
				e.awaitCompleted(id)
			}
			e.awaitCleanup()
			for _, id := range ids {
				// An executor whose result is found in its file is killed at once, so its last line may be missing.
				if log, _ := e.logOf(id); log != "one\ntwo ********\nthree\n" && log != "one\ntwo ********\n" {
					t.Errorf("restart after %d ms: the log of %s is %q", 3*n, id, log)
				}
			}
		})
	}
}

func TestFilesOnlyRestartGivesEveryJobOneFinish(t *testing.T) {
	for n := range 30 {
		withEnv(t, daemonMode(2), func(e *env) {
			e.filesOnly = true
			e.engine.Script(fake.Create, fake.Call{Delay: 7 * time.Millisecond}, fake.Call{Delay: 20 * time.Millisecond})
			e.engine.Script(fake.Start, fake.Call{Delay: 15 * time.Millisecond})
			e.start()
			var ids []msg.JobID
			for range 3 {
				ids = append(ids, e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one"}, Duration: 20 * time.Millisecond}}))
			}
			time.Sleep(time.Duration(n) * 3 * time.Millisecond)
			e.restart()
			for _, id := range ids {
				e.awaitFinish(id)
			}
			e.awaitCleanup()
		})
	}
}
