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

// Rules 1 to 8, with the requests of the Python SDK and of an informer, replayed.

func TestRule1TheSequenceOfThePythonSDKRunsThirtyJobs(t *testing.T) {
	x := newEnv(t).executor("python", msg.Daemon)
	j := x.hello()
	c, a := x.first(j)
	for n := range 30 {
		if string(a.Secret.Data[contract.KeyInput]) != j.input {
			t.Fatalf("job %d: the plugin got %v", n, a.Secret.Data)
		}
		c.finish(a, j)
		before, now := c.notified()
		if before.Type != "ADDED" || now.Type != "MODIFIED" {
			t.Fatalf("job %d: the watch shows %s, %s", n, before.Type, now.Type)
		}
		if bytes.Equal(before.Object.Data[contract.KeySessionKey], now.Object.Data[contract.KeySessionKey]) {
			t.Fatalf("job %d: the key does not change", n)
		}
		j = x.hello()
		a = c.next(j)
	}
}

func TestRule1AnInformersOpenWatchGetsTheEventAndItsNewWatchWhatItMissed(t *testing.T) {
	x := newEnv(t).executor("informer", msg.Daemon)
	j := x.hello()
	c, a := x.firstOf(j)
	version := c.List().ResourceVersion
	open := c.Watch(gatewaytest.Standing(version) + "&timeoutSeconds=300")
	c.finish(a, j)
	first := await(t, open)
	missed := await(t, c.Watch(gatewaytest.Standing(version)))
	if diff := cmp.Diff(first, missed); diff != "" || first.Type != "MODIFIED" {
		t.Errorf("the new watch gets something else than the one before (%s):\n%s", first.Type, diff)
	}
	current := c.Watch(gatewaytest.Standing(first.Object.ResourceVersion))
	c.quiet(current)
	c.round(x.hello())
	if got := await(t, current); got.Type != "MODIFIED" {
		t.Errorf("after its second job: %s", got.Type)
	}
}

func TestRule1TheDummyKeyIsTheSameAfterARestart(t *testing.T) {
	x, c, _ := newEnv(t).warm("derived")
	before := c.List().Items[0]
	x.restart()
	if diff := cmp.Diff(before, c.List().Items[0]); diff != "" {
		t.Error(diff)
	}
}

func TestRule1AWatchThatAsksForInitialEventsGetsThemAndTheirBookmark(t *testing.T) {
	x := newEnv(t).executor("initial", msg.Daemon)
	c, _ := x.firstOf(x.hello())
	w := c.Watch("&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan")
	if got := await(t, w); got.Type != "ADDED" {
		t.Errorf("first %s", got.Type)
	}
	if got := await(t, w); got.Type != "BOOKMARK" || got.Object.Annotations["k8s.io/initial-events-end"] != "true" {
		t.Errorf("then %+v", got)
	}
}

func TestRule2NoEventIsSentWhileAJobRunsOrAGETWaits(t *testing.T) {
	x := newEnv(t).executor("silent", msg.Daemon)
	first := x.hello()
	c, a := x.first(first)
	c.finish(a, first)
	_, now := c.notified()
	asked := c.ask()
	waiting := c.Watch(gatewaytest.Standing("1"))
	c.quiet(waiting)
	j := x.hello()
	x.assign(j)
	a = await(t, asked)
	x.check(a, j)
	c.quiet(c.Watch(gatewaytest.Standing("1")))
	c.quiet(c.Watch(gatewaytest.Standing(now.Object.ResourceVersion)))
	nested := c.Watch("")
	await(t, nested) // the baseline
	c.quiet(nested)
	c.finish(a, j)
	c.quiet(nested) // it was opened before the result: only the newest is listened to
	c.notified()
	c.quiet(nested)
}

// The runner was killed when it had noted the version of an event: the informer lists anew, from the version that it has seen.
func TestRule2AListThatShowsAKeyThatWasMissedIsTheEvent(t *testing.T) {
	x := newEnv(t).executor("missed", msg.Daemon)
	j := x.hello()
	c, a := x.firstOf(j)
	seen := c.List()
	w := c.Watch(gatewaytest.Standing(seen.ResourceVersion))
	c.finish(a, j)
	await(t, w) // and this event is lost
	x.restart()

	shown := c.ListFrom(seen.ResourceVersion)
	if bytes.Equal(shown.Items[0].Data[contract.KeySessionKey], seen.Items[0].Data[contract.KeySessionKey]) {
		t.Error("the list shows the key that was seen: nobody asks")
	}
	events := c.Watch(gatewaytest.Standing(shown.ResourceVersion))
	c.quiet(events) // it would be the second
	c.round(x.hello())
	await(t, events)
}

