package actors_test

import (
	"strings"
	"testing"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

func TestOneJobRunsAndNothingIsLeftOfIt(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Secret: "hunter2", Errand: fakes.Errand{
			Prints: []string{"hello", "the word is hunter2"}, Works: 5 * time.Second, ExitCode: 3, Trails: []string{"bye"}}})
		f := w.completes(id)
		if f.Result != `{"exitCode":3}` || f.ExitCode != 3 {
			t.Errorf("the server has %+v", f)
		}
		w.nothingIsLeft()
		log, ended := w.logOf(id)
		if !ended || strings.Contains(log, "hunter2") || !strings.HasPrefix(log, "hello\nthe word is ") || !strings.HasSuffix(log, "\nbye\n") {
			t.Errorf("its log is %q, ended: %v", log, ended)
		}
		if len(w.alive()) != 1 {
			t.Errorf("alive: %v, want its idle executor", w.alive())
		}
	})
}

func TestASecondJobReusesTheExecutorWhateverItsType(t *testing.T) {
	inWorld(t, daemonMode(4), func(w *world) {
		w.start()
		first := w.server.Submit(fakes.Task{Image: "plugin", Type: "demo.One"})
		w.completes(first)
		w.becomesIdle(w.ranIn(first))
		second := w.server.Submit(fakes.Task{Image: "plugin", Type: "demo.Two"})
		w.completes(second)
		if w.ranIn(first) != w.ranIn(second) {
			t.Errorf("they ran in %s and %s", w.ranIn(first), w.ranIn(second))
		}
	})
}

func TestWithCapacityOneAnotherImagesJobTakesThePlaceOfTheIdleExecutor(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.image("other", fakes.Plugin{})
		w.start()
		first := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(first)
		w.becomesIdle(w.ranIn(first))
		second := w.server.Submit(fakes.Task{Image: "other"})
		f := w.completes(second)
		if w.isAlive(w.ranIn(first)) {
			t.Error("the idle executor is still alive")
		}
		if took := f.At.Sub(startOf(w)); took > 5*time.Second {
			t.Errorf("it took %v: the place was not given at once", took)
		}
	})
}

func startOf(w *world) time.Time { return w.caps[0].at }

func TestJobsOfOneImageRunSideBySideUpToTheCapacity(t *testing.T) {
	inWorld(t, daemonMode(3), func(w *world) {
		w.start()
		var ids []msg.JobID
		for range 9 {
			ids = append(ids, w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: 10 * time.Second}}))
		}
		for _, id := range ids {
			w.completes(id)
		}
		if took := time.Since(startOf(w)); took < 30*time.Second || took > 35*time.Second {
			t.Errorf("nine jobs of 10 s in three executors took %v", took)
		}
		if w.created() != 3 {
			t.Errorf("%d executors were created, want 3", w.created())
		}
	})
}

func TestAnIdleExecutorIsEvictedAfterItsTimeAndNotBefore(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: time.Second}})
		w.completes(id)
		x := w.ranIn(id)
		w.becomesIdle(x)
		idle := time.Now()
		w.passes(59 * time.Second)
		if !w.isAlive(x) {
			t.Error("it was evicted early")
		}
		w.passes(2 * time.Second)
		if at, over := w.event(fake.Died, x); !over || at.Sub(idle) > 61*time.Second {
			t.Errorf("it ended: %v, %v after it was idle", over, at.Sub(idle))
		}
		w.nothingIsLeft()
	})
}

func TestAJobThatComesAtTheMomentOfTheEvictionIsNotHarmedByIt(t *testing.T) {
	for _, early := range []time.Duration{2 * time.Millisecond, time.Millisecond, 0, -time.Millisecond} {
		inWorld(t, daemonMode(1), func(w *world) {
			w.start()
			first := w.server.Submit(fakes.Task{Image: "plugin"})
			w.completes(first)
			w.becomesIdle(w.ranIn(first))
			rec := w.spool.Executors()[0]
			time.Sleep(time.Until(rec.IdleSince.Add(time.Minute - early)))
			second := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: 2 * time.Minute}})
			w.completes(second)
		})
	}
}

func TestInNormalModeEveryJobHasAnExecutorOfItsOwn(t *testing.T) {
	config := daemonMode(2)
	config.Eviction = 0
	inWorld(t, config, func(w *world) {
		w.start()
		first := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(first)
		second := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(second)
		if w.ranIn(first) == w.ranIn(second) {
			t.Errorf("both ran in %s", w.ranIn(first))
		}
		w.until("no executor is left", 10*time.Second, func() bool { return len(w.alive()) == 0 })
		w.nothingIsLeft()
	})
}

func TestWithFilesOnlyAJobsInputIsThereBeforeItsExecutorStarts(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		w.files = true
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"read"}, Works: time.Second, FileOnly: true}})
		w.completes(id)
		w.nothingIsLeft()
		if log, _ := w.logOf(id); log != "read\n" {
			t.Errorf("its log is %q", log)
		}
	})
}

