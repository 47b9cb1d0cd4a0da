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

func TestARunningJobGoesOnOverARestart(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Secret: "hunter2", Errand: fakes.Errand{
			Prints: []string{"one", "two"}, Works: 5 * time.Minute, Trails: []string{"three hunter2"}}})
		w.begins(id)
		w.passes(time.Minute)
		w.restart()
		w.completes(id)
		w.nothingIsLeft()
		if log, _ := w.logOf(id); !strings.HasPrefix(log, "one\ntwo\nthree ") || strings.Contains(log, "hunter2") || strings.Count(log, "\n") != 3 {
			t.Errorf("the log is %q", log)
		}
		if w.created() != 1 {
			t.Errorf("%d executors were created", w.created())
		}
	})
}

func TestARestartDoesNotRenewTheTimeThatAJobHas(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Timeout: 10 * time.Minute, Errand: fakes.Errand{Hangs: true}})
		w.begins(id)
		for range 3 {
			w.passes(3 * time.Minute)
			w.restart()
		}
		f := w.fails(id, msg.TimedOut, "no result after 10m0s")
		if took := f.At.Sub(startOf(w)); took > 11*time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

func TestAResultThatCameWhileTheRunnerWasAwayIsReported(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"one"}, Works: time.Minute, Trails: []string{"two"}}})
		x := w.begins(id)
		w.stop()
		w.passes(10 * time.Minute)
		w.start()
		w.completes(id)
		w.until("its executor is retired", time.Minute, func() bool { return !w.isAlive(x) })
		w.nothingIsLeft()
		if log, _ := w.logOf(id); log != "one\ntwo\n" {
			t.Errorf("the log is %q", log)
		}
	})
}

func TestAJobOfWhoseExecutorNothingIsLeftIsReportedWithItsLastLines(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"10:00:00 one", "10:00:01 two"}, Works: time.Hour}})
		x := w.begins(id)
		w.passes(time.Minute)
		w.stop()
		s, err := spool.Open(w.disk, spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.engine.Remove(context.Background(), x), s.RemoveExecutor(x), s.Close()); err != nil {
			t.Fatal(err)
		}
		w.start()
		f := w.fails(id, msg.Failed, "the job is lost: its executor "+string(x)+" is gone")
		if !strings.HasSuffix(f.Message, "Its last output:\n10:00:00 one\n10:00:01 two") {
			t.Errorf("it says %q", f.Message)
		}
		w.nothingIsLeft()
	})
}

func TestAnIdleExecutorIsKeptOverARestartWithWhatIsLeftOfItsTime(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(id)
		w.becomesIdle(w.ranIn(id))
		since := time.Now()
		w.passes(40 * time.Second)
		w.restart()
		w.passes(18 * time.Second)
		if !w.isAlive(w.ranIn(id)) {
			t.Fatal("it was evicted early")
		}
		w.until("it is evicted", 5*time.Second, func() bool { return !w.isAlive(w.ranIn(id)) })
		if lasted := time.Since(since); lasted > 61*time.Second {
			t.Errorf("it was idle for %v", lasted)
		}
	})
}

func TestAnIdleExecutorRunsTheNextJobAfterARestart(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		first := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(first)
		w.becomesIdle(w.ranIn(first))
		w.restart()
		second := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(second)
		if w.ranIn(first) != w.ranIn(second) {
			t.Errorf("they ran in %s and %s", w.ranIn(first), w.ranIn(second))
		}
	})
}

func TestTheLogsOfAllQuickJobsBeforeARestartAreCompleteWhileTheirExecutorIsKept(t *testing.T) {
	config := daemonMode(1)
	config.Eviction = time.Hour
	inWorld(t, config, func(w *world) {
		w.start()
		var ids []msg.JobID
		for n := range 5 {
			ids = append(ids, w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{fmt.Sprint("job ", n)}, Works: 100 * time.Millisecond}}))
		}
		x := w.begins(ids[4])
		w.restart()
		for n, id := range ids {
			w.completes(id)
			w.until(fmt.Sprintf("the log of job %d is complete", n), time.Minute, func() bool { log, ended := w.logOf(id); return ended && log == fmt.Sprintf("job %d\n", n) })
		}
		if w.state(x) != "idle" {
			t.Errorf("its executor is %s", w.state(x))
		}
	})
}

func TestAJobThatWasNotConfirmedIsConfirmedAfterARestart(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.server.Script(fakes.Confirm, fakes.Call{Stalls: true})
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin"})
		w.until("it is stored", time.Second, func() bool { return len(w.spool.Jobs()) == 1 })
		w.restart()
		w.completes(id)
		if n := len(w.site.Runs()); n != 1 || w.server.ExecutionOf(id) != "job1-1" {
			t.Errorf("it ran %d times, at last as %s", n, w.server.ExecutionOf(id))
		}
	})
}

