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

func TestAScriptGoesBeforeTasksInTheSameExecutorAndItsLogIsTheRunners(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		first := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: time.Minute}})
		w.begins(first)
		second := w.server.Submit(fakes.Task{Image: "plugin"})
		script := w.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script, Secret: "hunter2", Errand: fakes.Errand{
			Prints: []string{"looking", "knows hunter2"}, Trails: []string{"found"}}})
		w.completes(second)
		w.completes(script)
		if runs := w.site.Runs(); len(runs) != 3 || runs[1].Execution != w.server.ExecutionOf(script) || runs[1].Executor != runs[0].Executor {
			t.Errorf("the runs are %+v", runs)
		}
		w.nothingIsLeft()
		log := w.log.text()
		for _, line := range []string{"looking", "knows ********", "found"} {
			if !strings.Contains(log, fmt.Sprintf(`"script":"%s","job":"%s","message":"%s"`, script, w.server.ExecutionOf(script), line)) {
				t.Errorf("the runner's log has no line %q of the script", line)
			}
		}
		if strings.Contains(log, "hunter2") {
			t.Error("the runner's log shows the password")
		}
	})
}

func TestTheResultOfAScriptDoesNotWaitForItsLog(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		w.passes(time.Second)
		submitted := time.Now()
		f := w.completes(w.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script, Errand: fakes.Errand{Prints: []string{"one"}}}))
		if took := f.At.Sub(submitted); took > 100*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

func TestAScriptThatThisRunnerDoesNotRunIsRefusedWithTheReason(t *testing.T) {
	config := daemonMode(1)
	config.Capabilities = []string{"remote", "container"}
	inWorld(t, config, func(w *world) {
		w.start()
		w.fails(w.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script}), msg.Failed, "it has the capabilities [remote container], and not remote-script")
		w.nothingIsLeft()
		config.Capabilities = []string{"remote-script"}
		w.configure(config)
		w.completes(w.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script}))
	})
}

func TestTheQueueOfScriptsIsBounded(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		w.begins(w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: time.Minute}}))
		var scripts []msg.JobID
		for range 105 {
			scripts = append(scripts, w.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script}))
		}
		refused := 0
		for _, id := range scripts {
			if f := w.ends(id); f.Outcome == msg.Failed && strings.Contains(f.Message, "100 scripts wait for this runner already") {
				refused++
			}
		}
		if refused != 5 {
			t.Errorf("%d of 105 were refused, want 5", refused)
		}
	})
}

func TestAScriptThatCannotBeKeptIsAskedForAgain(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*world)
		task   fakes.Task
	}{
		"for want of space":     {func(w *world) { w.lowWater, w.disk.Space = 1000, 999 }, fakes.Task{Image: "plugin", Kind: msg.Script}},
		"for want of its input": {func(w *world) { w.server.Script(fakes.Fetch, fakes.Call{Fails: errNoAnswer}) }, fakes.Task{Image: "plugin", Kind: msg.Script, Fetched: true}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				c.before(w)
				w.start()
				id := w.server.Submit(c.task)
				w.passes(10 * time.Second)
				w.server.Say(msg.Disable{})
				w.server.Say(msg.Enable{})
				w.passes(10 * time.Second)
				if w.server.Confirmed(id) {
					t.Error("it is confirmed, and not kept")
				}
				w.disk.Leave(1 << 30)
				w.completes(id)
				if n := len(w.server.Calls(fakes.Register)); n != 1 {
					t.Errorf("it has registered %d times", n)
				}
			})
		})
	}
}

func TestAScriptThatCannotBeKeptOpensNoChannelWithoutARegistration(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.server.Script(fakes.Fetch, fakes.Call{Takes: 20 * time.Second, Fails: errNoAnswer})
		w.server.Script(fakes.Heartbeat, fakes.Call{Fails: refusal(401, 0)})
		w.server.Script(fakes.Register, append([]fakes.Call{{}}, slices.Repeat([]fakes.Call{{Fails: errNoAnswer}}, 8)...)...)
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script, Fetched: true})
		w.passes(16 * time.Second)
		opened := len(w.server.Calls(fakes.Events))
		w.server.Say(msg.Disable{})
		w.passes(40 * time.Second)
		if n := len(w.server.Calls(fakes.Events)) - opened; n > 0 || !w.config.load().Enabled {
			t.Errorf("the channel was opened %d times, and what came over it is obeyed", n)
		}
		w.server.Say(msg.Enable{})
		w.completes(id)
	})
}

func TestAScriptWhoseInputComesSlowlyHoldsUpNothingElse(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.server.Script(fakes.Fetch, fakes.Call{Takes: 70 * time.Second})
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script, Fetched: true})
		running := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Hangs: true}})
		w.begins(running)
		said := time.Now()
		w.server.Say(msg.StopJob{Order: msg.StopOrder{ID: running, Execution: w.server.ExecutionOf(running), Reason: "enough"}})
		if took := w.fails(running, msg.Aborted, "enough").At.Sub(said); took > 2*time.Second {
			t.Errorf("an abort that came after it took %v", took)
		}
		w.completes(id)
		if n, m := len(w.server.Calls(fakes.Register)), len(w.server.Calls(fakes.Fetch)); n != 1 || m != 1 {
			t.Errorf("the runner has registered %d times and fetched %d times, want once each", n, m)
		}
	})
}

func TestAScriptWhoseOfferComesAgainAfterItsFinishRunsOnce(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script})
		w.completes(id)
		w.nothingIsLeft()
		w.server.SayAgain(id)
		later := w.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script})
		w.completes(later)
		if n := len(w.site.Runs()); n != 2 || strings.Contains(w.log.text(), "is not taken") {
			t.Errorf("%d runs of two scripts, or it is asked for again", n)
		}
	})
}
