package contract_test

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"runnerd/infra/driver/fake"
	"runnerd/infra/gateway/gatewaytest"
	msg "runnerd/messages"
)

// What broke invariants before: a second process in a container, a connection that is dead, a plugin that does not come back; and the
// actor's own end at any time.

// I2: a job runs at most once.
func TestRule4ASecondProcessNeverGetsAJobThatTheFirstOneHas(t *testing.T) {
	for _, row := range []struct {
		what   string
		result bool
	}{{"the first left no result", false}, {"the first left its result", true}} {
		t.Run(row.what, func(t *testing.T) {
			x := newEnv(t).executor("second", msg.Daemon)
			j := x.hello()
			x.first(j)
			if row.result {
				x.store.on("StoreResult", func(msg.ExecutionID) error { return nil })
				x.writeResult(j.result(3))
			}
			asked := x.python().Get(t.Context()) // another process
			if row.result {
				if rec := x.expectOver(j); rec.Ending.Outcome != msg.Completed || x.outcome(j).ExitCode != 3 {
					t.Errorf("it ended %+v", rec.Ending)
				}
				a := await(t, asked)
				if len(a.Secret.Data["input"])+len(a.Secret.Data["fetchUrl"]) > 0 {
					t.Error("it gets the job")
				}
				return
			}
			x.expectFailed(j, "another process asked for the job")
			expect[msg.Retired](x)
			expect[msg.SlotFreed](x)
			if a := await(t, asked); len(a.Secret.Data["input"]) > 0 {
				t.Error("it gets the job")
			}
			if rec := x.record(j); rec.HandOuts != 1 {
				t.Errorf("handed out %d times", rec.HandOuts)
			}
		})
	}
}

// The runner does not forget that the first process has it.
func TestRule4ASecondProcessGetsNothingAfterARestartEither(t *testing.T) {
	for what, restart := range map[string]func(*executor){
		"of the runner": func(x *executor) { x.restart() },
		"its end":       func(x *executor) { x.crash(); x.start() },
		"of the actor":  func(x *executor) { x.stopActor(); x.spawn(false) },
	} {
		t.Run(what, func(t *testing.T) {
			x := newEnv(t).executor("again", msg.Daemon)
			j := x.hello()
			x.first(j)
			restart(x)
			x.python().Get(t.Context())
			x.expectFailed(j, "another process asked for the job")
		})
	}
}

// Two processes in one container, and the second asks while the job of the first is being journaled.
func TestRule4ASecondProcessThatAsksDuringTheHandOutDoesNotGetTheJob(t *testing.T) {
	x, c, _ := newEnv(t).warm("window")
	asked := c.ask()
	began, goOn := make(chan struct{}), make(chan struct{})
	x.store.on("HandOut", func(msg.ExecutionID) error { close(began); <-goOn; return nil })
	j := x.hello()
	x.assign(j)
	await(t, began)
	other := x.python()
	second := other.Get(t.Context())
	x.untilWaiting(2)
	close(goOn)
	x.check(await(t, asked), j)
	if a := await(t, second); len(a.Secret.Data["input"]) > 0 {
		t.Fatal("both have the job")
	}
	other.Get(t.Context()) // it comes again
	x.expectFailed(j, "another process asked for the job")
}

// untilWaiting waits until so many requests of the executor wait for an answer.
func (x *executor) untilWaiting(want int) {
	x.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range int(gatewaytest.Timeout / (5 * time.Millisecond)) {
		n := 0
		for id := range msg.RequestID(100) {
			if x.gateway.IsWaiting(x.id, id) {
				n++
			}
		}
		if n == want {
			return
		}
		<-tick.C
	}
	x.t.Fatalf("there are never %d requests that wait", want)
}

// The executor was cut off from the network: its machine never acknowledges the job.
func TestAJobWhoseAnswerIsNeverAcknowledgedMovesWhenItsExecutorHasExited(t *testing.T) {
	x := newEnv(t, limits(func(l *msg.ExecutorLimits) { l.PickUp = 2 * time.Second })).executor("deaf", msg.Daemon)
	j := x.large()
	x.launch(j)
	get := x.python().Stall()
	get.Begin()
	if got := expect[msg.JobReturned](x); got.Execution != j.Execution {
		t.Errorf("returned: %+v", got)
	}
	expect[msg.SlotFreed](x)
	if rec := x.record(j); rec.Stage != msg.Confirmed || rec.Executor != "" {
		t.Errorf("it is %s, of executor %q", rec.Stage, rec.Executor)
	}
	other := x.env.executor("other", msg.Daemon)
	c, a := other.first(j)
	c.finish(a, j)
	if rec := x.record(j); rec.HandOuts != 2 {
		t.Errorf("handed out %d times", rec.HandOuts)
	}
}

// The control: an answer that is acknowledged in time is the plugin's, however long it takes then.
func TestAJobThatIsAcknowledgedIsNotTakenAway(t *testing.T) {
	x := newEnv(t, limits(func(l *msg.ExecutorLimits) { l.PickUp = 2 * time.Second })).executor("slow", msg.Daemon)
	j := x.hello()
	c, a := x.first(j)
	x.waitsOut()
	c.finish(a, j)
}

// waitsOut lets another executor, which never asks, pass the same limit.
func (x *executor) waitsOut() {
	x.t.Helper()
	other := x.env.executor("control", msg.Daemon)
	j := x.hello()
	other.launch(j)
	other.expectFailed(j, "did not ask for its job within")
}

