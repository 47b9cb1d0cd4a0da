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

func TestSilentEventStreamReopensThenRunnerRegisters(t *testing.T) {
	for name, c := range map[string]struct {
		silent   time.Duration
		opened   int // maximum
		register int // maximum
	}{
		"31 s: stream is reopened":     {31 * time.Second, 2, 1},
		"50 s: runner registers again": {50 * time.Second, 3, 2},
		"10 min: retries with backoff": {10 * time.Minute, 29, 15},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.start()
				id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: 20 * time.Minute}})
				e.awaitRun(id)
				e.server.SetSilent(true)
				e.advance(c.silent)
				e.server.SetSilent(false)
				e.advance(20 * time.Second)
				opened, registered := e.streamsOpened(), len(e.server.Calls(fakes.Register))
				if opened > c.opened || registered > c.register || registered < min(c.register, 2) {
					t.Errorf("stream opened %d times and runner registered %d times, want at most %d and %d", opened, registered, c.opened, c.register)
				}
				e.awaitCompleted(id) // running jobs are not affected
				e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
			})
		})
	}
}

func TestInvalidConfigurationIsNotBlamedOnNetwork(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.server.Script(fakes.Register, fakes.Call{Err: fmt.Errorf("register: %w: config.capacity: -1 is negative", msg.ErrConfig)})
		e.start()
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
		if log := e.log.text(); !strings.Contains(log, "fix this runner's configuration on the server") || strings.Contains(log, "the network") {
			t.Errorf("log:\n%s", log)
		}
	})
}

// streamsOpened returns how often an event stream was opened: once per registration and once per reopening.
func (e *env) streamsOpened() int {
	return strings.Count(e.log.text(), "event stream is silent: reopening it") + len(e.server.Calls(fakes.Register))
}

// The stream is not reopened before the server's Retry-After has passed.
func TestEventStreamReopensAtRetryAfter(t *testing.T) {
	for name, silent := range map[string]time.Duration{"first stream is refused": 0, "reopened stream is refused": 31 * time.Second} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				refused := fakes.Call{Err: refusal(503, 2*time.Minute)}
				if silent == 0 {
					e.server.Script(fakes.Events, refused)
				}
				e.start()
				if silent > 0 {
					e.advance(time.Second)
					e.server.Script(fakes.Events, refused)
					e.server.SetSilent(true)
					e.advance(silent)
					e.server.SetSilent(false)
				}
				e.until("the event stream is refused", time.Second, func() bool { return strings.Contains(e.log.text(), "event stream lost: will reopen it") })
				before := len(e.server.Calls(fakes.Events))
				e.advance(110 * time.Second)
				opened, registered := len(e.server.Calls(fakes.Events))-before, len(e.server.Calls(fakes.Register))
				if opened > 0 || registered > 1 {
					t.Errorf("stream opened %d times before Retry-After; runner registered %d times", opened, registered)
				}
				e.server.SendEvent(msg.Disable{})
				e.until("the event is received", 12*time.Second, func() bool { return !e.config.load().Enabled })
			})
		})
	}
}

// The runner takes no jobs until the server has answered a registration.
func TestSilentEventStreamStopsIntakeUntilRegistration(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		e.advance(time.Second)
		e.server.SetSilent(true)
		e.server.Script(fakes.Register, fakes.Call{}, fakes.Call{Err: errNoAnswer}, fakes.Call{Err: errNoAnswer})
		e.advance(40 * time.Second)
		before := len(e.server.Calls(fakes.Reserve))
		e.until("the runner is offline", 20*time.Second, func() bool { return len(e.server.Calls(fakes.Register)) == 2 })
		e.server.SetSilent(false)
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
		if len(e.server.Calls(fakes.Reserve)) == before {
			t.Error("the runner no longer reserves jobs")
		}
	})
}

func TestAbortEventTakesEffectAtOnce(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Hangs: true}})
		e.awaitRun(id)
		sent := time.Now()
		e.server.SendEvent(msg.StopJob{Order: msg.StopOrder{ID: id, Execution: e.server.ExecutionOf(id), Reason: "enough"}})
		f := e.awaitOutcome(id, msg.Aborted, "enough")
		if elapsed := f.At.Sub(sent); elapsed > time.Second {
			t.Errorf("the job took %v", elapsed)
		}
		e.awaitCleanup()
	})
}

func TestAbortBeforeScriptStartsCounts(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.server.Script(fakes.Confirm, fakes.Call{Delay: 5 * time.Second})
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script})
		e.advance(time.Second)
		e.server.SendEvent(msg.StopJob{Order: msg.StopOrder{ID: id, Execution: e.server.ExecutionOf(id), Reason: "never mind"}})
		e.awaitOutcome(id, msg.Aborted, "before it was started: never mind")
		if len(e.pluginHost.Runs()) > 0 {
			t.Error("the job ran")
		}
	})
}

