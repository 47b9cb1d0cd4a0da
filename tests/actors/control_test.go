package actors_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

func TestASilentChannelIsOpenedAnewAndThenTheRunnerRegistersAgain(t *testing.T) {
	for name, c := range map[string]struct {
		silent   time.Duration
		opened   int // times in all
		register int
	}{
		"for 31 s: it is opened anew":                       {31 * time.Second, 2, 1},
		"for a minute: that did not help":                   {50 * time.Second, 3, 2},
		"for ten minutes: it goes on trying, and not often": {10 * time.Minute, 29, 15},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.start()
				id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: 20 * time.Minute}})
				w.begins(id)
				w.server.FallSilent(true)
				w.passes(c.silent)
				w.server.FallSilent(false)
				w.passes(20 * time.Second)
				opened, registered := w.opened(), len(w.server.Calls(fakes.Register))
				if opened > c.opened || registered > c.register || registered < min(c.register, 2) {
					t.Errorf("the channel was opened %d times and the runner has registered %d times, want %d and %d", opened, registered, c.opened, c.register)
				}
				w.completes(id) // jobs go on
				w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
			})
		})
	}
}

func TestAConfigurationThatCannotBeIsNotBlamedOnTheNetwork(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.server.Script(fakes.Register, fakes.Call{Fails: fmt.Errorf("register: %w: config.capacity: -1 is negative", msg.ErrConfig)})
		w.start()
		w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
		if said := w.log.text(); !strings.Contains(said, "mend this runner's configuration on the server") || strings.Contains(said, "the network") {
			t.Errorf("the log says:\n%s", said)
		}
	})
}

// opened counts the channels: a call that does not follow the end of another at once.
func (w *world) opened() int {
	return strings.Count(w.log.text(), "opening it anew") + len(w.server.Calls(fakes.Register))
}

func TestTheChannelIsOpenedAgainWhenTheServerSaidAndNotSooner(t *testing.T) {
	for name, silent := range map[string]time.Duration{"it was never open": 0, "it was silent, and is opened anew": 31 * time.Second} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				refused := fakes.Call{Fails: refusal(503, 2*time.Minute)}
				if silent == 0 {
					w.server.Script(fakes.Events, refused)
				}
				w.start()
				if silent > 0 {
					w.passes(time.Second)
					w.server.Script(fakes.Events, refused)
					w.server.FallSilent(true)
					w.passes(silent)
					w.server.FallSilent(false)
				}
				w.until("it is refused", time.Second, func() bool { return strings.Contains(w.log.text(), "the control channel is lost") })
				before := len(w.server.Calls(fakes.Events))
				w.passes(110 * time.Second)
				opened, registered := len(w.server.Calls(fakes.Events))-before, len(w.server.Calls(fakes.Register))
				if opened > 0 || registered > 1 {
					t.Errorf("it was opened %d times sooner, and the runner has registered %d times", opened, registered)
				}
				w.server.Say(msg.Disable{})
				w.until("what was said is heard", 12*time.Second, func() bool { return !w.config.load().Enabled })
			})
		})
	}
}

func TestWithASilentChannelNoJobsAreTakenUntilTheServerAnswersARegistration(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		w.passes(time.Second)
		w.server.FallSilent(true)
		w.server.Script(fakes.Register, fakes.Call{}, fakes.Call{Fails: errNoAnswer}, fakes.Call{Fails: errNoAnswer})
		w.passes(40 * time.Second)
		before := len(w.server.Calls(fakes.Reserve))
		w.until("it is offline", 20*time.Second, func() bool { return len(w.server.Calls(fakes.Register)) == 2 })
		w.server.FallSilent(false)
		w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
		if len(w.server.Calls(fakes.Reserve)) == before {
			t.Error("it takes no jobs any more")
		}
	})
}

func TestAnAbortOverTheChannelComesAtOnce(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Hangs: true}})
		w.begins(id)
		said := time.Now()
		w.server.Say(msg.StopJob{Order: msg.StopOrder{ID: id, Execution: w.server.ExecutionOf(id), Reason: "enough"}})
		f := w.fails(id, msg.Aborted, "enough")
		if took := f.At.Sub(said); took > time.Second {
			t.Errorf("it took %v", took)
		}
		w.nothingIsLeft()
	})
}

func TestAnAbortThatOvertakesItsScriptCounts(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.server.Script(fakes.Confirm, fakes.Call{Takes: 5 * time.Second})
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script})
		w.passes(time.Second)
		w.server.Say(msg.StopJob{Order: msg.StopOrder{ID: id, Execution: w.server.ExecutionOf(id), Reason: "never mind"}})
		w.fails(id, msg.Aborted, "before it was started: never mind")
		if len(w.site.Runs()) > 0 {
			t.Error("it ran")
		}
	})
}