func TestAWarmExecutorThatDoesNotAskForItsJobReturnsIt(t *testing.T) {
	x, c, _ := newEnv(t).warm("warm")
	c.loses() // an outage, and the plugin takes its time to come back
	j := x.hello()
	x.assign(j)
	if got := expect[msg.JobReturned](x); got.Execution != j.Execution {
		t.Errorf("returned: %+v", got)
	}
	if rec := x.record(j); rec.Stage != msg.Confirmed {
		t.Errorf("it is %s", rec.Stage)
	}
	c.round(x.hello()) // and when it is back it gets another
}

func TestAJobIsHandedOutFiveTimesAtMostHoweverManyExecutorsHadIt(t *testing.T) {
	e := newEnv(t)
	j := e.hello()
	for n := 1; n <= 5; n++ {
		x := e.executor(msg.ExecutorID(fmt.Sprint("ends", n)), msg.Single)
		x.first(j)
		must(t, os.WriteFile(x.out("aside"), []byte(`{"exitCode":1}`), 0o644))
		must(t, os.Rename(x.out("aside"), x.resultFile()))
		x.exit <- 1
		if n == 5 {
			x.store.until(t, func() bool { return x.record(j).Stage == msg.Ended })
			break
		}
		if got := expectBeside[msg.JobReturned, msg.SlotFreed](x); got.Execution != j.Execution {
			t.Errorf("returned: %+v", got)
		}
	}
	if rec := e.record(j); rec.HandOuts != 5 || rec.Ending.Outcome != msg.Failed {
		t.Errorf("handed out %d times, ended %+v", rec.HandOuts, rec.Ending)
	}
}

// panicsAt lets the actor panic at the next call of a verb of the spool, once.
func (x *executor) panicsAt(verb string) {
	var done atomic.Bool
	x.store.on(verb, func(msg.ExecutionID) error {
		if done.CompareAndSwap(false, true) {
			panic("on purpose")
		}
		return nil
	})
}

func TestAGETThatWaitsOutlivesItsActor(t *testing.T) {
	for verb, handOuts := range map[string]int{"HandOut": 1, "HandedOut": 1} {
		t.Run(verb, func(t *testing.T) {
			x, c, _ := newEnv(t).warm("parked")
			asked := c.ask()
			j := x.hello()
			x.panicsAt(verb)
			x.assign(j)
			x.respawn()
			if verb == "HandOut" { // the job was not journaled: the dispatcher gives it anew
				expect[msg.Idle](x)
				x.assign(j)
			}
			a := await(t, asked)
			x.check(a, j)
			c.finish(a, j)
			if rec := x.record(j); rec.HandOuts != handOuts {
				t.Errorf("handed out %d times", rec.HandOuts)
			}
		})
	}
}

func TestACallbackThatWaitsOutlivesItsActor(t *testing.T) {
	x := newEnv(t).executor("parked", msg.Daemon)
	j := x.hello()
	c, a := x.first(j)
	x.panicsAt("StoreResult")
	status := c.PostLater(a.CallbackURL(t), j.result(0))
	x.respawn()
	if got := await(t, status); got != 204 {
		t.Errorf("answered %d", got)
	}
	if rec := x.expectOver(j); rec.Ending.Outcome != msg.Completed {
		t.Errorf("it ended %+v", rec.Ending)
	}
	c.notified()
	c.round(x.hello())
}

func TestAnOpenWatchOutlivesItsActor(t *testing.T) {
	for what, client := range map[string]func(*executor) *client{"python": (*executor).python, "informer": (*executor).informer} {
		t.Run(what, func(t *testing.T) {
			x := newEnv(t).executor("watched", msg.Daemon)
			j := x.hello()
			x.launch(j)
			c := client(x)
			a := c.receive(j)
			var w <-chan event
			if what == "informer" {
				w = c.Watch(gatewaytest.Standing(c.List().ResourceVersion))
			}
			// The version is noted and the event is not sent.
			x.panicsAt("UpdateExecutor")
			c.finish(a, j)
			if what == "python" {
				w = c.Watch("")
				await(t, w) // the baseline
			}
			x.respawn()
			got := await(t, w)
			for got.Type == "ADDED" { // the next actor shows the baseline once more
				got = await(t, w)
			}
			if got.Type != "MODIFIED" {
				t.Errorf("it gets %s", got.Type)
			}
			c.round(x.hello())
		})
	}
}

// The plugin is a process that its entrypoint starts again whenever it exits.
func TestAPluginThatIsStartedAgainRunsItsJobOnce(t *testing.T) {
	e := newEnv(t)
	var ran atomic.Int64
	var x *executor
	ready := make(chan struct{})
	x = e.executorOf("loop", msg.Daemon, func(ctx context.Context, _ *fake.World) int {
		<-ready
		for ctx.Err() == nil {
			if a := <-x.python().Get(ctx); a.Err == nil && len(a.Secret.Data["input"]) > 0 {
				ran.Add(1)
			}
		}
		return 137
	})
	j := e.hello()
	x.launch(j)
	close(ready)
	x.expectFailed(j, "another process asked for the job")
	expect[msg.Retired](x)
	expect[msg.SlotFreed](x)
	if n := ran.Load(); n != 1 {
		t.Errorf("it ran %d times", n)
	}
}
