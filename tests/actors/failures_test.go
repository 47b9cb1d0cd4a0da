package actors_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

func TestAJobThatCannotBeReadFailsWithItsReasonAndNeverRuns(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Unreadable: true})
		w.fails(id, msg.Failed, "the input does not decrypt")
		if w.created() != 0 {
			t.Error("an executor was created for it")
		}
		w.nothingIsLeft()
		w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
	})
}

func TestAJobThatCannotBeReadDoesNotHarmTheExecutorThatWaits(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		first := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(first)
		w.becomesIdle(w.ranIn(first))
		w.fails(w.server.Submit(fakes.Task{Image: "plugin", Unreadable: true}), msg.Failed, "the input does not decrypt")
		last := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(last)
		if w.ranIn(first) != w.ranIn(last) {
			t.Error("the executor was not kept")
		}
	})
}

func TestAnExecutorThatDoesNotComeAboutFailsItsJobWithTheReason(t *testing.T) {
	for name, c := range map[string]struct {
		plugin fakes.Plugin
		script func(*world)
		says   string
		task   fakes.Task
	}{
		"an image that nobody has": {says: "no such image", task: fakes.Task{Image: "missing"}},
		"an engine that cannot create": {says: "create the executor: create: no space", task: fakes.Task{Image: "plugin"},
			script: func(w *world) { w.engine.Script(fake.Create, fake.Call{Fails: errNoSpace}) }},
		"an engine that cannot start": {says: "start the executor: start: no space", task: fakes.Task{Image: "plugin"},
			script: func(w *world) { w.engine.Script(fake.Start, fake.Call{Fails: errNoSpace}) }},
		"a pull that stalls": {says: "was not there after 5m0s", task: fakes.Task{Image: "plugin"},
			script: func(w *world) { w.engine.Script(fake.Pull, fake.Call{Stalls: true}) }},
		"a start that stalls": {says: "did not start a container of image plugin within 1m0s", task: fakes.Task{Image: "plugin"},
			script: func(w *world) { w.engine.Script(fake.Start, fake.Call{Stalls: true}) }},
		"a create that stalls": {says: "did not start a container of image plugin within 1m0s", task: fakes.Task{Image: "plugin"},
			script: func(w *world) { w.engine.Script(fake.Create, fake.Call{Stalls: true}) }},
		"a plugin that never asks": {says: "did not ask for its job within 30s", task: fakes.Task{Image: "odd"},
			plugin: fakes.Plugin{NeverAsks: true}},
		"a plugin that dies at its start": {says: "exited with code 7 before it asked", task: fakes.Task{Image: "odd"},
			plugin: fakes.Plugin{DiesAtStart: 7}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.image("odd", c.plugin)
				if c.script != nil {
					c.script(w)
				}
				w.start()
				w.fails(w.server.Submit(c.task), msg.Failed, c.says)
				w.until("no executor is left", 10*time.Minute, func() bool { return len(w.alive()) == 0 })
				w.nothingIsLeft()
				w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
			})
		})
	}
}

func TestAJobWithoutAResultFailsWithTheReasonAndTheLastLines(t *testing.T) {
	for name, c := range map[string]struct {
		errand  fakes.Errand
		outcome msg.Outcome
		says    string
	}{
		"the plugin dies":          {fakes.Errand{Prints: []string{"10:00:00 oh no"}, Dies: 3}, msg.Failed, "exited with code 3 without a result. Its last output:\n10:00:00 oh no"},
		"it fills the disk":        {fakes.Errand{Fills: 2 << 20, Hangs: true}, msg.Failed, "has written 2097152 bytes to disk and was stopped"},
		"somebody kills it":        {fakes.Errand{Dies: 137}, msg.Failed, "killed (signal 9) without a result, most often for lack of memory"},
		"it never comes to an end": {fakes.Errand{Hangs: true}, msg.TimedOut, "no result after 1h0m0s"},
		"its result is refused":    {fakes.Errand{TooLarge: true}, msg.Failed, "than the 524288 that this runner takes"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.start()
				id := w.server.Submit(fakes.Task{Image: "plugin", Errand: c.errand})
				w.fails(id, c.outcome, c.says)
				w.until("its executor is gone", time.Minute, func() bool { return !w.isAlive(w.ranIn(id)) })
				w.nothingIsLeft()
				w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
			})
		})
	}
}

