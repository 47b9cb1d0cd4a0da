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

func TestRule16AnAbortedJobEndsWithinTheGraceTimesAndItsExecutorWithIt(t *testing.T) {
	for name, c := range map[string]struct {
		plugin fakes.Plugin
		within time.Duration // from the order
		says   string
		result string
	}{
		"the plugin obeys at once": {fakes.Plugin{}, time.Second, "The plugin answered SIGABRT with its result after 0.0s", `{"exitCode":134}`},
		"it takes its time": {fakes.Plugin{AbortsIn: 8300 * time.Millisecond}, 9 * time.Second,
			"The plugin answered SIGABRT with its result after 8.3s", `{"exitCode":134}`},
		"it obeys SIGTERM only": {fakes.Plugin{IgnoresAbort: true}, 11 * time.Second, "It ended on SIGTERM after 10.0s", ""},
		"it is made with Python": {fakes.Plugin{SDK: msg.PythonSDK, AbortsIn: 1200 * time.Millisecond}, 12 * time.Second,
			"The plugin answered SIGTERM with its result after 11.2s", `{"exitCode":1}`},
		"it obeys nothing":               {fakes.Plugin{IgnoresAbort: true, IgnoresTerm: true}, 16 * time.Second, "It took SIGKILL, after 15.0s", ""},
		"it comes too late with SIGKILL": {fakes.Plugin{AbortsIn: time.Hour}, 16 * time.Second, "It took SIGKILL, after 15.0s", ""},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.image("odd", c.plugin)
				w.start()
				id := w.server.Submit(fakes.Task{Image: "odd", Errand: fakes.Errand{Prints: []string{"one"}, Hangs: true}})
				x := w.begins(id)
				w.server.Abort(id, "enough of it")
				before := len(w.server.Calls(fakes.Heartbeat))
				w.until("the server has said so", time.Minute, func() bool { return len(w.server.Calls(fakes.Heartbeat)) > before })
				ordered := time.Now()
				f := w.fails(id, msg.Aborted, "aborted: enough of it. "+c.says)
				w.until("its executor is gone", time.Minute, func() bool { return !w.isAlive(x) })
				if at, _ := w.event(fake.Died, x); at.Sub(ordered) > c.within {
					t.Errorf("it ended after %v", at.Sub(ordered))
				}
				if want := fmt.Sprintf(`{"exitCode":%d}`, f.ExitCode); f.Result != c.result || c.result != "" && c.result != want {
					t.Errorf("its result is %q, want %q, and its exit code %d", f.Result, c.result, f.ExitCode)
				}
				w.nothingIsLeft()
				w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
			})
		})
	}
}

func TestAJobIsAbortedWhereverItIs(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*world)
		plugin  fakes.Plugin
		says    string
	}{
		"its image is being pulled": {says: "aborted while its image was pulled: stop",
			prepare: func(w *world) { w.engine.Script(fake.Pull, fake.Call{Takes: 4 * time.Minute}) }},
		"its executor is being started": {says: "aborted while its executor was started: stop",
			prepare: func(w *world) { w.engine.Script(fake.Start, fake.Call{Takes: 50 * time.Second}) }},
		"its plugin has not asked yet": {says: "aborted before its plugin asked for it: stop", plugin: fakes.Plugin{StartsIn: 25 * time.Second}},
		"it is being handed out": {says: "aborted: stop. ",
			prepare: func(w *world) { w.gateway.Script(fakes.HandOut, fakes.Call{Takes: 25 * time.Second}) }},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(2), func(w *world) {
				w.image("odd", c.plugin)
				w.start()
				w.passes(10 * time.Second)
				blocker := w.server.Submit(fakes.Task{Image: "plugin"})
				w.completes(blocker)
				if c.prepare != nil {
					c.prepare(w)
				}
				id := w.server.Submit(fakes.Task{Image: "odd", Errand: fakes.Errand{Hangs: true}})
				w.until("it is ours", time.Minute, func() bool { return w.server.Confirmed(id) })
				w.server.Abort(id, "stop")
				w.fails(id, msg.Aborted, c.says)
				w.until("its executor is gone", 10*time.Minute, func() bool { return len(w.alive()) <= 1 })
				w.nothingIsLeft()
			})
		})
	}
}

func TestAWaitingJobThatIsAbortedNeverStarts(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		w.server.Script(fakes.Confirm, fakes.Call{}, fakes.Call{Takes: 10 * time.Second})
		w.start()
		first := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: 5 * time.Minute}})
		w.begins(first)
		second := w.server.Submit(fakes.Task{Image: "plugin"})
		w.until("it is being confirmed", time.Minute, func() bool { return len(w.server.Calls(fakes.Confirm)) == 2 })
		w.configure(daemonMode(1))
		w.until("it waits", time.Minute, func() bool { return len(w.pool().Waiting) == 1 })
		w.server.Abort(second, "not needed")
		w.fails(second, msg.Aborted, "aborted while it waited for an executor: not needed")
		if w.ranIn(second) != "" {
			t.Error("it ran")
		}
		w.completes(first)
	})
}

func TestAWaitingJobIsAbortedThoughTheDiskFailsForAWhile(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		var full atomic.Bool
		w.disk.Before = func(memfs.Op) error {
			if full.Load() {
				return errNoSpace
			}
			return nil
		}
		w.start()
		first := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(first)
		config := daemonMode(0)
		w.server.Script(fakes.Confirm, fakes.Call{Takes: 10 * time.Second})
		second := w.server.Submit(fakes.Task{Image: "plugin"})
		w.until("it is being confirmed", time.Minute, func() bool { return len(w.server.Calls(fakes.Confirm)) == 2 })
		w.configure(config)
		w.until("it waits", time.Minute, func() bool { return len(w.pool().Waiting) == 1 })
		full.Store(true)
		w.server.AbortOnce(second, "not needed")
		w.until("it waits no more", time.Minute, func() bool { return len(w.pool().Waiting) == 0 })
		w.passes(10 * time.Second)
		full.Store(false)
		w.fails(second, msg.Aborted, "aborted while it waited for an executor: not needed")
		w.nothingIsLeft()
	})
}