func TestAJobThatWasConfirmedAndNotStartedRunsAfterARestart(t *testing.T) {
	for name, prepare := range map[string]func(*world){
		"while its image is pulled":              func(w *world) { w.engine.Script(fake.Pull, fake.Call{Stalls: true}) },
		"while its container is created":         func(w *world) { w.engine.Script(fake.Create, fake.Call{Stalls: true}) },
		"while its container is started":         func(w *world) { w.engine.Script(fake.Start, fake.Call{Stalls: true}) },
		"while its plugin starts":                func(w *world) { w.image("plugin", fakes.Plugin{StartsIn: 10 * time.Second}) },
		"while the door of its executor is made": func(w *world) { w.gateway.Script(fakes.Admit, fakes.Call{Takes: 5 * time.Second}) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.start()
				prepare(w)
				id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"one"}}})
				w.until("it is ours", time.Second, func() bool { return w.server.Confirmed(id) })
				w.passes(2 * time.Second)
				w.restart()
				f := w.completes(id)
				if took := f.At.Sub(startOf(w)); took > time.Minute {
					t.Errorf("it took %v", took)
				}
				w.nothingIsLeft()
				if log, _ := w.logOf(id); log != "one\n" {
					t.Errorf("the log is %q", log)
				}
			})
		})
	}
}

func TestAJobWhoseContainerIsGoneAfterARestartFailsWithTheReason(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Hangs: true}})
		x := w.begins(id)
		w.stop()
		if err := w.engine.Remove(context.Background(), x); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.fails(id, msg.Failed, "container is gone without a result")
		w.nothingIsLeft()
	})
}

func TestARestartFailsTheJobOfAChildProcessWithThatReason(t *testing.T) {
	for name, ends := range map[string]func(*world, msg.ExecutorID) error{
		"it was killed": func(w *world, x msg.ExecutorID) error { w.engine.Fell(x, msg.Exit{Code: -1}); return nil },
		"it is gone":    func(w *world, x msg.ExecutorID) error { return w.engine.Remove(context.Background(), x) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.files = true
				w.start()
				failed := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"one"}, Hangs: true}})
				x := w.begins(failed)
				w.stop()
				if err := ends(w, x); err != nil {
					t.Fatal(err)
				}
				w.start()
				w.fails(failed, msg.Failed, "the runner was restarted while the job ran in a child process, which ends with its runner. Run the job again")
				completed := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: time.Second}})
				x = w.begins(completed)
				w.stop()
				w.passes(2 * time.Second)
				if err := ends(w, x); err != nil {
					t.Fatal(err)
				}
				w.start()
				w.completes(completed) // its result file is there
				w.nothingIsLeft()
			})
		})
	}
}

func TestAJobThatItsExecutorEndedWithoutStartingRunsInAnother(t *testing.T) {
	for name, then := range map[string]func(*world){
		"found by the next runner":                  func(*world) {},
		"and the one after, killed when it is back": func(w *world) { w.passes(time.Millisecond); w.restart() },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(2), func(w *world) {
				w.image("plugin", fakes.Plugin{HangsAfter: true})
				w.start()
				first := w.server.Submit(fakes.Task{Image: "plugin"})
				w.completes(first)
				x := w.ranIn(first)
				w.engine.Script(fake.Create, fake.Call{Stalls: true})
				id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"one"}}})
				w.until("it is ours", time.Second, func() bool { return w.server.Confirmed(id) })
				w.stop()

				// What the runner was killed in: it had journaled the hand-out, and its answer never came.
				s, err := spool.Open(w.disk, spool.Options{})
				if err != nil {
					t.Fatal(err)
				}
				job := w.server.ExecutionOf(id)
				err = errors.Join(s.HandOut(msg.HandOut{Execution: job, Executor: x, From: time.Now()}), s.NotStarted(job, 1), w.engine.Signal(t.Context(), x, msg.SIGKILL))
				if err != nil {
					t.Fatal(err)
				}
				w.disk = w.disk.Crash(func() bool { return true })

				w.image("plugin", fakes.Plugin{})
				w.start()
				then(w)
				w.completes(id)
				if got := w.ranIn(id); got == x {
					t.Errorf("it ran in %s, which had ended", got)
				}
				w.until("its log is there", time.Minute, func() bool { log, all := w.logOf(id); return all && strings.HasSuffix(log, "one\n") })
			})
		})
	}
}

func TestAContainerOfOursThatNobodyKnowsIsRemoved(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		image := w.engine.Load("stray", fake.Image{})
		if err := w.engine.Create(context.Background(), msg.ExecutorSpec{ID: "stray", Image: image}); err != nil {
			t.Fatal(err)
		}
		if err := w.engine.Start(context.Background(), "stray"); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
		if w.isAlive("stray") {
			t.Error("it is still alive")
		}
	})
}

func TestNothingIsTakenForGoneWhileTheEngineDoesNotAnswer(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: 20 * time.Minute}})
		x := w.begins(id)
		w.stop()
		w.engine.Down(errNoAnswer)
		w.start()
		w.passes(10 * time.Minute)
		w.engine.Down(nil)
		if !w.isAlive(x) {
			t.Error("its executor is dead")
		}
		w.completes(id)
	})
}