func TestAnExecutorThatHasFilledTheDiskIsEndedWhetherItHasAJobOrNot(t *testing.T) {
	for name, c := range map[string]struct {
		every  time.Duration // so often a job comes that lasts a moment
		within time.Duration
	}{
		"no job comes":      {time.Hour, 30 * time.Second},
		"jobs come, and go": {2 * time.Second, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.start()
				modest := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Fills: 1 << 19}}) // the control
				w.completes(modest)
				w.passes(12 * time.Second)
				w.engine.Script(fake.Disk, fake.Call{Fails: errNoAnswer}, fake.Call{Fails: errNoAnswer}, fake.Call{Fails: errNoAnswer})
				w.passes(35 * time.Second)
				if said := strings.Count(w.log.text(), "could not measure"); said != 1 {
					t.Errorf("that it cannot be measured is said %d times", said)
				}
				fills := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Fills: 2 << 20}})
				w.completes(fills)
				if w.ranIn(modest) != w.ranIn(fills) {
					t.Error("an executor that writes what it may is gone")
				}
				for passed := time.Duration(0); passed < c.within; passed += min(c.every, c.within) {
					w.passes(min(c.every, c.within))
					if c.every < c.within {
						w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
					}
				}
				if w.isAlive(w.ranIn(fills)) {
					t.Error("it is still there")
				}
				w.nothingIsLeft()
			})
		})
	}
}

func TestAJobThatComesWhileAFullDiskIsLookedAtIsFailedForItsOwnOnly(t *testing.T) {
	for name, c := range map[string]struct {
		disturb func(*world)
		fills   int64 // by the next job, later
		outcome msg.Outcome
	}{
		"it writes little": {func(*world) {}, 1 << 19, msg.Completed},
		"it writes little, and the runner is restarted": {(*world).restart, 1 << 19, msg.Completed},
		"it writes too much as well":                    {func(*world) {}, 3 << 20, msg.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				program := fakes.Plugin{}.Program(w.site)
				run := program.Run
				program.Run = func(ctx context.Context, v *fake.World) int {
					defer time.AfterFunc(25*time.Second, func() { v.Fill(c.fills) }).Stop()
					return run(ctx, v)
				}
				w.engine.Load("late", fake.Image{Program: program})
				w.engine.Script(fake.Disk, fake.Call{Takes: 2 * time.Second}) // the jobs change meanwhile
				w.start()
				fills := w.server.Submit(fakes.Task{Image: "late", Errand: fakes.Errand{Fills: 2 << 20, Works: 11 * time.Second}})
				next := w.server.Submit(fakes.Task{Image: "late", Errand: fakes.Errand{Works: time.Minute}})
				w.completes(fills)
				x := w.begins(next)
				w.passes(4 * time.Second)
				c.disturb(w)
				f := w.fails(next, c.outcome, "")
				if c.outcome == msg.Failed && !strings.Contains(f.Message, "has written 3145728 bytes to disk and was stopped") {
					t.Errorf("it says %q", f.Message)
				}
				w.until("its executor is gone", time.Minute, func() bool { return !w.isAlive(x) })
				if x != w.ranIn(fills) {
					t.Error("they ran in two executors")
				}
			})
		})
	}
}

func TestAHandOutThatCrossesTheLossOfItsGETIsRepeated(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		w.gateway.Script(fakes.HandOut, fakes.Call{Fails: msg.ErrNotPolling}, fakes.Call{Fails: msg.ErrNotPolling})
		w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
		w.nothingIsLeft()
	})
}

func TestAJobWhosePluginEndsWithATooLargeResultFileFailsForThat(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.image("odd", fakes.Plugin{ExitsAfter: 1})
		w.start()
		w.fails(w.server.Submit(fakes.Task{Image: "odd", Errand: fakes.Errand{TooLarge: true, FileOnly: true}}), msg.Failed, "than the 524288 that this runner takes")
		w.nothingIsLeft()
	})
}

func TestAResultCountsWhateverThePluginDoesAfterIt(t *testing.T) {
	for name, p := range map[string]fakes.Plugin{
		"it exits with 255": {ExitsAfter: 255},
		"it hangs":          {HangsAfter: true},
		"it is slow":        {SettlesIn: 15 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.image("odd", p)
				w.start()
				id := w.server.Submit(fakes.Task{Image: "odd", Errand: fakes.Errand{Prints: []string{"one"}, Trails: []string{"two"}}})
				f := w.completes(id)
				if took := f.At.Sub(startOf(w)); took > 2*time.Second {
					t.Errorf("the server heard of it after %v", took)
				}
				next := w.completes(w.server.Submit(fakes.Task{Image: "odd"}))
				if took := next.At.Sub(f.At); took > 25*time.Second {
					t.Errorf("the next one took %v", took)
				}
				w.nothingIsLeft()
				if log, _ := w.logOf(id); log != "one\ntwo\n" {
					t.Errorf("the log is %q", log)
				}
			})
		})
	}
}

func TestAResultInTheFileOnlyCountsToo(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		w.completes(w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{FileOnly: true}}))
		w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
		if w.created() != 1 {
			t.Error("the executor was not kept")
		}
	})
}