func TestRule2AListWhileAJobRunsShowsNothingNew(t *testing.T) {
	x := newEnv(t).executor("nothing", msg.Daemon)
	j := x.hello()
	c, a := x.firstOf(j)
	seen := c.List()
	w := c.Watch(gatewaytest.Standing(seen.ResourceVersion))
	c.finish(a, j)
	await(t, w)
	asked := c.ask()
	c.shows(seen, "while a GET waits")
	j = x.hello()
	x.assign(j)
	x.check(await(t, asked), j)
	c.shows(seen, "while a job runs")
}

func (c *client) shows(seen corev1.SecretList, when string) {
	c.x.t.Helper()
	if diff := cmp.Diff(seen, c.ListFrom(seen.ResourceVersion)); diff != "" {
		c.x.t.Errorf("%s the list shows something else than was seen:\n%s", when, diff)
	}
}

// Its plugin may not have got the first answer, and repeats its GET.
func TestRule3AGETWhileAJobIsNotDeliveredGetsTheSameSecretAgain(t *testing.T) {
	x := newEnv(t).executor("again", msg.Daemon)
	j := x.large()
	x.launch(j)
	c := x.python()
	lost := c.Stall()
	lost.Begin()
	second := await(t, c.Get(context.Background()))
	x.check(second, j)
	if string(second.Secret.Data[contract.KeyInput]) != j.input {
		t.Error("another input")
	}
	if rec := x.record(j); rec.HandOuts != 1 {
		t.Errorf("journaled %d times", rec.HandOuts)
	}
	lost.Break()
	c.finish(second, j)
}

// large is more than a stalled connection takes.
func (e *env) large() task {
	return e.task("sample.Large", map[string]any{"text": strings.Repeat("x", 200<<10)})
}

func TestRule3AGETAfterTheResultCameByFileGetsTheSameURLAndNoInput(t *testing.T) {
	x := newEnv(t).executor("loop", msg.Daemon)
	j := x.hello()
	c, first := x.first(j)
	x.writeResult(j.result(0))
	x.expectOver(j)
	second := await(t, c.Get(context.Background()))
	if second.Key() != first.Key() || second.CallbackURL(t) != first.CallbackURL(t) {
		t.Error("another key or url")
	}
	if len(second.Secret.Data["input"])+len(second.Secret.Data["fetchUrl"]) > 0 {
		t.Error("it gets the input again")
	}
	c.deliver(second, j.result(0)) // the loop ends, and the executor goes on
	c.notified()
	c.round(x.hello())
}

func TestRule4ABogusResultHandsTheJobOutOnceMoreAndNotForEver(t *testing.T) {
	x, c, bogus := newEnv(t).warm("bogus")
	j := x.hello()
	first := c.next(j)
	const most = 5
	for n := 2; n <= most; n++ {
		bogus()
		_, now := c.notified()
		again := await(t, c.Get(context.Background()))
		if diff := cmp.Diff(first.Secret.Data, again.Secret.Data); diff != "" || now.Type != "MODIFIED" {
			t.Errorf("after %s another job:\n%s", now.Type, diff)
		}
		x.until(j, func(r msg.JobRecord) bool { return r.HandOuts == n && !r.Unstarted && r.Delivered })
	}
	bogus()
	x.expectFailed(j, "could not read its input, 5 times")
	if rec := x.record(j); rec.HandOuts != most {
		t.Errorf("handed out %d times", rec.HandOuts)
	}
	expect[msg.Retired](x)
}

func TestRule4AProofIsNotForgottenByACrash(t *testing.T) {
	x, c, bogus := newEnv(t).warm("proven")
	j := x.hello()
	c.next(j)
	bogus()
	x.until(j, func(r msg.JobRecord) bool { return r.Unstarted })
	x.crash()
	x.start()
	c.notified() // its plugin waits for an event
	await(t, c.Get(context.Background()))
	x.until(j, func(r msg.JobRecord) bool { return r.HandOuts == 2 && !r.Unstarted })
}

func TestRule5ALostGETIsToldAndTheNextOneWaitsAgain(t *testing.T) {
	x, c, _ := newEnv(t).warm("lost")
	c.loses()
	c.round(x.hello())
}

