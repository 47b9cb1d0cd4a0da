package actors_test

import (
	"strings"
	"testing"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

func TestOneJobRunsAndLeavesNothing(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Secret: "hunter2", Behavior: fakes.Behavior{
			Lines: []string{"hello", "the word is hunter2"}, Duration: 5 * time.Second, ExitCode: 3, TrailingLines: []string{"bye"}}})
		f := e.awaitCompleted(id)
		if f.Result != `{"exitCode":3}` || f.ExitCode != 3 {
			t.Errorf("the finish is %+v, want exit code 3", f)
		}
		e.awaitCleanup()
		log, ended := e.logOf(id)
		if !ended || strings.Contains(log, "hunter2") || !strings.HasPrefix(log, "hello\nthe word is ") || !strings.HasSuffix(log, "\nbye\n") {
			t.Errorf("the job's log is %q, ended: %v", log, ended)
		}
		if len(e.alive()) != 1 {
			t.Errorf("alive: %v, want its idle executor", e.alive())
		}
	})
}

func TestSecondJobReusesExecutor(t *testing.T) {
	withEnv(t, daemonMode(4), func(e *env) {
		e.start()
		first := e.server.Submit(fakes.Task{Image: "plugin", Type: "demo.One"})
		e.awaitCompleted(first)
		e.awaitIdle(e.executorOf(first))
		second := e.server.Submit(fakes.Task{Image: "plugin", Type: "demo.Two"})
		e.awaitCompleted(second)
		if e.executorOf(first) != e.executorOf(second) {
			t.Errorf("the jobs ran in %s and %s", e.executorOf(first), e.executorOf(second))
		}
	})
}

func TestJobOfOtherImageReplacesIdleExecutor(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.image("other", fakes.Plugin{})
		e.start()
		first := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(first)
		e.awaitIdle(e.executorOf(first))
		second := e.server.Submit(fakes.Task{Image: "other"})
		f := e.awaitCompleted(second)
		if e.isAlive(e.executorOf(first)) {
			t.Error("the idle executor is still alive")
		}
		if elapsed := f.At.Sub(startTime(e)); elapsed > 5*time.Second {
			t.Errorf("the job took %v: the slot was not freed at once", elapsed)
		}
	})
}

func startTime(e *env) time.Time { return e.capacities[0].at }

func TestJobsRunInParallelUpToCapacity(t *testing.T) {
	withEnv(t, daemonMode(3), func(e *env) {
		e.start()
		var ids []msg.JobID
		for range 9 {
			ids = append(ids, e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: 10 * time.Second}}))
		}
		for _, id := range ids {
			e.awaitCompleted(id)
		}
		if elapsed := time.Since(startTime(e)); elapsed < 30*time.Second || elapsed > 35*time.Second {
			t.Errorf("nine jobs of 10 s in three executors took %v", elapsed)
		}
		if e.createdCount() != 3 {
			t.Errorf("%d executors were created, want 3", e.createdCount())
		}
	})
}

// The executor is evicted at most 1 s late and never early (I5).
func TestIdleExecutorIsEvictedAfterEvictionTime(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: time.Second}})
		e.awaitCompleted(id)
		x := e.executorOf(id)
		e.awaitIdle(x)
		idle := time.Now()
		e.advance(59 * time.Second)
		if !e.isAlive(x) {
			t.Error("the executor was evicted early")
		}
		e.advance(2 * time.Second)
		if at, ended := e.eventTime(fake.Died, x); !ended || at.Sub(idle) > 61*time.Second {
			t.Errorf("ended: %v, %v after it became idle", ended, at.Sub(idle))
		}
		e.awaitCleanup()
	})
}

func TestJobSurvivesSimultaneousEviction(t *testing.T) {
	for _, early := range []time.Duration{2 * time.Millisecond, time.Millisecond, 0, -time.Millisecond} {
		withEnv(t, daemonMode(1), func(e *env) {
			e.start()
			first := e.server.Submit(fakes.Task{Image: "plugin"})
			e.awaitCompleted(first)
			e.awaitIdle(e.executorOf(first))
			rec := e.spool.Executors()[0]
			time.Sleep(time.Until(rec.IdleSince.Add(time.Minute - early)))
			second := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: 2 * time.Minute}})
			e.awaitCompleted(second)
		})
	}
}

func TestSingleJobModeUsesOneExecutorPerJob(t *testing.T) {
	config := daemonMode(2)
	config.Eviction = 0
	withEnv(t, config, func(e *env) {
		e.start()
		first := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(first)
		second := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(second)
		if e.executorOf(first) == e.executorOf(second) {
			t.Errorf("both jobs ran in %s", e.executorOf(first))
		}
		e.until("no executor is left", 10*time.Second, func() bool { return len(e.alive()) == 0 })
		e.awaitCleanup()
	})
}

func TestFilesOnlyInputExistsBeforeExecutorStarts(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		e.filesOnly = true
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"read"}, Duration: time.Second, FileOnly: true}})
		e.awaitCompleted(id)
		e.awaitCleanup()
		if log, _ := e.logOf(id); log != "read\n" {
			t.Errorf("the job's log is %q", log)
		}
	})
}