// Disable also stops scripts. Enable resumes at once.
func TestDisableStopsIntakeButNotRunningJobs(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		e.start()
		running := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: 10 * time.Minute}})
		done := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(done)
		e.awaitRun(running)
		e.server.SendEvent(msg.Disable{})
		e.advance(time.Second)
		task := e.server.Submit(fakes.Task{Image: "plugin"})
		script := e.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script})
		before := len(e.server.Calls(fakes.Reserve))
		e.advance(5 * time.Minute)
		if n := len(e.server.Calls(fakes.Reserve)) - before; n > 0 || e.server.IsJobConfirmed(task) || e.server.IsJobConfirmed(script) {
			t.Errorf("a disabled runner takes jobs: %d reserves", n)
		}
		if alive := e.alive(); !slices.Equal(alive, []msg.ExecutorID{e.executorOf(running)}) {
			t.Errorf("alive: %v, want the idle executor to be evicted", alive)
		}
		e.server.SendEvent(msg.Enable{})
		enabled := time.Now()
		for _, id := range []msg.JobID{task, script} {
			if elapsed := e.awaitCompleted(id).At.Sub(enabled); elapsed > time.Second {
				t.Errorf("%s took %v", id, elapsed)
			}
		}
		e.awaitCompleted(running)
	})
}

// Enable resumes reserving at once, also after failed reserves, except within the server's Retry-After.
func TestEnableResumesReservesAfterFailures(t *testing.T) {
	for name, c := range map[string]struct {
		fails       error
		early, late time.Duration // minimum and maximum time from Enable to the finish
	}{
		"no answer":                  {errNoAnswer, 0, time.Second},
		"status 500":                 {refusal(500, 0), 0, time.Second},
		"Retry-After has passed":     {refusal(503, 4*time.Second), 0, time.Second},
		"Retry-After has not passed": {refusal(503, 50*time.Second), 40 * time.Second, 50 * time.Second},
		"unknown runner":             {refusal(403, 0), 0, 40 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.server.Script(fakes.Reserve, slices.Repeat([]fakes.Call{{Err: c.fails}}, 8)...)
				e.start()
				tries := func() int { return len(e.server.Calls(fakes.Reserve)) }
				e.until("the eighth reserve has failed", 10*time.Minute, func() bool { return tries() == 8 })
				e.server.SendEvent(msg.Disable{})
				e.advance(5 * time.Second)
				e.server.SendEvent(msg.Enable{})
				enabled := time.Now()
				id := e.server.Submit(fakes.Task{Image: "plugin"})
				if elapsed := e.awaitCompleted(id).At.Sub(enabled); elapsed < c.early || elapsed > c.late {
					t.Errorf("the job took %v, want between %v and %v", elapsed, c.early, c.late)
				}
				if n := tries(); n > 10 {
					t.Errorf("%d reserves", n)
				}
			})
		})
	}
}

func TestDisableSurvivesRestart(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		e.advance(time.Second)
		e.server.SendEvent(msg.Disable{})
		e.advance(time.Second)
		e.stop()
		e.server.Down(errNoAnswer)
		e.start()
		e.advance(time.Second)
		if e.config.load().Enabled {
			t.Error("the disable was forgotten")
		}
		e.server.Down(nil)
	})
}

func TestStaleRevisionDoesNotUndoLoweredCapacity(t *testing.T) {
	config := daemonMode(5)
	config.Revision = 7
	withEnv(t, config, func(e *env) {
		e.start()
		var jobs []msg.JobID
		for range 5 {
			jobs = append(jobs, e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: time.Minute}}))
		}
		for _, id := range jobs {
			e.awaitRun(id)
		}
		config.Capacity = 1
		e.configure(config)
		old := config
		old.Revision, old.Capacity = 3, 5
		e.server.SendEvent(msg.Configure{Config: old})
		e.advance(30 * time.Second)
		if n := len(e.alive()); n != 5 {
			t.Errorf("%d executors are alive, want 5", n)
		}
		for _, id := range jobs {
			e.awaitCompleted(id)
		}
		e.until("at most one executor is left", 2*time.Second, func() bool { return len(e.alive()) <= 1 })
		for range 3 {
			e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
		}
	})
}

func TestRegistrationAppliesWhateverItsRevision(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		e.config.config = daemonMode(1)
		e.config.config.Revision = 100 // from a server that was reinstalled since
		e.start()
		first := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: time.Minute}})
		e.awaitRun(first)
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
		if e.isFinished(first)() {
			t.Error("the jobs did not run in parallel")
		}
	})
}

