package actors_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

func TestUnreadableJobFailsAndNeverRuns(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Undecryptable: true})
		e.awaitOutcome(id, msg.Failed, "input does not decrypt")
		if e.createdCount() != 0 {
			t.Error("an executor was created for it")
		}
		e.awaitCleanup()
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
	})
}

func TestUnreadableJobDoesNotHarmIdleExecutor(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		first := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(first)
		e.awaitIdle(e.executorOf(first))
		e.awaitOutcome(e.server.Submit(fakes.Task{Image: "plugin", Undecryptable: true}), msg.Failed, "input does not decrypt")
		last := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(last)
		if e.executorOf(first) != e.executorOf(last) {
			t.Error("the executor was not reused")
		}
	})
}

func TestFailedExecutorStartFailsJobWithReason(t *testing.T) {
	for name, c := range map[string]struct {
		plugin  fakes.Plugin
		script  func(*env)
		message string
		task    fakes.Task
	}{
		"unknown image": {message: "no such image", task: fakes.Task{Image: "missing"}},
		"create fails": {message: "create the executor: create: no space", task: fakes.Task{Image: "plugin"},
			script: func(e *env) { e.engine.Script(fake.Create, fake.Call{Err: errNoSpace}) }},
		"start fails": {message: "start the executor: start: no space", task: fakes.Task{Image: "plugin"},
			script: func(e *env) { e.engine.Script(fake.Start, fake.Call{Err: errNoSpace}) }},
		"pull stalls": {message: "was not pulled within 5m0s", task: fakes.Task{Image: "plugin"},
			script: func(e *env) { e.engine.Script(fake.Pull, fake.Call{Stalls: true}) }},
		"start stalls": {message: "did not start a container of image plugin within 1m0s", task: fakes.Task{Image: "plugin"},
			script: func(e *env) { e.engine.Script(fake.Start, fake.Call{Stalls: true}) }},
		"create stalls": {message: "did not start a container of image plugin within 1m0s", task: fakes.Task{Image: "plugin"},
			script: func(e *env) { e.engine.Script(fake.Create, fake.Call{Stalls: true}) }},
		"plugin never polls": {message: "did not ask for its job within 30s", task: fakes.Task{Image: "odd"},
			plugin: fakes.Plugin{NeverPolls: true}},
		"plugin exits at start": {message: "exited with code 7 before it asked", task: fakes.Task{Image: "odd"},
			plugin: fakes.Plugin{StartExitCode: 7}},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.image("odd", c.plugin)
				if c.script != nil {
					c.script(e)
				}
				e.start()
				e.awaitOutcome(e.server.Submit(c.task), msg.Failed, c.message)
				e.until("no executor is left", 10*time.Minute, func() bool { return len(e.alive()) == 0 })
				e.awaitCleanup()
				e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
			})
		})
	}
}

func TestJobWithoutResultFailsWithLastLines(t *testing.T) {
	for name, c := range map[string]struct {
		behavior fakes.Behavior
		outcome  msg.Outcome
		message  string
	}{
		"plugin panics": {fakes.Behavior{Lines: append([]string{"10:00:00 at work", "panic: boom", "", "goroutine 1 [running]:"},
			slices.Repeat([]string{"main.work(...)"}, 50)...), DeathCode: 2}, msg.Failed,
			"exited with code 2 without a result. Its last output:\n2000-01-01T00:00:00.002Z panic: boom\n…\n"},
		"plugin exits":                  {fakes.Behavior{Lines: []string{"10:00:00 oh no"}, DeathCode: 3}, msg.Failed, "exited with code 3 without a result. Its last output:\n10:00:00 oh no"},
		"plugin exceeds the disk limit": {fakes.Behavior{DiskBytes: 2 << 20, Hangs: true}, msg.Failed, "has written 2097152 bytes to disk and was stopped"},
		"plugin is killed":              {fakes.Behavior{DeathCode: 137}, msg.Failed, "killed (signal 9) without a result, most often because the machine"},
		"plugin hangs":                  {fakes.Behavior{Hangs: true}, msg.TimedOut, "no result after 1h0m0s"},
		"result is too large":           {fakes.Behavior{TooLarge: true}, msg.Failed, "than the limit of 524288 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.start()
				id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: c.behavior})
				e.awaitOutcome(id, c.outcome, c.message)
				e.until("its executor is gone", time.Minute, func() bool { return !e.isAlive(e.executorOf(id)) })
				e.awaitCleanup()
				e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
			})
		})
	}
}

