package contract_test

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"runnerd/infra/contract"
	"runnerd/infra/gateway/gatewaytest"
	msg "runnerd/messages"
)

// Rules 1 to 8, with replayed requests of the Python SDK and of an informer.

func TestRule1PythonSDKRunsThirtyJobs(t *testing.T) {
	x := newEnv(t).newExecutor("python", msg.Daemon)
	j := x.helloTask()
	c, a := x.deliverFirst(j)
	for n := range 30 {
		if string(a.Secret.Data[contract.KeyInput]) != j.input {
			t.Fatalf("job %d: the plugin got %v", n, a.Secret.Data)
		}
		c.finish(a, j)
		before, now := c.awaitNotify()
		if before.Type != "ADDED" || now.Type != "MODIFIED" {
			t.Fatalf("job %d: watch events: %s, %s", n, before.Type, now.Type)
		}
		if bytes.Equal(before.Object.Data[contract.KeySessionKey], now.Object.Data[contract.KeySessionKey]) {
			t.Fatalf("job %d: the dummy key did not change", n)
		}
		j = x.helloTask()
		a = c.nextJob(j)
	}
}

func TestRule1InformerWatchesGetMissedEvents(t *testing.T) {
	x := newEnv(t).newExecutor("informer", msg.Daemon)
	j := x.helloTask()
	c, a := x.deliverFirstToInformer(j)
	version := c.List().ResourceVersion
	open := c.Watch(gatewaytest.InformerParams(version) + "&timeoutSeconds=300")
	c.finish(a, j)
	first := await(t, open)
	missed := await(t, c.Watch(gatewaytest.InformerParams(version)))
	if diff := cmp.Diff(first, missed); diff != "" || first.Type != "MODIFIED" {
		t.Errorf("the new watch gets a different event than the old one (%s):\n%s", first.Type, diff)
	}
	current := c.Watch(gatewaytest.InformerParams(first.Object.ResourceVersion))
	c.expectNoEvent(current)
	c.round(x.helloTask())
	if got := await(t, current); got.Type != "MODIFIED" {
		t.Errorf("watch event after the second job: %s", got.Type)
	}
}

func TestRule1DummyKeySurvivesRestart(t *testing.T) {
	x, c, _ := newEnv(t).warm("derived")
	before := c.List().Items[0]
	x.restart()
	if diff := cmp.Diff(before, c.List().Items[0]); diff != "" {
		t.Errorf("the Secret differs after the restart:\n%s", diff)
	}
}

func TestRule1WatchSendsInitialEventsAndBookmark(t *testing.T) {
	x := newEnv(t).newExecutor("initial", msg.Daemon)
	c, _ := x.deliverFirstToInformer(x.helloTask())
	w := c.Watch("&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan")
	if got := await(t, w); got.Type != "ADDED" {
		t.Errorf("first event: %s", got.Type)
	}
	if got := await(t, w); got.Type != "BOOKMARK" || got.Object.Annotations["k8s.io/initial-events-end"] != "true" {
		t.Errorf("second event: %+v", got)
	}
}

func TestRule2NoEventDuringJobOrPoll(t *testing.T) {
	x := newEnv(t).newExecutor("silent", msg.Daemon)
	first := x.helloTask()
	c, a := x.deliverFirst(first)
	c.finish(a, first)
	_, now := c.awaitNotify()
	asked := c.poll()
	waiting := c.Watch(gatewaytest.InformerParams("1"))
	c.expectNoEvent(waiting)
	j := x.helloTask()
	x.assign(j)
	a = await(t, asked)
	x.checkDelivered(a, j)
	c.expectNoEvent(c.Watch(gatewaytest.InformerParams("1")))
	c.expectNoEvent(c.Watch(gatewaytest.InformerParams(now.Object.ResourceVersion)))
	nested := c.Watch("")
	await(t, nested) // the baseline
	c.expectNoEvent(nested)
	c.finish(a, j)
	c.expectNoEvent(nested) // opened before the result: the SDK listens only to the newest watch
	c.awaitNotify()
	c.expectNoEvent(nested)
}

// The runner is killed after it has recorded the version of an event. The informer lists again, from the last version that it has seen.
func TestRule2ListWithMissedKeyReplacesEvent(t *testing.T) {
	x := newEnv(t).newExecutor("missed", msg.Daemon)
	j := x.helloTask()
	c, a := x.deliverFirstToInformer(j)
	seen := c.List()
	w := c.Watch(gatewaytest.InformerParams(seen.ResourceVersion))
	c.finish(a, j)
	await(t, w) // the client ignores this event, as if it was lost
	x.restart()

	shown := c.ListFrom(seen.ResourceVersion)
	if bytes.Equal(shown.Items[0].Data[contract.KeySessionKey], seen.Items[0].Data[contract.KeySessionKey]) {
		t.Error("the list shows the old key, so the plugin does not poll")
	}
	events := c.Watch(gatewaytest.InformerParams(shown.ResourceVersion))
	c.expectNoEvent(events) // an event would be the second one
	c.round(x.helloTask())
	await(t, events)
}

