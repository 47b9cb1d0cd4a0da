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

// Regression tests for what once broke invariants: a second process in a container, a dead connection, a plugin that does not reconnect,
// and the end of the executor's actor at any time.

// The rule follows from I2: a job runs at most once.
func TestRule4SecondProcessDoesNotGetJob(t *testing.T) {
	for _, row := range []struct {
		what   string
		result bool
	}{{"first process left no result", false}, {"first process left its result", true}} {
		t.Run(row.what, func(t *testing.T) {
			x := newEnv(t).newExecutor("second", msg.Daemon)
			j := x.helloTask()
			x.deliverFirst(j)
			if row.result {
				x.writeResult(j.result(3))
			}
			asked := x.python().Get(t.Context()) // another process
			if row.result {
				if rec := x.expectEnded(j); rec.Ending.Outcome != msg.Completed || x.storedResult(j).ExitCode != 3 {
					t.Errorf("ending: %+v", rec.Ending)
				}
				a := await(t, asked)
				if len(a.Secret.Data["input"])+len(a.Secret.Data["fetchUrl"]) > 0 {
					t.Error("the answer has the job")
				}
				return
			}
			x.expectFailed(j, "another process asked for the job")
			expect[msg.Retired](x)
			expect[msg.SlotFreed](x)
			if a := await(t, asked); len(a.Secret.Data["input"]) > 0 {
				t.Error("the answer has the job")
			}
			if rec := x.record(j); rec.HandOuts != 1 {
				t.Errorf("handed out %d times", rec.HandOuts)
			}
		})
	}
}

// After a restart the runner still knows that the first process has the job.
func TestRule4SecondProcessGetsNothingAfterRestart(t *testing.T) {
	for what, restart := range map[string]func(*executor){
		"runner restarts": func(x *executor) { x.restart() },
		"runner crashes":  func(x *executor) { x.crash(); x.start() },
		"actor restarts":  func(x *executor) { x.stopActor(); x.spawn(false) },
	} {
		t.Run(what, func(t *testing.T) {
			x := newEnv(t).newExecutor("again", msg.Daemon)
			j := x.helloTask()
			x.deliverFirst(j)
			restart(x)
			x.python().Get(t.Context())
			x.expectFailed(j, "another process asked for the job")
		})
	}
}

// The second of two processes in a container sends a GET while the hand-out to the first is being journaled.
func TestRule4SecondProcessDuringHandOutGetsNothing(t *testing.T) {
	x, c, _ := newEnv(t).warm("window")
	asked := c.poll()
	began, proceed := make(chan struct{}), make(chan struct{})
	x.store.beforeCall("HandOut", func(msg.ExecutionID) error { close(began); <-proceed; return nil })
	j := x.helloTask()
	x.assign(j)
	await(t, began)
	other := x.python()
	second := other.Get(t.Context())
	x.awaitWaiting(2)
	close(proceed)
	x.checkDelivered(await(t, asked), j)
	if a := await(t, second); len(a.Secret.Data["input"]) > 0 {
		t.Fatal("both processes have the job")
	}
	other.Get(t.Context()) // the second process retries
	x.expectFailed(j, "another process asked for the job")
}

// awaitWaiting waits until the given number of requests of the executor wait for an answer.
func (x *executor) awaitWaiting(want int) {
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
	x.t.Fatalf("the number of waiting requests did not become %d within the timeout", want)
}

// The executor has lost its network: its side never acknowledges the bytes of the job.
func TestUnacknowledgedJobMovesAfterExecutorExit(t *testing.T) {
	x := newEnv(t, limits(func(l *msg.ExecutorLimits) { l.PickUp = 2 * time.Second })).newExecutor("deaf", msg.Daemon)
	j := x.largeTask()
	x.launch(j)
	get := x.python().Stall()
	get.ReadHeader()
	if got := expect[msg.JobReturned](x); got.Execution != j.Execution {
		t.Errorf("returned: %+v", got)
	}
	expect[msg.SlotFreed](x)
	if rec := x.record(j); rec.Stage != msg.Confirmed || rec.Executor != "" {
		t.Errorf("stage: %s, executor: %q", rec.Stage, rec.Executor)
	}
	other := x.env.newExecutor("other", msg.Daemon)
	c, a := other.deliverFirst(j)
	c.finish(a, j)
	if rec := x.record(j); rec.HandOuts != 2 {
		t.Errorf("handed out %d times", rec.HandOuts)
	}
}

// Control for the test above: once its answer is acknowledged, a job belongs to the plugin, however long it runs.
func TestAcknowledgedJobIsNotTakenAway(t *testing.T) {
	x := newEnv(t, limits(func(l *msg.ExecutorLimits) { l.PickUp = 2 * time.Second })).newExecutor("slow", msg.Daemon)
	j := x.helloTask()
	c, a := x.deliverFirst(j)
	x.outlastPickUp()
	c.finish(a, j)
}

// outlastPickUp waits until another executor, which never sends a GET, has exceeded the pick-up limit.
func (x *executor) outlastPickUp() {
	x.t.Helper()
	other := x.env.newExecutor("control", msg.Daemon)
	j := x.helloTask()
	other.launch(j)
	other.expectFailed(j, "did not ask for its job within")
}