func TestDiskLimitEndsIdleAndBusyExecutors(t *testing.T) {
	for name, c := range map[string]struct {
		every  time.Duration // interval between short jobs
		within time.Duration
	}{
		"idle":                 {time.Hour, 30 * time.Second},
		"busy with short jobs": {2 * time.Second, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.start()
				small := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{DiskBytes: 1 << 19}}) // a control, within the limit
				e.awaitCompleted(small)
				e.advance(12 * time.Second)
				e.engine.Script(fake.Disk, fake.Call{Err: errNoAnswer}, fake.Call{Err: errNoAnswer}, fake.Call{Err: errNoAnswer})
				e.advance(35 * time.Second)
				if n := strings.Count(e.log.text(), "could not measure"); n != 1 {
					t.Errorf("the failed measurement was logged %d times, want once", n)
				}
				large := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{DiskBytes: 2 << 20}})
				e.awaitCompleted(large)
				if e.executorOf(small) != e.executorOf(large) {
					t.Error("an executor within its limit was stopped")
				}
				for passed := time.Duration(0); passed < c.within; passed += min(c.every, c.within) {
					e.advance(min(c.every, c.within))
					if c.every < c.within {
						e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
					}
				}
				if e.isAlive(e.executorOf(large)) {
					t.Error("the executor is still running")
				}
				e.awaitCleanup()
			})
		})
	}
}

// A job that starts while the disk usage of its predecessor is measured fails only for its own usage.
func TestDiskUsageCountsAgainstTheRightJob(t *testing.T) {
	for name, c := range map[string]struct {
		disturb func(*env)
		bytes   int64 // written to disk while the next job runs
		outcome msg.Outcome
	}{
		"next job within its limit":                   {func(*env) {}, 1 << 19, msg.Completed},
		"next job within its limit, runner restarted": {(*env).restart, 1 << 19, msg.Completed},
		"next job also exceeds the limit":             {func(*env) {}, 3 << 20, msg.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				program := fakes.Plugin{}.Program(e.pluginHost)
				run := program.Run
				program.Run = func(ctx context.Context, v *fake.Process) int {
					defer time.AfterFunc(25*time.Second, func() { v.Fill(c.bytes) }).Stop()
					return run(ctx, v)
				}
				e.engine.Load("late", fake.Image{Program: program})
				e.engine.Script(fake.Disk, fake.Call{Delay: 2 * time.Second}) // the next job starts during the check
				e.start()
				first := e.server.Submit(fakes.Task{Image: "late", Behavior: fakes.Behavior{DiskBytes: 2 << 20, Duration: 11 * time.Second}})
				next := e.server.Submit(fakes.Task{Image: "late", Behavior: fakes.Behavior{Duration: time.Minute}})
				e.awaitCompleted(first)
				x := e.awaitRun(next)
				e.advance(4 * time.Second)
				c.disturb(e)
				f := e.awaitOutcome(next, c.outcome, "")
				if c.outcome == msg.Failed && !strings.Contains(f.Message, "has written 3145728 bytes to disk and was stopped") {
					t.Errorf("message: %q", f.Message)
				}
				e.until("its executor is gone", time.Minute, func() bool { return !e.isAlive(x) })
				if x != e.executorOf(first) {
					t.Error("the jobs ran in different executors")
				}
			})
		})
	}
}