func TestZeroEvictionTimeEndsIdleExecutors(t *testing.T) {
	config := daemonMode(2)
	withEnv(t, config, func(e *env) {
		e.start()
		idle, running := e.server.Submit(fakes.Task{Image: "plugin"}), e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: time.Minute}})
		e.awaitCompleted(idle)
		e.awaitIdle(e.executorOf(idle))
		e.awaitRun(running)
		config.Eviction = 0
		e.configure(config)
		e.until("the idle executor is gone", time.Second, func() bool { return !e.isAlive(e.executorOf(idle)) })
		e.awaitCompleted(running)
		next := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(next)
		if e.executorOf(next) == e.executorOf(running) {
			t.Error("an executor got a second job")
		}
	})
}

func TestLateDuplicateCommandIsIgnored(t *testing.T) {
	for name, c := range map[string]struct {
		between func(*env)
	}{
		"on the same stream": {func(*env) {}},
		"on the next stream": {func(e *env) {
			e.server.SetSilent(true)
			e.advance(35 * time.Second)
			e.server.SetSilent(false)
			e.advance(15 * time.Second)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.start()
				e.advance(time.Second)
				for range 2 { // identical later commands must not be taken for duplicates
					e.server.SendEvent(msg.Disable{})
					e.advance(time.Second)
					e.server.SendEvent(msg.Enable{})
					e.advance(time.Second)
				}
				c.between(e)
				e.server.ResendCommand(1)
				e.advance(time.Second)
				if !e.config.load().Enabled {
					t.Error("the runner is disabled")
				}
				if n := len(e.server.Calls(fakes.Register)); n != 1 {
					t.Errorf("the runner has registered %d times", n)
				}
				e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
			})
		})
	}
}

func TestRepeatedEventAfterCrashIsIgnored(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		s := newFaultInjector(point{})
		e.scheduler = s
		e.start()
		e.advance(time.Second)
		id := e.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script, Behavior: fakes.Behavior{Duration: 20 * time.Second}})
		e.awaitRun(id)
		e.server.SendEvent(msg.Disable{})
		e.server.SendEvent(msg.Enable{})
		s.crashNext("sse")
		e.advance(30 * time.Second)
		e.awaitCompleted(id)
		e.advance(time.Minute)
		if n := len(e.pluginHost.Runs()); n != 1 {
			t.Errorf("the job ran %d times", n)
		}
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
	})
}

func TestPingsKeepEventStreamOpen(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		e.advance(time.Hour)
		if n := e.streamsOpened(); n != 1 {
			t.Errorf("the event stream was opened %d times", n)
		}
	})
}

func TestNewMappingAppliesToNextJob(t *testing.T) {
	config := daemonMode(2)
	withEnv(t, config, func(e *env) {
		e.start()
		running := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: time.Minute}})
		e.awaitRun(running)
		e.awaitOutcome(e.server.Submit(fakes.Task{Image: "old/plugin"}), msg.Failed, "no such image")
		e.imageMappings = map[string]string{"old/plugin": "plugin"}
		config.ImageMappings = []msg.Mapping{{Pattern: "old/*", To: "*"}}
		e.configure(config)
		mapped := e.server.Submit(fakes.Task{Image: "old/plugin"})
		e.awaitCompleted(mapped)
		e.awaitCompleted(running)
		e.awaitIdle(e.executorOf(running))
		config.Revision++
		config.PullSecretMappings = []msg.Mapping{{Pattern: "plug*", To: "credentials"}}
		e.configure(config)
		private := e.server.Submit(fakes.Task{Image: "old/plugin"})
		e.awaitCompleted(private)
		if x := e.executorOf(private); x == e.executorOf(mapped) || x == e.executorOf(running) {
			t.Error("the job ran in an executor whose image was pulled without the job's pull secret")
		}
	})
}

func TestNewMappingAppliesToWaitingJobs(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		e.awaitRun(e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: time.Minute}}))
		script := e.server.Submit(fakes.Task{Image: "old/plugin", Kind: msg.Script})
		e.until("the job waits", time.Minute, func() bool { return len(e.pool().Waiting) == 1 })
		e.imageMappings = map[string]string{"old/plugin": "plugin"}
		config := daemonMode(1)
		config.ImageMappings = []msg.Mapping{{Pattern: "old/*", To: "*"}}
		e.configure(config)
		e.awaitCompleted(script)
	})
}

func TestEventsBeforeStreamOpensAreReceived(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.server.Script(fakes.Events, fakes.Call{Err: errNoAnswer})
		e.start()
		e.until("the stream is lost", time.Second, func() bool { return strings.Contains(e.log.text(), "event stream lost: will reopen it") })
		e.server.SendEvent(msg.Disable{})
		e.until("the runner is disabled", time.Minute, func() bool { return !e.config.load().Enabled })
		e.advance(time.Second)
		id := e.server.Submit(fakes.Task{Image: "plugin"})
		e.advance(time.Minute)
		if e.server.IsJobConfirmed(id) {
			t.Error("a disabled runner takes jobs")
		}
		e.server.SendEvent(msg.Enable{})
		e.awaitCompleted(id)
	})
}
