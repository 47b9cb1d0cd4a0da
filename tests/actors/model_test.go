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

func (v *failureRecorder) Helper()                           {}
func (v *failureRecorder) Log(...any)                        {}
func (v *failureRecorder) Error(args ...any)                 { v.failures = append(v.failures, fmt.Sprint(args...)) }
func (v *failureRecorder) Errorf(format string, args ...any) { v.Error(fmt.Sprintf(format, args...)) }
func (v *failureRecorder) Fatal(args ...any)                 { v.Error(args...); runtime.Goexit() }
func (v *failureRecorder) Fatalf(format string, args ...any) {
	v.Errorf(format, args...)
	runtime.Goexit()
}
func (v *failureRecorder) Failed() bool { return len(v.failures) > 0 }

// action is one step of a random scenario.
type action struct {
	what string
	do   func(*scenario)
}

func (s action) String() string { return s.what }

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
	prints = []string{"begins", "knows hunter2", "works"}
	trails = []string{"has delivered"}
)

func tasks() *rapid.Generator[fakes.Task] {
	return rapid.Custom(func(t *rapid.T) fakes.Task {
		works := time.Duration(rapid.SampledFrom([]int{0, 10, 100, 1000, 30_000}).Draw(t, "works")) * time.Millisecond
		task := fakes.Task{
			Image:    rapid.SampledFrom([]string{"plugin", "plugin", "slow", "once", "missing"}).Draw(t, "image"),
			Kind:     rapid.SampledFrom([]msg.Kind{msg.Task, msg.Task, msg.Script}).Draw(t, "kind"),
			Secret:   "hunter2",
			Priority: rapid.IntRange(0, 2).Draw(t, "priority"),
			Behavior: fakes.Behavior{Lines: prints, Duration: works, TrailingLines: trails},
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
			return action{fmt.Sprintf("submit %+v", task), func(h *scenario) { h.submit(task) }}
		case "wait":
			d := time.Duration(rapid.SampledFrom([]int{1, 3, 20, 300, 5000, 61_000}).Draw(t, "ms")) * time.Millisecond
			return action{fmt.Sprintf("wait %v", d), func(h *scenario) { h.advance(d) }}
		case "crash":
			who := rapid.SampledFrom([]string{"runner", "reporter", "dispatcher", "executor", "recovery", "poller"}).Draw(t, "who")
			return action{"crash " + who, func(h *scenario) { h.faults.crashNext(who) }}
		case "restart":
			return action{"restart", func(h *scenario) { h.restart() }}
		case "abort":
			n := rapid.IntRange(0, 5).Draw(t, "n")
			return action{fmt.Sprintf("abort %d", n), func(h *scenario) {
				if n < len(h.order) {
					h.server.Abort(h.order[n], "unwanted")
				}
			}}
		case "kill":
			n := rapid.IntRange(0, 2).Draw(t, "n")
			return action{fmt.Sprintf("kill %d", n), func(h *scenario) { h.kill(n) }}
		case "configure":
			capacity, eviction := rapid.IntRange(1, 3).Draw(t, "capacity"), rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute}).Draw(t, "eviction")
			return action{fmt.Sprintf("configure %d %v", capacity, eviction), func(h *scenario) {
				h.config.Capacity, h.config.Eviction, h.config.Revision = capacity, eviction, h.config.Revision+1
				h.configure(h.config)
			}}
		case "server":
			return action{"server away for 40 s", func(h *scenario) {
				h.server.Down(errNoAnswer)
				h.advance(40 * time.Second)
				h.server.Down(nil)
			}}
		default:
			return action{"engine away for 5 s", func(h *scenario) {
				h.engine.Down(errNoAnswer)
				h.advance(5 * time.Second)
				h.engine.Down(nil)
			}}
		}
	})
}

func (h *scenario) submit(t fakes.Task) {
	id := h.server.Submit(t)
	h.tasks[id] = t
	h.order = append(h.order, id)
}

func (h *scenario) kill(n int) {
	if alive := h.alive(); n < len(alive) {
		h.executorKilled = true
		if err := h.engine.Signal(context.Background(), alive[n], msg.SIGKILL); err != nil {
			h.t.Error(err)
		}
	}
}

func TestInvariantsHoldUnderRandomActions(t *testing.T) {
	identity()
	rapid.Check(t, func(rt *rapid.T) {
		config := daemonMode(rapid.IntRange(1, 3).Draw(rt, "capacity"))
		plan := rapid.SliceOfN(actions(), 1, 20).Draw(rt, "actions")
		var v failureRecorder
		var log bytes.Buffer
		synctest.Test(t, func(*testing.T) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				runScenario(&v, config, plan, &log)
			}()
			<-done
		})
		if v.Failed() {
			rt.Fatalf("%s\n%s", strings.Join(v.failures, "\n"), log.String())
		}
	})
}

func runScenario(v *failureRecorder, config msg.Config, plan []action, log *bytes.Buffer) {
	h := &scenario{env: newEnv(v, config), faults: newFaultInjector(point{}), config: config, tasks: map[msg.JobID]fakes.Task{}}
	defer func() {
		h.faults.crashNext("")
		h.close()
		log.WriteString(h.log.text())
	}()
	h.scheduler = h.faults
	h.image("slow", fakes.Plugin{StartDelay: 3 * time.Second, PollDelay: time.Second})
	h.image("once", fakes.Plugin{ExitCodeAfterJob: 255})
	h.engine.Script(fake.Create, fake.Call{Delay: 7 * time.Millisecond})
	h.start()
	for _, s := range plan {
		s.do(h)
		h.advance(time.Millisecond)
		if h.checkInvariants(); v.Failed() {
			v.Fatalf("after %v", s)
		}
	}
	h.faults.crashNext("")
	h.until("every job has its finish", 3*time.Hour, func() bool { return h.server.OpenJobs() == 0 })
	h.awaitCleanup()
	h.checkInvariants()
	h.checkLogs()
}

// checkLogs checks that every log is in order, without losses, duplicates, lines of other jobs, and secrets.
func (h *scenario) checkLogs() {
	want := "begins\nknows ********\nworks\nhas delivered\n"
	for _, id := range h.order {
		if h.tasks[id].Kind == msg.Script { // its output is in the runner's own log
			continue
		}
		log, _ := h.logOf(id)
		f, _ := h.server.FinishOf(id)
		if !strings.HasPrefix(want, log) {
			h.t.Errorf("violation of I7 or I8: the log of %s is %q", id, log)
		}
		if f.Outcome == msg.Completed && !h.executorKilled && !slices.Contains([]string{want, "begins\nknows ********\nworks\n"}, log) {
			h.t.Errorf("violation of I7: the log of %s, which is completed, is only %q", id, log)
		}
	}
}