func TestAJobsOwnTimeLimitCountsWhenItIsShorter(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		f := w.fails(w.server.Submit(fakes.Task{Image: "plugin", Timeout: time.Minute, Errand: fakes.Errand{Hangs: true}}), msg.TimedOut,
			"no result after 1m0s and was stopped. The plugin answered SIGABRT with its result after 0.0s")
		if took := f.At.Sub(startOf(w)); took > 2*time.Minute {
			t.Errorf("it took %v", took)
		}
	})
}

func TestAnEngineThatIsAwayForAMinuteCostsNoRunningJob(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"one"}, Works: 3 * time.Minute, Trails: []string{"two"}}})
		w.begins(id)
		w.engine.Down(errNoAnswer)
		w.passes(time.Minute)
		w.engine.Down(nil)
		w.completes(id)
		w.nothingIsLeft()
		if log, _ := w.logOf(id); log != "one\ntwo\n" {
			t.Errorf("the log is %q", log)
		}
	})
}

func TestAnEngineCallThatHangsIsRepeated(t *testing.T) {
	for name, verb := range map[string]string{"the signal of an eviction": fake.Signal, "the removal": fake.Remove, "the list after a restart": fake.List} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.start()
				first := w.server.Submit(fakes.Task{Image: "plugin"})
				w.completes(first)
				w.engine.Script(verb, fake.Call{Stalls: true}, fake.Call{Stalls: true})
				if verb == fake.List {
					w.restart()
				}
				w.passes(5 * time.Minute)
				if left := w.spool.Executors(); len(left) > 0 {
					t.Errorf("left: %v", left)
				}
				w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
			})
		})
	}
}

func TestACallThatWorkedAgainHasNotFailedBefore(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.engine.Script(fake.Wait, fake.Call{Fails: errNoAnswer}, fake.Call{Fails: errNoAnswer})
		w.engine.Script(fake.Logs, fake.Call{Takes: 10 * time.Millisecond, Fails: errNoAnswer})
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"one"}, Works: time.Minute}})
		w.begins(id)
		w.passes(10 * time.Second)
		w.engine.Down(errNoAnswer)
		w.passes(50 * time.Millisecond)
		w.engine.Down(nil)
		w.completes(id)
		var repeats int
		for line := range strings.Lines(w.log.text()) {
			if strings.Contains(line, `"call":"read logs"`) {
				repeats++
				if !strings.Contains(line, `"attempt":1,`) {
					t.Error(line)
				}
			}
		}
		if repeats != 2 {
			t.Errorf("the log was read again %d times, want 2", repeats)
		}
	})
}

// drip is an engine that hands on an entry at a time, and takes its time for each.
type drip struct {
	*fake.Driver
	pause time.Duration
}

func (d drip) Logs(ctx context.Context, id msg.ExecutorID, from msg.Position, emit func([]msg.LogEntry) error) error {
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

func TestTheRestOfTheOutputIsWaitedForAsLongAsItComes(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.driver = drip{w.engine, 4 * time.Second}
		w.start()
		lines := []string{"one", "two", "three", "four", "five"}
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: lines, Dies: 3}})
		w.fails(id, msg.Failed, "exited with code 3")
		w.passes(time.Minute)
		if log, _ := w.logOf(id); log != strings.Join(lines, "\n")+"\n" {
			t.Errorf("the log is %q", log)
		}
	})
}

func TestACreateWhoseAnswerWasLostLeavesNothing(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.engine.Script(fake.Create, fake.Call{AnswerLost: errNoAnswer})
		w.start()
		w.fails(w.server.Submit(fakes.Task{Image: "plugin"}), msg.Failed, "create the executor")
		w.nothingIsLeft()
		list, _ := w.engine.List(context.Background())
		if len(list) > 0 {
			t.Errorf("the engine has %v", list)
		}
	})
}

func TestAnExecutorThatEndsBeforeItsHandOutIsAnsweredFailsItsJobAndNothingElse(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		first := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(first)
		x := w.ranIn(first)
		w.becomesIdle(x)
		w.gateway.Script(fakes.HandOut, fakes.Call{AnswerTakes: time.Second})
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Hangs: true}})
		w.begins(id)
		w.engine.Fell(x, msg.Exit{Code: 3})
		w.fails(id, msg.Failed, "the plugin exited with code 3 without a result")
		if strings.Contains(w.log.text(), "panicked") {
			t.Error("an actor panicked")
		}
	})
}

func TestAnIdleExecutorThatDiesIsReplaced(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		first := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(first)
		w.becomesIdle(w.ranIn(first))
		if err := w.engine.Signal(context.Background(), w.ranIn(first), msg.SIGKILL); err != nil {
			t.Fatal(err)
		}
		w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
	})
}

func TestAnImageThatMovedRetiresTheExecutorsMadeFromTheOldOne(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		w.start()
		first := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: time.Minute}})
		w.begins(first)
		w.image("plugin", fakes.Plugin{})
		second := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(second)
		w.completes(first)
		w.until("the old one is gone", 5*time.Second, func() bool { return !w.isAlive(w.ranIn(first)) })
	})
}