func TestALoweredCapacityEndsIdleExecutorsAndKillsNoJob(t *testing.T) {
	inWorld(t, daemonMode(3), func(w *world) {
		w.start()
		long := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: 10 * time.Minute}})
		short := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: time.Second}})
		w.completes(short)
		w.becomesIdle(w.ranIn(short))
		w.configure(daemonMode(1))
		w.until("the idle executor is gone", time.Second, func() bool { return !w.isAlive(w.ranIn(short)) })
		waits := w.server.Submit(fakes.Task{Image: "plugin"})
		w.passes(time.Minute) // the long poll that was out with the room of before may bring it
		if w.ranIn(waits) != "" {
			t.Error("a job was started above the new capacity")
		}
		w.completes(long)
		w.completes(waits)
	})
}

func TestAChangedEvictionTimeHoldsForTheExecutorsThatAreIdle(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(id)
		w.becomesIdle(w.ranIn(id))
		longer := daemonMode(2)
		longer.Eviction = time.Hour
		w.configure(longer)
		w.passes(30 * time.Minute)
		if !w.isAlive(w.ranIn(id)) {
			t.Error("it was evicted by the time of before")
		}
		shorter := longer
		shorter.Revision, shorter.Eviction = 5, time.Minute
		w.configure(shorter)
		w.until("it is evicted", time.Second, func() bool { return !w.isAlive(w.ranIn(id)) })
	})
}

func TestRule14ADaemonOfThePythonSDKIsReplacedAfterAsManyJobsAsItBears(t *testing.T) {
	const bears = 200
	inWorld(t, daemonMode(1), func(w *world) {
		w.image("snake", fakes.Plugin{SDK: msg.PythonSDK})
		w.start()
		ran := map[msg.ExecutorID]int{}
		for range bears + 1 {
			id := w.server.Submit(fakes.Task{Image: "snake"})
			w.completes(id)
			ran[w.ranIn(id)]++
		}
		if len(ran) != 2 || ran["x1"] != bears {
			t.Errorf("jobs by executor: %v, want %d in the first", ran, bears)
		}
	})
}

func TestWhatAWaitingExecutorPrintsBelongsToNoJob(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.image("odd", fakes.Plugin{MuttersAfter: 10 * time.Second})
		w.start()
		first := w.server.Submit(fakes.Task{Image: "odd", Errand: fakes.Errand{Prints: []string{"one"}}})
		w.completes(first)
		w.passes(20 * time.Second)
		second := w.server.Submit(fakes.Task{Image: "odd", Errand: fakes.Errand{Prints: []string{"two"}}})
		w.completes(second)
		w.nothingIsLeft()
		for id, want := range map[msg.JobID]string{first: "one\n", second: "two\n"} {
			if log, ended := w.logOf(id); log != want || !ended {
				t.Errorf("the log of %s is %q, ended: %v", id, log, ended)
			}
		}
		if !strings.Contains(w.log.text(), "dropped output that an idle executor wrote") {
			t.Error("nobody is told of the output that was dropped")
		}
	})
}

func TestAJobThatCannotRunBlocksNoneBehindIt(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		w.engine.Push("far", fake.Image{Program: fakes.Plugin{}.Program(w.site), PullTakes: 4 * time.Minute})
		w.start()
		far := w.server.Submit(fakes.Task{Image: "far"})
		near := w.server.Submit(fakes.Task{Image: "plugin"})
		f := w.completes(near)
		if took := f.At.Sub(startOf(w)); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		w.completes(far)
	})
}

func TestAnExecutorInWhichAJobLeftAProcessBehindIsRetired(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		clean := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"one"}}})
		w.completes(clean)
		w.passes(5 * time.Second)
		if !w.isAlive(w.ranIn(clean)) {
			t.Fatal("an executor in which nothing was left is gone")
		}
		dirty := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"two"}, Forks: true}})
		w.completes(dirty)
		w.until("it is gone", 5*time.Second, func() bool { return !w.isAlive(w.ranIn(dirty)) })
		next := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(next)
		if w.ranIn(next) == w.ranIn(dirty) || w.ranIn(dirty) != w.ranIn(clean) {
			t.Errorf("they ran in %s, %s and %s", w.ranIn(clean), w.ranIn(dirty), w.ranIn(next))
		}
		w.nothingIsLeft()
	})
}

func TestAnImageWhoseExecutorsHaveSeveralProcessesIsKeptWarmAllTheSame(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		first := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Forks: true}})
		w.completes(first)
		w.passes(10 * time.Second)
		next := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(next)
		if w.ranIn(next) != w.ranIn(first) {
			t.Error("it was not kept")
		}
	})
}

func TestAnExecutorWhoseDoorNobodyWatchesIsNotIdle(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		first := w.server.Submit(fakes.Task{Image: "plugin"})
		x := w.begins(first)
		w.becomesIdle(x)
		w.gateway.Break(x, errNoAnswer)
		w.gateway.Cut(x) // nobody hears of that
		w.until("it is not idle", 50*time.Millisecond, func() bool { return w.state(x) == "busy" })
		w.becomesIdle(x)
		second := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(second)
		if got := w.ranIn(second); got != x {
			t.Errorf("it ran in %s, want %s", got, x)
		}
	})
}
