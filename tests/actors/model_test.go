package actors_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

// failureRecorder records failures instead of failing a test, so that rapid can continue and shrink the scenario.
type failureRecorder struct{ failures []string }

func (r *failureRecorder) Helper()                           {}
func (r *failureRecorder) Log(...any)                        {}
func (r *failureRecorder) Error(args ...any)                 { r.failures = append(r.failures, fmt.Sprint(args...)) }
func (r *failureRecorder) Errorf(format string, args ...any) { r.Error(fmt.Sprintf(format, args...)) }
func (r *failureRecorder) Fatal(args ...any)                 { r.Error(args...); runtime.Goexit() }
func (r *failureRecorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}
func (r *failureRecorder) Failed() bool { return len(r.failures) > 0 }

// action is one step of a random scenario.
type action struct {
	what string
	do   func(*scenario)
}

func (a action) String() string { return a.what }

// scenario is an env with the tasks that were submitted to it.
type scenario struct {
	*env
	faults         *faultInjector
	config         msg.Config
	tasks          map[msg.JobID]fakes.Task
	order          []msg.JobID
	executorKilled bool // an executor was killed: logs may be incomplete
}

var (
	modelLines         = []string{"begins", "knows hunter2", "works"}
	modelTrailingLines = []string{"has delivered"}
)

func tasks() *rapid.Generator[fakes.Task] {
	return rapid.Custom(func(t *rapid.T) fakes.Task {
		duration := time.Duration(rapid.SampledFrom([]int{0, 10, 100, 1000, 30_000}).Draw(t, "duration ms")) * time.Millisecond
		task := fakes.Task{
			Image:    rapid.SampledFrom([]string{"plugin", "plugin", "slow", "once", "missing"}).Draw(t, "image"),
			Kind:     rapid.SampledFrom([]msg.Kind{msg.Task, msg.Task, msg.Script}).Draw(t, "kind"),
			Secret:   "hunter2",
			Priority: rapid.IntRange(0, 2).Draw(t, "priority"),
			Behavior: fakes.Behavior{Lines: modelLines, Duration: duration, TrailingLines: modelTrailingLines},
		}
		switch rapid.IntRange(0, 9).Draw(t, "quirk") {
		case 0:
			task.Behavior.DeathCode = 3
		case 1:
			task.Behavior.Hangs = true
			task.Timeout = time.Minute
		case 2:
			task.Behavior.FileOnly = true
		case 3:
			task.Undecryptable = true
		case 4:
			task.InputByURL = true
		}
		return task
	})
}

func actions() *rapid.Generator[action] {
	return rapid.Custom(func(t *rapid.T) action {
		switch rapid.SampledFrom([]string{"submit", "submit", "submit", "wait", "wait", "crash", "restart", "abort", "kill", "configure", "server", "engine"}).Draw(t, "action") {
		case "submit":
			task := tasks().Draw(t, "task")
			return action{fmt.Sprintf("submit %+v", task), func(s *scenario) { s.submit(task) }}
		case "wait":
			d := time.Duration(rapid.SampledFrom([]int{1, 3, 20, 300, 5000, 61_000}).Draw(t, "ms")) * time.Millisecond
			return action{fmt.Sprintf("wait %v", d), func(s *scenario) { s.advance(d) }}
		case "crash":
			who := rapid.SampledFrom([]string{"runner", "reporter", "dispatcher", "executor", "recovery", "poller"}).Draw(t, "who")
			return action{"crash " + who, func(s *scenario) { s.faults.crashNext(who) }}
		case "restart":
			return action{"restart", func(s *scenario) { s.restart() }}
		case "abort":
			n := rapid.IntRange(0, 5).Draw(t, "n")
			return action{fmt.Sprintf("abort job %d", n), func(s *scenario) {
				if n < len(s.order) {
					s.server.Abort(s.order[n], "unwanted")
				}
			}}
		case "kill":
			n := rapid.IntRange(0, 2).Draw(t, "n")
			return action{fmt.Sprintf("kill executor %d", n), func(s *scenario) { s.kill(n) }}
		case "configure":
			capacity, eviction := rapid.IntRange(1, 3).Draw(t, "capacity"), rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute}).Draw(t, "eviction")
			return action{fmt.Sprintf("configure %d %v", capacity, eviction), func(s *scenario) {
				s.config.Capacity, s.config.Eviction, s.config.Revision = capacity, eviction, s.config.Revision+1
				s.configure(s.config)
			}}
		case "server":
			return action{"server down for 40 s", func(s *scenario) {
				s.server.Down(errNoAnswer)
				s.advance(40 * time.Second)
				s.server.Down(nil)
			}}
		default:
			return action{"engine down for 5 s", func(s *scenario) {
				s.engine.Down(errNoAnswer)
				s.advance(5 * time.Second)
				s.engine.Down(nil)
			}}
		}
	})
}