func TestHandOutThatRacesLostGETIsRepeated(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		e.gateway.Script(fakes.HandOut, fakes.Call{Err: msg.ErrNotPolling}, fakes.Call{Err: msg.ErrNotPolling})
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
		e.awaitCleanup()
	})
}

func TestOversizedResultFileFailsJobAtExit(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.image("odd", fakes.Plugin{ExitCodeAfterJob: 1})
		e.start()
		e.awaitOutcome(e.server.Submit(fakes.Task{Image: "odd", Behavior: fakes.Behavior{TooLarge: true, FileOnly: true}}), msg.Failed, "than the limit of 524288 bytes")
		e.awaitCleanup()
	})
}

func TestResultCountsWhateverFollows(t *testing.T) {
	for name, p := range map[string]fakes.Plugin{
		"plugin exits with 255": {ExitCodeAfterJob: 255},
		"plugin hangs":          {HangsAfterJob: true},
		"plugin polls late":     {PollDelay: 15 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.image("odd", p)
				e.start()
				id := e.server.Submit(fakes.Task{Image: "odd", Behavior: fakes.Behavior{Lines: []string{"one"}, TrailingLines: []string{"two"}}})
				f := e.awaitCompleted(id)
				if elapsed := f.At.Sub(startTime(e)); elapsed > 2*time.Second {
					t.Errorf("the job was finished after %v", elapsed)
				}
				next := e.awaitCompleted(e.server.Submit(fakes.Task{Image: "odd"}))
				if elapsed := next.At.Sub(f.At); elapsed > 25*time.Second {
					t.Errorf("the next job took %v", elapsed)
				}
				e.awaitCleanup()
				if log, _ := e.logOf(id); log != "one\ntwo\n" {
					t.Errorf("the log is %q", log)
				}
			})
		})
	}
}

func TestResultFileWithoutCallbackCounts(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{FileOnly: true}}))
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
		if e.createdCount() != 1 {
			t.Error("the executor was not reused")
		}
	})
}

func TestShorterJobTimeoutApplies(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		f := e.awaitOutcome(e.server.Submit(fakes.Task{Image: "plugin", Timeout: time.Minute, Behavior: fakes.Behavior{Hangs: true}}), msg.TimedOut,
			"no result after 1m0s and was stopped. The plugin answered SIGABRT with its result after 0.0s")
		if elapsed := f.At.Sub(startTime(e)); elapsed > 2*time.Minute {
			t.Errorf("the job took %v", elapsed)
		}
	})
}

func TestEngineOutageCostsNoRunningJob(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one"}, Duration: 3 * time.Minute, TrailingLines: []string{"two"}}})
		e.awaitRun(id)
		e.engine.Down(errNoAnswer)
		e.advance(time.Minute)
		e.engine.Down(nil)
		e.awaitCompleted(id)
		e.awaitCleanup()
		if log, _ := e.logOf(id); log != "one\ntwo\n" {
			t.Errorf("the log is %q", log)
		}
	})
}

func TestHangingEngineCallIsRepeated(t *testing.T) {
	for name, verb := range map[string]string{"the signal of an eviction": fake.Signal, "the removal": fake.Remove, "the list after a restart": fake.List} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.start()
				first := e.server.Submit(fakes.Task{Image: "plugin"})
				e.awaitCompleted(first)
				e.engine.Script(verb, fake.Call{Stalls: true}, fake.Call{Stalls: true})
				if verb == fake.List {
					e.restart()
				}
				e.advance(5 * time.Minute)
				if remaining := e.spool.Executors(); len(remaining) > 0 {
					t.Errorf("remaining executors: %v", remaining)
				}
				e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
			})
		})
	}
}

