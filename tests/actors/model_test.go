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

// verdict is a judge that remembers, so that a search can go on and shrink what it found.
type verdict struct{ wrong []string }

func (v *verdict) Helper()                           {}
func (v *verdict) Log(...any)                        {}
func (v *verdict) Error(args ...any)                 { v.wrong = append(v.wrong, fmt.Sprint(args...)) }
func (v *verdict) Errorf(format string, args ...any) { v.Error(fmt.Sprintf(format, args...)) }
func (v *verdict) Fatal(args ...any)                 { v.Error(args...); runtime.Goexit() }
func (v *verdict) Fatalf(format string, args ...any) { v.Errorf(format, args...); runtime.Goexit() }
func (v *verdict) Failed() bool                      { return len(v.wrong) > 0 }

// stroke is one thing that befalls a runner.
type stroke struct {
	what string
	do   func(*history)
}

func (s stroke) String() string { return s.what }

// history is a world with what was asked of it.
type history struct {
	*world
	saboteur *saboteur
	config   msg.Config
	tasks    map[msg.JobID]fakes.Task
	order    []msg.JobID
	killed   bool // executors were: logs may be cut
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
			Errand:   fakes.Errand{Prints: prints, Works: works, Trails: trails},
		}
		switch rapid.IntRange(0, 9).Draw(t, "quirk") {
		case 0:
			task.Errand.Dies = 3
		case 1:
			task.Errand.Hangs = true
			task.Timeout = time.Minute
		case 2:
			task.Errand.FileOnly = true
		case 3:
			task.Unreadable = true
		case 4:
			task.Fetched = true
		}
		return task
	})
}

func strokes() *rapid.Generator[stroke] {
	return rapid.Custom(func(t *rapid.T) stroke {
		switch rapid.SampledFrom([]string{"submit", "submit", "submit", "wait", "wait", "crash", "restart", "abort", "kill", "configure", "server", "engine"}).Draw(t, "stroke") {
		case "submit":
			task := tasks().Draw(t, "task")
			return stroke{fmt.Sprintf("submit %+v", task), func(h *history) { h.submit(task) }}
		case "wait":
			d := time.Duration(rapid.SampledFrom([]int{1, 3, 20, 300, 5000, 61_000}).Draw(t, "ms")) * time.Millisecond
			return stroke{fmt.Sprintf("wait %v", d), func(h *history) { h.passes(d) }}
		case "crash":
			who := rapid.SampledFrom([]string{"runner", "reporter", "dispatcher", "executor", "recovery", "poller"}).Draw(t, "who")
			return stroke{"crash " + who, func(h *history) { h.saboteur.soon(who) }}
		case "restart":
			return stroke{"restart", func(h *history) { h.restart() }}
		case "abort":
			n := rapid.IntRange(0, 5).Draw(t, "n")
			return stroke{fmt.Sprintf("abort %d", n), func(h *history) {
				if n < len(h.order) {
					h.server.Abort(h.order[n], "unwanted")
				}
			}}
		case "kill":
			n := rapid.IntRange(0, 2).Draw(t, "n")
			return stroke{fmt.Sprintf("kill %d", n), func(h *history) { h.kill(n) }}
		case "configure":
			capacity, eviction := rapid.IntRange(1, 3).Draw(t, "capacity"), rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute}).Draw(t, "eviction")
			return stroke{fmt.Sprintf("configure %d %v", capacity, eviction), func(h *history) {
				h.config.Capacity, h.config.Eviction, h.config.Revision = capacity, eviction, h.config.Revision+1
				h.configure(h.config)
			}}
		case "server":
			return stroke{"server away for 40 s", func(h *history) {
				h.server.Down(errNoAnswer)
				h.passes(40 * time.Second)
				h.server.Down(nil)
			}}
		default:
			return stroke{"engine away for 5 s", func(h *history) {
				h.engine.Down(errNoAnswer)
				h.passes(5 * time.Second)
				h.engine.Down(nil)
			}}
		}
	})
}

func (h *history) submit(t fakes.Task) {
	id := h.server.Submit(t)
	h.tasks[id] = t
	h.order = append(h.order, id)
}

func (h *history) kill(n int) {
	if alive := h.alive(); n < len(alive) {
		h.killed = true
		if err := h.engine.Signal(context.Background(), alive[n], msg.SIGKILL); err != nil {
			h.t.Error(err)
		}
	}
}

func TestWhateverBefallsARunnerTheInvariantsHold(t *testing.T) {
	identity()
	rapid.Check(t, func(rt *rapid.T) {
		config := daemonMode(rapid.IntRange(1, 3).Draw(rt, "capacity"))
		fate := rapid.SliceOfN(strokes(), 1, 20).Draw(rt, "fate")
		var v verdict
		var log bytes.Buffer
		synctest.Test(t, func(*testing.T) {
			over := make(chan struct{})
			go func() {
				defer close(over)
				suffer(&v, config, fate, &log)
			}()
			<-over
		})
		if v.Failed() {
			rt.Fatalf("%s\n%s", strings.Join(v.wrong, "\n"), log.String())
		}
	})
}

func suffer(v *verdict, config msg.Config, fate []stroke, log *bytes.Buffer) {
	h := &history{world: newWorld(v, config), saboteur: newSaboteur(point{}), config: config, tasks: map[msg.JobID]fakes.Task{}}
	defer func() {
		h.saboteur.soon("")
		h.close()
		log.WriteString(h.log.text())
	}()
	h.scheduler = h.saboteur
	h.image("slow", fakes.Plugin{StartsIn: 3 * time.Second, SettlesIn: time.Second})
	h.image("once", fakes.Plugin{ExitsAfter: 255})
	h.engine.Script(fake.Create, fake.Call{Takes: 7 * time.Millisecond})
	h.start()
	for _, s := range fate {
		s.do(h)
		h.passes(time.Millisecond)
		if h.checkInvariants(); v.Failed() {
			v.Fatalf("after %v", s)
		}
	}
	h.saboteur.soon("")
	h.until("every job has its finish", 3*time.Hour, func() bool { return h.server.Open() == 0 })
	h.nothingIsLeft()
	h.checkInvariants()
	h.checkLogs()
}

// checkLogs: in order, nothing lost, nothing twice, nothing of another job, and no secret.
func (h *history) checkLogs() {
	whole := "begins\nknows ********\nworks\nhas delivered\n"
	for _, id := range h.order {
		if h.tasks[id].Kind == msg.Script { // its log is the runner's own
			continue
		}
		log, _ := h.logOf(id)
		f, _ := h.server.FinishOf(id)
		if !strings.HasPrefix(whole, log) {
			h.t.Errorf("breach of I7 or I8: the log of %s is %q", id, log)
		}
		if f.Outcome == msg.Completed && !h.killed && !slices.Contains([]string{whole, "begins\nknows ********\nworks\n"}, log) {
			h.t.Errorf("breach of I7: the log of %s, which is completed, is only %q", id, log)
		}
	}
}