func TestDisableStopsTheIntakeAndScriptsButNoJobAndEnableResumesAtOnce(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		w.start()
		running := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: 10 * time.Minute}})
		done := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(done)
		w.begins(running)
		w.server.Say(msg.Disable{})
		w.passes(time.Second)
		task := w.server.Submit(fakes.Task{Image: "plugin"})
		script := w.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script})
		before := len(w.server.Calls(fakes.Reserve))
		w.passes(5 * time.Minute)
		if n := len(w.server.Calls(fakes.Reserve)) - before; n > 0 || w.server.Confirmed(task) || w.server.Confirmed(script) {
			t.Errorf("it takes jobs: %d reserves", n)
		}
		if alive := w.alive(); !slices.Equal(alive, []msg.ExecutorID{w.ranIn(running)}) {
			t.Errorf("alive are %v: the idle one should have been evicted in its time", alive)
		}
		w.server.Say(msg.Enable{})
		enabled := time.Now()
		for _, id := range []msg.JobID{task, script} {
			if took := w.completes(id).At.Sub(enabled); took > time.Second {
				t.Errorf("%s took %v", id, took)
			}
		}
		w.completes(running)
	})
}

func TestEnableResumesAtOnceAlsoAfterReservesThatFailedAndWaitsAsLongAsTheServerSaid(t *testing.T) {
	for name, c := range map[string]struct {
		fails       error
		early, late time.Duration
	}{
		"nobody answered":                 {errNoAnswer, 0, time.Second},
		"it failed":                       {refusal(500, 0), 0, time.Second},
		"it said when to ask, and it is":  {refusal(503, 4*time.Second), 0, time.Second},
		"it said when to ask, and is not": {refusal(503, 50*time.Second), 40 * time.Second, 50 * time.Second},
		"it did not know the runner":      {refusal(403, 0), 0, 40 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.server.Script(fakes.Reserve, slices.Repeat([]fakes.Call{{Fails: c.fails}}, 8)...)
				w.start()
				tries := func() int { return len(w.server.Calls(fakes.Reserve)) }
				w.until("the eighth reserve has failed", 10*time.Minute, func() bool { return tries() == 8 })
				w.server.Say(msg.Disable{})
				w.passes(5 * time.Second)
				w.server.Say(msg.Enable{})
				enabled := time.Now()
				id := w.server.Submit(fakes.Task{Image: "plugin"})
				if took := w.completes(id).At.Sub(enabled); took < c.early || took > c.late {
					t.Errorf("it took %v, want between %v and %v", took, c.early, c.late)
				}
				if n := tries(); n > 10 {
					t.Errorf("%d reserves", n)
				}
			})
		})
	}
}

func TestADisableIsKnownToTheNextStart(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		w.passes(time.Second)
		w.server.Say(msg.Disable{})
		w.passes(time.Second)
		w.stop()
		w.server.Down(errNoAnswer)
		w.start()
		w.passes(time.Second)
		if w.config.load().Enabled {
			t.Error("it is forgotten")
		}
		w.server.Down(nil)
	})
}

func TestACapacityThatIsLoweredKillsNoJobAndAnOldRevisionChangesNothing(t *testing.T) {
	config := daemonMode(5)
	config.Revision = 7
	inWorld(t, config, func(w *world) {
		w.start()
		var jobs []msg.JobID
		for range 5 {
			jobs = append(jobs, w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: time.Minute}}))
		}
		for _, id := range jobs {
			w.begins(id)
		}
		config.Capacity = 1
		w.configure(config)
		old := config
		old.Revision, old.Capacity = 3, 5
		w.server.Say(msg.Configure{Config: old})
		w.passes(30 * time.Second)
		if n := len(w.alive()); n != 5 {
			t.Errorf("%d executors are alive, want 5", n)
		}
		for _, id := range jobs {
			w.completes(id)
		}
		w.until("one is left", 2*time.Second, func() bool { return len(w.alive()) <= 1 })
		for range 3 {
			w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
		}
	})
}

func TestARegistrationCountsWhateverItsRevisionIs(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		w.config.config = daemonMode(1)
		w.config.config.Revision = 100 // of a server that was set up anew since
		w.start()
		first := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: time.Minute}})
		w.begins(first)
		w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
		if w.finished(first)() {
			t.Error("they did not run side by side")
		}
	})
}