func TestRule2ListDuringJobShowsNothingNew(t *testing.T) {
	x := newEnv(t).newExecutor("nothing", msg.Daemon)
	j := x.helloTask()
	c, a := x.deliverFirstToInformer(j)
	seen := c.List()
	w := c.Watch(gatewaytest.InformerParams(seen.ResourceVersion))
	c.finish(a, j)
	await(t, w)
	asked := c.poll()
	c.checkList(seen, "while a GET waits")
	j = x.helloTask()
	x.assign(j)
	x.checkDelivered(await(t, asked), j)
	c.checkList(seen, "while a job runs")
}

func (c *client) checkList(seen corev1.SecretList, when string) {
	c.x.t.Helper()
	if diff := cmp.Diff(seen, c.ListFrom(seen.ResourceVersion)); diff != "" {
		c.x.t.Errorf("%s: unexpected difference in the list:\n%s", when, diff)
	}
}

// The plugin may have lost the first answer and repeats its GET.
func TestRule3UndeliveredJobIsSentAgain(t *testing.T) {
	x := newEnv(t).newExecutor("again", msg.Daemon)
	j := x.largeTask()
	x.launch(j)
	c := x.python()
	lost := c.Stall()
	lost.ReadHeader()
	second := await(t, c.Get(context.Background()))
	x.checkDelivered(second, j)
	if string(second.Secret.Data[contract.KeyInput]) != j.input {
		t.Error("unexpected input")
	}
	if rec := x.record(j); rec.HandOuts != 1 {
		t.Errorf("handed out %d times, want 1", rec.HandOuts)
	}
	lost.Reset()
	c.finish(second, j)
}

// largeTask adds a job whose answer exceeds the buffers of a stalled connection.
func (e *env) largeTask() task {
	return e.newTask("sample.Large", map[string]any{"text": strings.Repeat("x", 200<<10)})
}

// The Secret still has the same URL.
func TestRule3GETAfterResultFileOmitsInput(t *testing.T) {
	x := newEnv(t).newExecutor("loop", msg.Daemon)
	j := x.helloTask()
	c, first := x.deliverFirst(j)
	x.writeResult(j.result(0))
	x.expectEnded(j)
	second := await(t, c.Get(context.Background()))
	if second.Key() != first.Key() || second.CallbackURL(t) != first.CallbackURL(t) {
		t.Error("unexpected key or URL")
	}
	if len(second.Secret.Data["input"])+len(second.Secret.Data["fetchUrl"]) > 0 {
		t.Error("the answer has the input again")
	}
	c.postResult(second, j.result(0)) // ends the loop; the executor continues
	c.awaitNotify()
	c.round(x.helloTask())
}

func TestRule4BogusResultsLimitHandOuts(t *testing.T) {
	x, c, bogus := newEnv(t).warm("bogus")
	j := x.helloTask()
	first := c.nextJob(j)
	const maxHandOuts = 5
	for n := 2; n <= maxHandOuts; n++ {
		bogus()
		_, now := c.awaitNotify()
		again := await(t, c.Get(context.Background()))
		if diff := cmp.Diff(first.Secret.Data, again.Secret.Data); diff != "" || now.Type != "MODIFIED" {
			t.Errorf("after event %s, unexpected job:\n%s", now.Type, diff)
		}
		x.until(j, func(r msg.JobRecord) bool { return r.HandOuts == n && !r.Unstarted && r.Delivered })
	}
	bogus()
	x.expectFailed(j, "could not read its input in 5 attempts")
	if rec := x.record(j); rec.HandOuts != maxHandOuts {
		t.Errorf("handed out %d times", rec.HandOuts)
	}
	expect[msg.Retired](x)
}

func TestRule4ProofSurvivesCrash(t *testing.T) {
	x, c, bogus := newEnv(t).warm("proven")
	j := x.helloTask()
	c.nextJob(j)
	bogus()
	x.until(j, func(r msg.JobRecord) bool { return r.Unstarted })
	x.crash()
	x.start()
	c.awaitNotify() // the plugin waits for an event
	await(t, c.Get(context.Background()))
	x.until(j, func(r msg.JobRecord) bool { return r.HandOuts == 2 && !r.Unstarted })
}