func TestAReturnedRunnerIsReadyOnceItKnowsHowEveryExecutorFares(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		w.start()
		a := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: time.Hour}})
		b := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: time.Minute}})
		w.begins(a)
		w.begins(b)
		w.stop()
		w.engine.Down(errNoAnswer)
		w.start()
		w.passes(time.Minute)
		w.standsAgainst(errNoAnswer.Error())
		w.engine.Down(nil)
		w.until("recovery is done", time.Minute, func() bool { return w.status().Recovery.Done })
		w.until("it is ready", time.Minute, func() bool { return len(w.status().NotReady) == 0 })
		if got := w.status().Recovery; got != (msg.Recovery{Done: true, Adopted: 2, Attached: 2}) {
			t.Errorf("recovery: %+v", got)
		}
		w.completes(b)
	})
}

func TestAnExecutorThatIsNotFoundAgainStandsAgainstReadiness(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: time.Minute}})
		w.begins(id)
		w.stop()
		w.engine.Script(fake.Inspect, fake.Call{Fails: errNoAnswer}) // recovery is answered, the executor's actor is not
		w.start()
		w.until("recovery is done", time.Second, func() bool { return w.status().Recovery.Done })
		w.standsAgainst("of 1 executors that outlived the restart 1 are not found again yet")
		w.until("it is ready", time.Minute, func() bool { return len(w.status().NotReady) == 0 })
		w.completes(id)
	})
}

// standsAgainst checks that the runner is not ready for this reason.
func (w *world) standsAgainst(says string) {
	w.t.Helper()
	if why := strings.Join(w.status().NotReady, "; "); !strings.Contains(why, says) {
		w.t.Errorf("against readiness stands %q, want %q", why, says)
	}
}

func (w *world) status() (s msg.Status) {
	w.t.Helper()
	s, err := actorrt.Ask(context.Background(), w.root, func(reply func(msg.Status)) msg.ToRunner { return msg.StatusRequested{Reply: reply} })
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func TestAnAbortIsCarriedOnAfterARestart(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.image("odd", fakes.Plugin{IgnoresAbort: true, IgnoresTerm: true})
		w.start()
		id := w.server.Submit(fakes.Task{Image: "odd", Errand: fakes.Errand{Hangs: true}})
		x := w.begins(id)
		w.server.Abort(id, "enough")
		w.fails(id, msg.Aborted, "enough")
		w.restart()
		w.until("its executor is gone", 30*time.Second, func() bool { return !w.isAlive(x) })
		w.nothingIsLeft()
	})
}

func TestRestartsAtAnyMomentLoseNothing(t *testing.T) {
	for n := range 60 {
		inWorld(t, daemonMode(2), func(w *world) {
			w.image("other", fakes.Plugin{StartsIn: 40 * time.Millisecond})
			w.server.Script(fakes.Confirm, fakes.Call{Takes: 20 * time.Millisecond}, fakes.Call{}, fakes.Call{Takes: 30 * time.Millisecond})
			w.server.Script(fakes.Finish, fakes.Call{Takes: 20 * time.Millisecond}, fakes.Call{}, fakes.Call{Takes: 30 * time.Millisecond})
			w.engine.Script(fake.Create, fake.Call{Takes: 7 * time.Millisecond})
			w.engine.Script(fake.Start, fake.Call{Takes: 15 * time.Millisecond})
			w.start()
			var ids []msg.JobID
			for k := range 4 {
				ids = append(ids, w.server.Submit(fakes.Task{Image: []string{"plugin", "other"}[k%2], Secret: "hunter2", Errand: fakes.Errand{
					Prints: []string{"one", "two hunter2"}, Works: 30 * time.Millisecond, Trails: []string{"three"}}}))
			}
			time.Sleep(time.Duration(n) * 3 * time.Millisecond)
			w.restart()
			for _, id := range ids {
				w.completes(id)
			}
			w.nothingIsLeft()
			for _, id := range ids {
				if log, _ := w.logOf(id); log != "one\ntwo ********\nthree\n" && log != "one\ntwo ********\n" { // an executor whose result is found by file is killed at once
					t.Errorf("restart after %d ms: the log of %s is %q", 3*n, id, log)
				}
			}
		})
	}
}

func TestWithFilesOnlyARestartAtAnyMomentLeavesEveryJobWithOneEnding(t *testing.T) {
	for n := range 30 {
		inWorld(t, daemonMode(2), func(w *world) {
			w.files = true
			w.engine.Script(fake.Create, fake.Call{Takes: 7 * time.Millisecond}, fake.Call{Takes: 20 * time.Millisecond})
			w.engine.Script(fake.Start, fake.Call{Takes: 15 * time.Millisecond})
			w.start()
			var ids []msg.JobID
			for range 3 {
				ids = append(ids, w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"one"}, Works: 20 * time.Millisecond}}))
			}
			time.Sleep(time.Duration(n) * 3 * time.Millisecond)
			w.restart()
			for _, id := range ids {
				w.ends(id)
			}
			w.nothingIsLeft()
		})
	}
}