func (s *scenario) submit(t fakes.Task) {
	id := s.server.Submit(t)
	s.tasks[id] = t
	s.order = append(s.order, id)
}

func (s *scenario) kill(n int) {
	if alive := s.alive(); n < len(alive) {
		s.executorKilled = true
		if err := s.engine.Signal(context.Background(), alive[n], msg.SIGKILL); err != nil {
			s.t.Error(err)
		}
	}
}

func TestInvariantsHoldUnderRandomActions(t *testing.T) {
	identity()
	rapid.Check(t, func(rt *rapid.T) {
		config := daemonMode(rapid.IntRange(1, 3).Draw(rt, "capacity"))
		plan := rapid.SliceOfN(actions(), 1, 20).Draw(rt, "actions")
		var recorder failureRecorder
		var log bytes.Buffer
		synctest.Test(t, func(*testing.T) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				runScenario(&recorder, config, plan, &log)
			}()
			<-done
		})
		if recorder.Failed() {
			rt.Fatalf("%s\n%s", strings.Join(recorder.failures, "\n"), log.String())
		}
	})
}

func runScenario(recorder *failureRecorder, config msg.Config, plan []action, log *bytes.Buffer) {
	s := &scenario{env: newEnv(recorder, config), faults: newFaultInjector(point{}), config: config, tasks: map[msg.JobID]fakes.Task{}}
	defer func() {
		s.faults.crashNext("")
		s.close()
		log.WriteString(s.log.text())
	}()
	s.scheduler = s.faults
	s.image("slow", fakes.Plugin{StartDelay: 3 * time.Second, PollDelay: time.Second})
	s.image("once", fakes.Plugin{ExitCodeAfterJob: 255})
	s.engine.Script(fake.Create, fake.Call{Delay: 7 * time.Millisecond})
	s.start()
	for _, step := range plan {
		step.do(s)
		s.advance(time.Millisecond)
		if s.checkInvariants(); recorder.Failed() {
			recorder.Fatalf("after %v", step)
		}
	}
	s.faults.crashNext("")
	s.until("every job has its finish", 3*time.Hour, func() bool { return s.server.CountOpenJobs() == 0 })
	s.awaitCleanup()
	s.checkInvariants()
	s.checkLogs()
}

// checkLogs checks that every log is in order, without losses, duplicates, lines of other jobs, or secrets.
func (s *scenario) checkLogs() {
	want := "begins\nknows ********\nworks\nhas delivered\n"
	for _, id := range s.order {
		if s.tasks[id].Kind == msg.Script { // its output is in the runner's own log
			continue
		}
		log, _ := s.logOf(id)
		f, _ := s.server.FinishOf(id)
		if !strings.HasPrefix(want, log) {
			s.t.Errorf("violation of I7 or I8: the log of %s is %q", id, log)
		}
		// An executor whose result is found in its file at a restart is killed at once, so its last line may be missing.
		if f.Outcome == msg.Completed && !s.executorKilled && !slices.Contains([]string{want, "begins\nknows ********\nworks\n"}, log) {
			s.t.Errorf("violation of I7: the log of %s, which is completed, is only %q", id, log)
		}
	}
}