func TestAnAbortThatIsSaidOnceIsNotLostWithTheActorThatHeardIt(t *testing.T) {
	for name, crash := range map[string]func(*saboteur){
		"the executor's actor crashes on it": func(s *saboteur) { s.soon("executor") },
		"nobody crashes":                     func(*saboteur) {},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				s := newSaboteur(point{})
				w.scheduler = s
				w.start()
				id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Hangs: true}})
				w.begins(id)
				w.passes(time.Second)
				crash(s)
				w.server.AbortOnce(id, "said once")
				f := w.fails(id, msg.Aborted, "said once")
				if f.Result == "" {
					w.t.Errorf("it was not asked to end: %+v", f)
				}
			})
		})
	}
}

func TestAJobThatIsToEndDoesNotStartAgainAfterARestart(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		id := w.server.Submit(fakes.Task{Image: "plugin"})
		offers, err := w.server.Reserve(t.Context(), 1, 0)
		if err != nil || len(offers) != 1 {
			t.Fatal(offers, err)
		}
		job := offers[0].Execution
		disk, err := spool.Open(w.disk, spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range []error{ // its container is gone, as after a loss of power
			disk.Add(offers[0]), w.server.Confirm(t.Context(), id, job), disk.Confirm(job),
			disk.CreateExecutor(msg.ExecutorRecord{ID: "x0"}, nil), disk.HandOut(msg.HandOut{Execution: job, Executor: "x0", From: time.Now()}),
			disk.NotStarted(job, 1), disk.Abort(job, "enough"), disk.Close(),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		w.start()
		w.fails(id, msg.Aborted, "aborted before it was started: enough")
		if w.ranIn(id) != "" || w.created() > 0 {
			t.Error("it has started again")
		}
		w.nothingIsLeft()
	})
}

func TestAnAbortThatCrossesTheReturnOfAnExecutorsActorLeavesNothing(t *testing.T) {
	for _, message := range []string{"Launched", "SecretRequested"} {
		t.Run("after "+message, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.image("slow", fakes.Plugin{StartsIn: time.Second})
				s := newSaboteur(point{actor: "runner/dispatcher/x1", message: message, after: true, n: 1})
				w.scheduler = s
				w.start()
				id := w.server.Submit(fakes.Task{Image: "slow", Errand: fakes.Errand{Hangs: true}})
				w.until("its actor has crashed", time.Minute, s.hasStruck)
				w.engine.Script(fake.List, fake.Call{Takes: 300 * time.Millisecond}) // the next actor is long in finding it
				w.server.Say(msg.StopJob{Order: msg.StopOrder{ID: id, Execution: w.server.ExecutionOf(id), Reason: "enough"}})
				w.fails(id, msg.Aborted, "enough")
				w.passes(time.Second)
				w.nothingIsLeft()
			})
		})
	}
}

func TestAResultThatCameBeforeTheAbortCounts(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: time.Second}})
		w.begins(id)
		w.server.Down(errNoAnswer)
		w.passes(10 * time.Second)
		w.server.Abort(id, "late")
		w.server.Down(nil)
		w.completes(id)
	})
}

func TestAJobThatTheServerForgotIsStoppedAndKeptForAPerson(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Hangs: true}})
		x := w.begins(id)
		w.server.Forget(id)
		w.until("its executor is gone", time.Minute, func() bool { return !w.isAlive(x) })
		w.nothingIsLeft()
		if kept, err := w.disk.ReadDir("rejected"); err != nil || len(kept) != 1 {
			t.Errorf("rejected/ has %v, error %v", kept, err)
		}
	})
}

func TestAnEngineThatIsAwayForAMomentDoesNotHurryAnAbort(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Hangs: true}})
		w.begins(id)
		w.engine.Down(errNoAnswer)
		w.server.Abort(id, "enough")
		w.until("a signal is not sent", time.Minute, func() bool { return strings.Contains(w.log.text(), "could not send a signal; will retry") })
		w.passes(2 * time.Second)
		w.engine.Down(nil)
		w.fails(id, msg.Aborted, "aborted: enough. The plugin answered SIGABRT with its result after ")
	})
}

func TestASignalThatTheEngineNeverTakesIsFollowedByTheNextInItsTime(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Hangs: true}})
		x := w.begins(id)
		w.engine.Down(errNoAnswer)
		w.server.Abort(id, "enough")
		w.until("a signal is not sent", time.Minute, func() bool { return strings.Contains(w.log.text(), "could not send a signal; will retry") })
		w.passes(20 * time.Second)
		w.engine.Down(nil)
		w.fails(id, msg.Aborted, "aborted: enough. It took SIGKILL, after ")
		w.until("its executor is gone", time.Minute, func() bool { return !w.isAlive(x) })
	})
}

func TestAnAbortThatWasNotedIsToldAlsoWhereTheContainerIsGone(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Hangs: true}})
		x := w.begins(id)
		w.stop()
		kept, err := spool.Open(w.disk, spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := kept.Abort(w.server.ExecutionOf(id), "enough"); err != nil {
			t.Fatal(err)
		}
		w.disk = w.disk.Crash(func() bool { return true })
		w.engine.Vanish(x)
		w.start()
		w.fails(id, msg.Aborted, "aborted: enough")
	})
}
