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

// The output of the script goes to the runner's log.
func TestScriptRunsBeforeTasksInSameExecutor(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		first := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: time.Minute}})
		e.awaitRun(first)
		second := e.server.Submit(fakes.Task{Image: "plugin"})
		script := e.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script, Secret: "hunter2", Behavior: fakes.Behavior{
			Lines: []string{"looking", "knows hunter2"}, TrailingLines: []string{"found"}}})
		e.awaitCompleted(second)
		e.awaitCompleted(script)
		if runs := e.pluginHost.Runs(); len(runs) != 3 || runs[1].Execution != e.server.ExecutionOf(script) || runs[1].Executor != runs[0].Executor {
			t.Errorf("runs: %+v", runs)
		}
		e.awaitCleanup()
		log := e.log.text()
		for _, line := range []string{"looking", "knows ********", "found"} {
			if !strings.Contains(log, fmt.Sprintf(`"script":"%s","execution":"%s","message":"%s"`, script, e.server.ExecutionOf(script), line)) {
				t.Errorf("the runner's log has no line %q of the script", line)
			}
		}
		if strings.Contains(log, "hunter2") {
			t.Error("the runner's log shows the password")
		}
	})
}

func TestScriptResultDoesNotWaitForLog(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		e.advance(time.Second)
		submitted := time.Now()
		f := e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script, Behavior: fakes.Behavior{Lines: []string{"one"}}}))
		if elapsed := f.At.Sub(submitted); elapsed > 100*time.Millisecond {
			t.Errorf("the job took %v", elapsed)
		}
	})
}

func TestScriptWithoutCapabilityFailsWithReason(t *testing.T) {
	config := daemonMode(1)
	config.Capabilities = []string{"remote", "container"}
	withEnv(t, config, func(e *env) {
		e.start()
		e.awaitOutcome(e.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script}), msg.Failed, "its capabilities are [remote container], and remote-script is missing")
		e.awaitCleanup()
		config.Capabilities = []string{"remote-script"}
		e.configure(config)
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script}))
	})
}

func TestScriptQueueIsBounded(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		e.awaitRun(e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: time.Minute}}))
		var scripts []msg.JobID
		for range 105 {
			scripts = append(scripts, e.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script}))
		}
		rejected := 0
		for _, id := range scripts {
			if f := e.awaitFinish(id); f.Outcome == msg.Failed && strings.Contains(f.Message, "100 scripts wait for this runner already") {
				rejected++
			}
		}
		if rejected != 5 {
			t.Errorf("%d of 105 scripts were rejected, want 5", rejected)
		}
	})
}

func TestUnstoredScriptIsRequestedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*env)
		task   fakes.Task
	}{
		"no space on disk":        {func(e *env) { e.lowWater, e.disk.Space = 1000, 999 }, fakes.Task{Image: "plugin", Kind: msg.Script}},
		"input cannot be fetched": {func(e *env) { e.server.Script(fakes.Fetch, fakes.Call{Err: errNoAnswer}) }, fakes.Task{Image: "plugin", Kind: msg.Script, InputByURL: true}},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				c.before(e)
				e.start()
				id := e.server.Submit(c.task)
				e.advance(10 * time.Second)
				e.server.SendEvent(msg.Disable{})
				e.server.SendEvent(msg.Enable{})
				e.advance(10 * time.Second)
				if e.server.IsJobConfirmed(id) {
					t.Error("the script was confirmed without being stored")
				}
				e.disk.SetSpace(1 << 30)
				e.awaitCompleted(id)
				if n := len(e.server.Calls(fakes.Register)); n != 1 {
					t.Errorf("the runner has registered %d times", n)
				}
			})
		})
	}
}

func TestUnstoredScriptOpensNoStreamBeforeRegistration(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.server.Script(fakes.Fetch, fakes.Call{Delay: 20 * time.Second, Err: errNoAnswer})
		e.server.Script(fakes.Heartbeat, fakes.Call{Err: refusal(401, 0)})
		e.server.Script(fakes.Register, append([]fakes.Call{{}}, slices.Repeat([]fakes.Call{{Err: errNoAnswer}}, 8)...)...)
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script, InputByURL: true})
		e.advance(16 * time.Second)
		opened := len(e.server.Calls(fakes.Events))
		e.server.SendEvent(msg.Disable{})
		e.advance(40 * time.Second)
		if n := len(e.server.Calls(fakes.Events)) - opened; n > 0 || !e.config.load().Enabled {
			t.Errorf("stream opened %d times without a registration, or an event took effect", n)
		}
		e.server.SendEvent(msg.Enable{})
		e.awaitCompleted(id)
	})
}

func TestSlowScriptInputBlocksNothing(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.server.Script(fakes.Fetch, fakes.Call{Delay: 70 * time.Second})
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script, InputByURL: true})
		running := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Hangs: true}})
		e.awaitRun(running)
		sent := time.Now()
		e.server.SendEvent(msg.StopJob{Order: msg.StopOrder{ID: running, Execution: e.server.ExecutionOf(running), Reason: "enough"}})
		if elapsed := e.awaitOutcome(running, msg.Aborted, "enough").At.Sub(sent); elapsed > 2*time.Second {
			t.Errorf("an abort during the fetch took %v", elapsed)
		}
		e.awaitCompleted(id)
		if n, m := len(e.server.Calls(fakes.Register)), len(e.server.Calls(fakes.Fetch)); n != 1 || m != 1 {
			t.Errorf("the runner has registered %d times and fetched %d times, want once each", n, m)
		}
	})
}

func TestRepeatedOfferOfFinishedScriptRunsOnce(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script})
		e.awaitCompleted(id)
		e.awaitCleanup()
		e.server.ResendScript(id)
		later := e.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script})
		e.awaitCompleted(later)
		if n := len(e.pluginHost.Runs()); n != 2 || strings.Contains(e.log.text(), "could not store a script") {
			t.Errorf("%d runs of two scripts, or an offer was rejected", n)
		}
	})
}