func TestWarmExecutorThatDoesNotPollReturnsJob(t *testing.T) {
	x, c, _ := newEnv(t).warm("warm")
	c.losePoll() // the connection is lost, and the plugin does not reconnect at once
	j := x.helloTask()
	x.assign(j)
	if got := expect[msg.JobReturned](x); got.Execution != j.Execution {
		t.Errorf("returned: %+v", got)
	}
	if rec := x.record(j); rec.Stage != msg.Confirmed {
		t.Errorf("stage: %s", rec.Stage)
	}
	c.round(x.helloTask()) // when it reconnects, it gets another job
}

func TestJobIsHandedOutAtMostFiveTimes(t *testing.T) {
	e := newEnv(t)
	j := e.helloTask()
	for n := 1; n <= 5; n++ {
		x := e.newExecutor(msg.ExecutorID(fmt.Sprint("ends", n)), msg.Single)
		x.deliverFirst(j)
		must(t, os.WriteFile(x.out("aside"), []byte(`{"exitCode":1}`), 0o644))
		must(t, os.Rename(x.out("aside"), x.resultFile()))
		x.exit <- 1
		if n == 5 {
			x.store.until(t, func() bool { return x.record(j).Stage == msg.Ended })
			break
		}
		if got := expectIgnoring[msg.JobReturned, msg.SlotFreed](x); got.Execution != j.Execution {
			t.Errorf("returned: %+v", got)
		}
	}
	if rec := e.record(j); rec.HandOuts != 5 || rec.Ending.Outcome != msg.Failed {
		t.Errorf("handed out %d times, ended %+v", rec.HandOuts, rec.Ending)
	}
}

// panicAt makes the actor panic, once, at its next call of a method of the spool.
func (x *executor) panicAt(method string) {
	var done atomic.Bool
	x.store.beforeCall(method, func(msg.ExecutionID) error {
		if done.CompareAndSwap(false, true) {
			panic("on purpose")
		}
		return nil
	})
}

func TestWaitingGETSurvivesActorCrash(t *testing.T) {
	for method, handOuts := range map[string]int{"HandOut": 1, "HandedOut": 1} {
		t.Run(method, func(t *testing.T) {
			x, c, _ := newEnv(t).warm("parked")
			asked := c.poll()
			j := x.helloTask()
			x.panicAt(method)
			x.assign(j)
			x.restartActor()
			if method == "HandOut" { // the hand-out was not journaled, so the dispatcher assigns the job again
				expect[msg.Idle](x)
				x.assign(j)
			}
			a := await(t, asked)
			x.checkDelivered(a, j)
			c.finish(a, j)
			if rec := x.record(j); rec.HandOuts != handOuts {
				t.Errorf("handed out %d times", rec.HandOuts)
			}
		})
	}
}

func TestWaitingCallbackSurvivesActorCrash(t *testing.T) {
	x := newEnv(t).newExecutor("parked", msg.Daemon)
	j := x.helloTask()
	c, a := x.deliverFirst(j)
	x.panicAt("StoreResult")
	status := c.PostAsync(a.CallbackURL(t), j.result(0))
	x.restartActor()
	if got := await(t, status); got != 204 {
		t.Errorf("status %d", got)
	}
	if rec := x.expectEnded(j); rec.Ending.Outcome != msg.Completed {
		t.Errorf("ending: %+v", rec.Ending)
	}
	c.awaitNotify()
	c.round(x.helloTask())
}

func TestOpenWatchSurvivesActorCrash(t *testing.T) {
	for what, client := range map[string]func(*executor) *client{"python": (*executor).python, "informer": (*executor).informer} {
		t.Run(what, func(t *testing.T) {
			x := newEnv(t).newExecutor("watched", msg.Daemon)
			j := x.helloTask()
			x.launch(j)
			c := client(x)
			a := c.receive(j)
			var w <-chan event
			if what == "informer" {
				w = c.Watch(gatewaytest.InformerParams(c.List().ResourceVersion))
			}
			// The crash happens after the version was recorded and before the event is sent.
			x.panicAt("UpdateExecutor")
			c.finish(a, j)
			if what == "python" {
				w = c.Watch("")
				await(t, w) // the baseline
			}
			x.restartActor()
			got := await(t, w)
			for got.Type == "ADDED" { // the next actor sends the baseline again
				got = await(t, w)
			}
			if got.Type != "MODIFIED" {
				t.Errorf("watch event: %s, want MODIFIED", got.Type)
			}
			c.round(x.helloTask())
		})
	}
}

// The plugin is a process that its container's entrypoint restarts whenever it exits.
func TestRestartedPluginRunsJobOnce(t *testing.T) {
	e := newEnv(t)
	var ran atomic.Int64
	var x *executor
	ready := make(chan struct{})
	x = e.newExecutorRunning("loop", msg.Daemon, func(ctx context.Context, _ *fake.Process) int {
		<-ready
		for ctx.Err() == nil {
			if a := <-x.python().Get(ctx); a.Err == nil && len(a.Secret.Data["input"]) > 0 {
				ran.Add(1)
			}
		}
		return 137
	})
	j := e.helloTask()
	x.launch(j)
	close(ready)
	x.expectFailed(j, "another process asked for the job")
	expect[msg.Retired](x)
	expect[msg.SlotFreed](x)
	if n := ran.Load(); n != 1 {
		t.Errorf("the job ran %d times", n)
	}
}