func TestLoweredCapacityEndsOnlyIdleExecutors(t *testing.T) {
	withEnv(t, daemonMode(3), func(e *env) {
		e.start()
		long := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: 10 * time.Minute}})
		short := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: time.Second}})
		e.awaitCompleted(short)
		e.awaitIdle(e.executorOf(short))
		e.configure(daemonMode(1))
		e.until("the idle executor is gone", time.Second, func() bool { return !e.isAlive(e.executorOf(short)) })
		waiting := e.server.Submit(fakes.Task{Image: "plugin"})
		e.advance(time.Minute) // the pending long poll still has the old number of free slots, so it may return this job
		if e.executorOf(waiting) != "" {
			t.Error("a job was started above the new capacity")
		}
		e.awaitCompleted(long)
		e.awaitCompleted(waiting)
	})
}

func TestChangedEvictionTimeAppliesToIdleExecutors(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(id)
		e.awaitIdle(e.executorOf(id))
		longer := daemonMode(2)
		longer.Eviction = time.Hour
		e.configure(longer)
		e.advance(30 * time.Minute)
		if !e.isAlive(e.executorOf(id)) {
			t.Error("the executor was evicted after the old eviction time")
		}
		shorter := longer
		shorter.Revision, shorter.Eviction = 5, time.Minute
		e.configure(shorter)
		e.until("the executor is evicted", time.Second, func() bool { return !e.isAlive(e.executorOf(id)) })
	})
}

func TestRule14PythonDaemonIsReplacedAtJobLimit(t *testing.T) {
	const maxJobs = 100
	withEnv(t, daemonMode(1), func(e *env) {
		e.image("snake", fakes.Plugin{SDK: msg.PythonSDK})
		e.start()
		ran := map[msg.ExecutorID]int{}
		for range maxJobs + 1 {
			id := e.server.Submit(fakes.Task{Image: "snake"})
			e.awaitCompleted(id)
			ran[e.executorOf(id)]++
		}
		if len(ran) != 2 || ran["x1"] != maxJobs {
			t.Errorf("jobs by executor: %v, want %d in the first", ran, maxJobs)
		}
	})
}

func TestIdleOutputBelongsToNoJob(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.image("odd", fakes.Plugin{IdleLineAfter: 10 * time.Second})
		e.start()
		first := e.server.Submit(fakes.Task{Image: "odd", Behavior: fakes.Behavior{Lines: []string{"one"}}})
		e.awaitCompleted(first)
		e.advance(20 * time.Second)
		second := e.server.Submit(fakes.Task{Image: "odd", Behavior: fakes.Behavior{Lines: []string{"two"}}})
		e.awaitCompleted(second)
		e.awaitCleanup()
		for id, want := range map[msg.JobID]string{first: "one\n", second: "two\n"} {
			if log, ended := e.logOf(id); log != want || !ended {
				t.Errorf("the log of %s is %q, ended: %v", id, log, ended)
			}
		}
		if !strings.Contains(e.log.text(), "dropped output that an idle executor wrote") {
			t.Error("the dropped output was not logged")
		}
	})
}

func TestSlowPullBlocksNoOtherJob(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		e.engine.Push("far", fake.Image{Program: fakes.Plugin{}.Program(e.pluginHost), PullDelay: 4 * time.Minute})
		e.start()
		far := e.server.Submit(fakes.Task{Image: "far"})
		near := e.server.Submit(fakes.Task{Image: "plugin"})
		f := e.awaitCompleted(near)
		if elapsed := f.At.Sub(startTime(e)); elapsed > 5*time.Second {
			t.Errorf("the job took %v", elapsed)
		}
		e.awaitCompleted(far)
	})
}

func TestExecutorWithLeftoverProcessIsRetired(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		clean := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one"}}})
		e.awaitCompleted(clean)
		e.advance(5 * time.Second)
		if !e.isAlive(e.executorOf(clean)) {
			t.Fatal("the executor was retired without a leftover process")
		}
		dirty := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"two"}, Forks: true}})
		e.awaitCompleted(dirty)
		e.until("the executor is gone", 5*time.Second, func() bool { return !e.isAlive(e.executorOf(dirty)) })
		next := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(next)
		if e.executorOf(next) == e.executorOf(dirty) || e.executorOf(dirty) != e.executorOf(clean) {
			t.Errorf("the jobs ran in %s, %s and %s", e.executorOf(clean), e.executorOf(dirty), e.executorOf(next))
		}
		e.awaitCleanup()
	})
}

func TestMultiProcessImageStaysWarm(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		first := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Forks: true}})
		e.awaitCompleted(first)
		e.advance(10 * time.Second)
		next := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(next)
		if e.executorOf(next) != e.executorOf(first) {
			t.Error("the executor was not reused")
		}
	})
}

func TestUnwatchedExecutorIsNotIdle(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		first := e.server.Submit(fakes.Task{Image: "plugin"})
		x := e.awaitRun(first)
		e.awaitIdle(x)
		e.gateway.BreakRequests(x, errNoAnswer)
		e.gateway.Cut(x) // the runner receives no event about this
		e.until("the executor is not idle", 50*time.Millisecond, func() bool { return e.executorState(x) == "busy" })
		e.awaitIdle(x)
		second := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(second)
		if got := e.executorOf(second); got != x {
			t.Errorf("the job ran in %s, want %s", got, x)
		}
	})
}