func TestRule6APlannedStopAsksWaitingGETsToComeAgainAndTheyGetTheirJob(t *testing.T) {
	x, c, _ := newEnv(t).warm("planned")
	asked := c.ask()
	w := c.Watch(gatewaytest.Standing("1"))
	x.restart()
	a := await(t, asked)
	if seconds, _ := strconv.Atoi(a.RetryAfter); a.Status != http.StatusServiceUnavailable || seconds < 8 {
		t.Errorf("answered %d, Retry-After %q", a.Status, a.RetryAfter)
	}
	if _, more := <-w; more {
		t.Error("the watch goes on")
	}
	c.round(x.hello())
}

func TestRule6ACallbackThatIsUnderWayAtAPlannedStopIsNotLost(t *testing.T) {
	x := newEnv(t).executor("late", msg.Daemon)
	j := x.hello()
	c, a := x.first(j)
	began, goOn := make(chan struct{}), make(chan struct{})
	x.store.on("StoreResult", func(msg.ExecutionID) error { close(began); <-goOn; return nil })
	status := c.PostLater(a.CallbackURL(t), j.result(0))
	await(t, began)
	stopped := make(chan struct{})
	go func() { defer close(stopped); x.stop() }()
	close(goOn)
	await(t, stopped)
	await(t, status)
	if !x.record(j).HasResult {
		t.Error("there is no result")
	}
}

func TestRule7ABogusResultOfAnIdleExecutorBringsANewDummyKey(t *testing.T) {
	x := newEnv(t).executor("deaf", msg.Daemon)
	j := x.hello()
	c, old := x.firstOf(j)
	w := c.Watch(gatewaytest.Standing(c.List().ResourceVersion))
	c.finish(old, j)
	await(t, w)
	c.loses()
	c.deliver(old, j.result(1))
	if got := await(t, w); got.Type != "MODIFIED" {
		t.Errorf("got %s", got.Type)
	}
	c.round(x.hello())
	if x.outcome(j).ExitCode != 0 {
		t.Error("the bogus result replaced the first")
	}
}

func TestRule8AfterAReturnAResultInTheFileIsStoredAndItsExecutorRetired(t *testing.T) {
	x := newEnv(t).executor("away", msg.Daemon)
	j := x.hello()
	x.first(j)
	x.stop()
	x.writeResult(j.result(0))
	x.start()
	if rec := x.expectOver(j); rec.Ending.Outcome != msg.Completed {
		t.Errorf("it ended %+v", rec.Ending)
	}
	if got := expect[msg.Retired](x); got.Reason == "" {
		t.Error("no reason")
	}
	expect[msg.SlotFreed](x)
}

func TestRule8AfterAReturnAnOpenJobGoesOn(t *testing.T) {
	x := newEnv(t).executor("open", msg.Daemon)
	j := x.hello()
	c, a := x.first(j)
	x.restart()
	c.finish(a, j)
	c.notified()
	c.round(x.hello())
}

func TestRule8AnIdleExecutorMayComeBackByItselfUnlessItsFileProvesThatItGaveUp(t *testing.T) {
	for name, gaveUp := range map[string]bool{"comes back": false, "gave up": true} {
		t.Run(name, func(t *testing.T) {
			x := newEnv(t).executor("returns", msg.Daemon)
			j := x.hello()
			c, a := x.firstOf(j)
			w := c.Watch(gatewaytest.Standing(c.List().ResourceVersion))
			c.finish(a, j)
			await(t, w)
			c.ask()
			x.store.until(t, func() bool { return !x.store.recordOf(x.id).IdleSince.IsZero() })
			x.crash()
			if gaveUp {
				x.writeResult(j.result(1))
			}
			x.start()
			events := c.Watch(gatewaytest.Standing(c.List().ResourceVersion))
			if gaveUp {
				await(t, events)
			} else {
				c.quiet(events)
			}
			never[msg.Idle](t, x)
			c.round(x.hello())
		})
	}
}

func TestRule8AnIdleExecutorIsNotRetiredForTheFileOfALaterJob(t *testing.T) {
	x, c, _ := newEnv(t).warm("later")
	c.ask()
	x.restart()
	j := x.hello()
	a := c.next(j)
	x.writeResult(j.result(0)) // as the Go SDK does before its callback
	x.expectOver(j)
	c.deliver(a, j.result(0))
	c.notified()
	c.round(x.hello())
}