func TestRule5LostGETIsReportedAndReplaced(t *testing.T) {
	x, c, _ := newEnv(t).warm("lost")
	c.losePoll()
	c.round(x.helloTask())
}

func TestRule6PlannedStopAsksPollsToRetry(t *testing.T) {
	x, c, _ := newEnv(t).warm("planned")
	asked := c.poll()
	w := c.Watch(gatewaytest.InformerParams("1"))
	x.restart()
	a := await(t, asked)
	if seconds, _ := strconv.Atoi(a.RetryAfter); a.Status != http.StatusServiceUnavailable || seconds < 8 {
		t.Errorf("status %d, Retry-After %q", a.Status, a.RetryAfter)
	}
	if _, open := <-w; open {
		t.Error("the watch continues")
	}
	c.round(x.helloTask())
}

func TestRule6PlannedStopKeepsCallbackInProgress(t *testing.T) {
	x := newEnv(t).newExecutor("late", msg.Daemon)
	j := x.helloTask()
	c, a := x.deliverFirst(j)
	began, proceed := make(chan struct{}), make(chan struct{})
	x.store.beforeCall("StoreResult", func(msg.ExecutionID) error { close(began); <-proceed; return nil })
	status := c.PostAsync(a.CallbackURL(t), j.result(0))
	await(t, began)
	stopped := make(chan struct{})
	go func() { defer close(stopped); x.stop() }()
	close(proceed)
	await(t, stopped)
	await(t, status)
	if !x.record(j).HasResult {
		t.Error("no result was stored")
	}
}

func TestRule7IdleBogusResultChangesDummyKey(t *testing.T) {
	x := newEnv(t).newExecutor("deaf", msg.Daemon)
	j := x.helloTask()
	c, old := x.deliverFirstToInformer(j)
	w := c.Watch(gatewaytest.InformerParams(c.List().ResourceVersion))
	c.finish(old, j)
	await(t, w)
	c.losePoll()
	c.postResult(old, j.result(1))
	if got := await(t, w); got.Type != "MODIFIED" {
		t.Errorf("watch event: %s, want MODIFIED", got.Type)
	}
	c.round(x.helloTask())
	if x.storedResult(j).ExitCode != 0 {
		t.Error("the bogus result replaced the first")
	}
}

func TestRule8ResultFileIsStoredAfterRestart(t *testing.T) {
	x := newEnv(t).newExecutor("away", msg.Daemon)
	j := x.helloTask()
	x.deliverFirst(j)
	x.stop()
	x.writeResult(j.result(0))
	x.start()
	if rec := x.expectEnded(j); rec.Ending.Outcome != msg.Completed {
		t.Errorf("ending: %+v", rec.Ending)
	}
	if got := expect[msg.Retired](x); got.Reason == "" {
		t.Error("empty reason")
	}
	expect[msg.SlotFreed](x)
}

func TestRule8OpenJobContinuesAfterRestart(t *testing.T) {
	x := newEnv(t).newExecutor("open", msg.Daemon)
	j := x.helloTask()
	c, a := x.deliverFirst(j)
	x.restart()
	c.finish(a, j)
	c.awaitNotify()
	c.round(x.helloTask())
}

func TestRule8IdleExecutorReconnectsUnlessItGaveUp(t *testing.T) {
	for name, gaveUp := range map[string]bool{"reconnects": false, "gave up": true} {
		t.Run(name, func(t *testing.T) {
			x := newEnv(t).newExecutor("returns", msg.Daemon)
			j := x.helloTask()
			c, a := x.deliverFirstToInformer(j)
			w := c.Watch(gatewaytest.InformerParams(c.List().ResourceVersion))
			c.finish(a, j)
			await(t, w)
			c.poll()
			x.store.until(t, func() bool { return !x.store.executorRecord(x.id).IdleSince.IsZero() })
			x.crash()
			if gaveUp {
				x.writeResult(j.result(1))
			}
			x.start()
			events := c.Watch(gatewaytest.InformerParams(c.List().ResourceVersion))
			if gaveUp {
				await(t, events)
			} else {
				c.expectNoEvent(events)
			}
			expectNone[msg.Idle](t, x)
			c.round(x.helloTask())
		})
	}
}

func TestRule8LaterResultFileDoesNotRetireExecutor(t *testing.T) {
	x, c, _ := newEnv(t).warm("later")
	c.poll()
	x.restart()
	j := x.helloTask()
	a := c.nextJob(j)
	x.writeResult(j.result(0)) // the Go SDK writes the file before its callback
	x.expectEnded(j)
	c.postResult(a, j.result(0))
	c.awaitNotify()
	c.round(x.helloTask())
}