func TestSuccessResetsRetryCount(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.engine.Script(fake.Wait, fake.Call{Err: errNoAnswer}, fake.Call{Err: errNoAnswer})
		e.engine.Script(fake.Logs, fake.Call{Delay: 10 * time.Millisecond, Err: errNoAnswer})
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one"}, Duration: time.Minute}})
		e.awaitRun(id)
		e.advance(10 * time.Second)
		e.engine.Down(errNoAnswer)
		e.advance(50 * time.Millisecond)
		e.engine.Down(nil)
		e.awaitCompleted(id)
		var repeats int
		for line := range strings.Lines(e.log.text()) {
			if strings.Contains(line, `"call":"read logs"`) {
				repeats++
				if !strings.Contains(line, `"attempt":1,`) {
					t.Errorf("not a first attempt: %s", line)
				}
			}
		}
		if repeats != 2 {
			t.Errorf("the log was read again %d times, want 2", repeats)
		}
	})
}

// slowLogDriver is a driver that delivers log entries one at a time, with a pause before each.
type slowLogDriver struct {
	*fake.Driver
	pause time.Duration
}

func (d slowLogDriver) Logs(ctx context.Context, id msg.ExecutorID, from msg.Position, emit func([]msg.LogEntry) error) error {
	return d.Driver.Logs(ctx, id, from, func(entries []msg.LogEntry) error {
		if len(entries) == 0 {
			return emit(nil)
		}
		for _, entry := range entries {
			time.Sleep(d.pause)
			if err := emit([]msg.LogEntry{entry}); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestRemainingOutputIsReadToItsEnd(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.driver = slowLogDriver{e.engine, 4 * time.Second}
		e.start()
		lines := []string{"one", "two", "three", "four", "five"}
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: lines, DeathCode: 3}})
		e.awaitOutcome(id, msg.Failed, "exited with code 3")
		e.advance(time.Minute)
		if log, _ := e.logOf(id); log != strings.Join(lines, "\n")+"\n" {
			t.Errorf("the log is %q", log)
		}
	})
}

func TestCreateWithLostAnswerLeavesNothing(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.engine.Script(fake.Create, fake.Call{AnswerErr: errNoAnswer})
		e.start()
		e.awaitOutcome(e.server.Submit(fakes.Task{Image: "plugin"}), msg.Failed, "create the executor")
		e.awaitCleanup()
		list, _ := e.engine.List(context.Background())
		if len(list) > 0 {
			t.Errorf("remaining containers: %v", list)
		}
	})
}

// The plugin has done its job before the answer to its start is lost. Its output was removed unread.
func TestStartWithLostAnswerKeepsLog(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.engine.Script(fake.Start, fake.Call{AnswerDelay: time.Second, AnswerErr: errNoAnswer})
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one", "two"}, TooLarge: true}})
		e.awaitOutcome(id, msg.Failed, "than the limit of 524288 bytes")
		e.awaitCleanup()
		if log, _ := e.logOf(id); log != "one\ntwo\n" {
			t.Errorf("the log is %q", log)
		}
	})
}

func TestExitDuringHandOutFailsOnlyItsJob(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		first := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(first)
		x := e.executorOf(first)
		e.awaitIdle(x)
		e.gateway.Script(fakes.HandOut, fakes.Call{AnswerDelay: time.Second})
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Hangs: true}})
		e.awaitRun(id)
		e.engine.EndExecutor(x, msg.Exit{Code: 3})
		e.awaitOutcome(id, msg.Failed, "the plugin exited with code 3 without a result")
		if strings.Contains(e.log.text(), "panicked") {
			t.Error("an actor panicked")
		}
	})
}

func TestDeadIdleExecutorIsReplaced(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		first := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(first)
		e.awaitIdle(e.executorOf(first))
		if err := e.engine.Signal(context.Background(), e.executorOf(first), msg.SIGKILL); err != nil {
			t.Fatal(err)
		}
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
	})
}

func TestNewImageRetiresExecutorsOfOldOne(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		e.start()
		first := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: time.Minute}})
		e.awaitRun(first)
		e.image("plugin", fakes.Plugin{})
		second := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(second)
		e.awaitCompleted(first)
		e.until("the executor of the old image is gone", 5*time.Second, func() bool { return !e.isAlive(e.executorOf(first)) })
	})
}