func TestAnEvictionTimeOfZeroEndsIdleExecutorsNow(t *testing.T) {
	config := daemonMode(2)
	inWorld(t, config, func(w *world) {
		w.start()
		idle, running := w.server.Submit(fakes.Task{Image: "plugin"}), w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: time.Minute}})
		w.completes(idle)
		w.becomesIdle(w.ranIn(idle))
		w.begins(running)
		config.Eviction = 0
		w.configure(config)
		w.until("the idle one is gone", time.Second, func() bool { return !w.isAlive(w.ranIn(idle)) })
		w.completes(running)
		next := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(next)
		if w.ranIn(next) == w.ranIn(running) {
			t.Error("an executor had a second job")
		}
	})
}

func TestACommandThatComesLateOnceMoreUndoesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		between func(*world)
	}{
		"over the same channel": {func(*world) {}},
		"over the next channel": {func(w *world) {
			w.server.FallSilent(true)
			w.passes(35 * time.Second)
			w.server.FallSilent(false)
			w.passes(15 * time.Second)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.start()
				w.passes(time.Second)
				for range 2 { // and commands that are like others are not taken for them
					w.server.Say(msg.Disable{})
					w.passes(time.Second)
					w.server.Say(msg.Enable{})
					w.passes(time.Second)
				}
				c.between(w)
				w.server.SayLate(1)
				w.passes(time.Second)
				if !w.config.load().Enabled {
					t.Error("it is disabled")
				}
				if n := len(w.server.Calls(fakes.Register)); n != 1 {
					t.Errorf("it has registered %d times", n)
				}
				w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
			})
		})
	}
}

func TestAnEventThatComesAgainAfterACrashDoesNothingTwice(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		s := newSaboteur(point{})
		w.scheduler = s
		w.start()
		w.passes(time.Second)
		id := w.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script, Errand: fakes.Errand{Works: 20 * time.Second}})
		w.begins(id)
		w.server.Say(msg.Disable{})
		w.server.Say(msg.Enable{})
		s.soon("sse")
		w.passes(30 * time.Second)
		w.completes(id)
		w.passes(time.Minute)
		if n := len(w.site.Runs()); n != 1 {
			t.Errorf("it ran %d times", n)
		}
		w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
	})
}

func TestPingsAloneKeepAChannelOpen(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		w.passes(time.Hour)
		if n := w.opened(); n != 1 {
			t.Errorf("it was opened %d times", n)
		}
	})
}

func TestAMappingThatIsConfiguredCountsForTheNextJob(t *testing.T) {
	config := daemonMode(2)
	inWorld(t, config, func(w *world) {
		w.start()
		running := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: time.Minute}})
		w.begins(running)
		w.fails(w.server.Submit(fakes.Task{Image: "old/plugin"}), msg.Failed, "no such image")
		w.mapped = map[string]string{"old/plugin": "plugin"}
		config.ImageMappings = []msg.Mapping{{Pattern: "old/*", To: "*"}}
		w.configure(config)
		mapped := w.server.Submit(fakes.Task{Image: "old/plugin"})
		w.completes(mapped)
		w.completes(running)
		w.becomesIdle(w.ranIn(running))
		config.Revision++
		config.PullSecretMappings = []msg.Mapping{{Pattern: "plug*", To: "credentials"}}
		w.configure(config)
		private := w.server.Submit(fakes.Task{Image: "old/plugin"})
		w.completes(private)
		if x := w.ranIn(private); x == w.ranIn(mapped) || x == w.ranIn(running) {
			t.Error("it ran in an executor that was pulled without its secret")
		}
	})
}

func TestAMappingThatIsConfiguredCountsAlsoForTheJobsThatWait(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		w.begins(w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: time.Minute}}))
		script := w.server.Submit(fakes.Task{Image: "old/plugin", Kind: msg.Script})
		w.until("it waits", time.Minute, func() bool { return len(w.pool().Waiting) == 1 })
		w.mapped = map[string]string{"old/plugin": "plugin"}
		config := daemonMode(1)
		config.ImageMappings = []msg.Mapping{{Pattern: "old/*", To: "*"}}
		w.configure(config)
		w.completes(script)
	})
}

func TestWhatIsSaidBetweenTheRegistrationAndTheChannelIsHeard(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.server.Script(fakes.Events, fakes.Call{Fails: errNoAnswer})
		w.start()
		w.until("the channel is lost", time.Second, func() bool { return strings.Contains(w.log.text(), "the control channel is lost") })
		w.server.Say(msg.Disable{})
		w.until("it is disabled", time.Minute, func() bool { return !w.config.load().Enabled })
		w.passes(time.Second)
		id := w.server.Submit(fakes.Task{Image: "plugin"})
		w.passes(time.Minute)
		if w.server.Confirmed(id) {
			t.Error("it takes jobs")
		}
		w.server.Say(msg.Enable{})
		w.completes(id)
	})
}
