package gateway

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"runnerd/infra/contract"
	msg "runnerd/messages"
)

// The executor contract has eighteen rules; those that are the gateway's have a test each, named for the rule. The requests
// are the Python SDK's, replayed.

func key(a answered) string { return string(a.secret.Data[contract.KeySessionKey]) }

// finish takes a job through hand-out and callback, and returns what the plugin got.
func (p *python) finish(j task, asked <-chan answered) answered {
	p.t.Helper()
	p.e.give(j)
	a := await(p.t, asked)
	expect[msg.Delivered](p.e)
	p.deliver(a, j.result(0))
	expect[msg.ResultStored](p.e)
	return a
}

func TestRule1TheSequenceOfThePythonSDKRunsThirtyJobs(t *testing.T) {
	e := newWorld(t, nil).executor("python", msg.Daemon)
	p := newPython(e)
	for n := range 30 {
		j := e.hello()
		a := p.finish(j, p.ask())
		if string(a.secret.Data[contract.KeyInput]) != j.input || string(a.secret.Data[contract.KeyExecutionID]) != string(j.id) {
			t.Fatalf("job %d: the plugin got %v", n, a.secret.Data)
		}
		before, now := p.armed()
		if before.Type != "ADDED" || now.Type != "MODIFIED" {
			t.Fatalf("job %d: the watch shows %s, %s", n, before.Type, now.Type)
		}
		if bytes.Equal(before.Object.Data[contract.KeySessionKey], now.Object.Data[contract.KeySessionKey]) {
			t.Fatalf("job %d: the key does not change", n)
		}
	}
}

func TestRule1ListAndWatchShowADummyAndNeverAJob(t *testing.T) {
	e := newWorld(t, nil).executor("dummy", msg.Daemon)
	p := newPython(e)
	asked := p.ask()
	j := e.hello()
	e.give(j)
	a := await(t, asked)
	shown := p.list().Items[0]
	for _, k := range []string{contract.KeyInput, contract.KeyURL, contract.KeyFetchURL, contract.KeyExecutionID} {
		if v, ok := shown.Data[k]; !ok || len(v) > 0 {
			t.Errorf("LIST shows %s = %q, present %v; want it empty", k, v, ok)
		}
	}
	if string(shown.Data[contract.KeySessionKey]) == key(a) {
		t.Error("LIST shows the job's key")
	}
	if len(a.secret.Data) != 5 {
		t.Errorf("the job has keys %v, want all five", a.secret.Data)
	}
}

func TestRule1AnInformersStandingWatchGetsTheEventAndItsNewWatchWhatItMissed(t *testing.T) {
	e := newWorld(t, nil).executor("informer", msg.Daemon)
	p := newClient(e, "plugin/v0 (linux/amd64) kubernetes/$Format", true)
	p.finish(e.hello(), p.ask())
	version := p.list().ResourceVersion
	query := "&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion="
	standing := p.watch(query + version)
	first := await(t, standing)
	missed := await(t, p.watch(query+version))
	if diff := cmp.Diff(first, missed); diff != "" || first.Type != "MODIFIED" {
		t.Errorf("the new watch gets something else than the one before (%s):\n%s", first.Type, diff)
	}
	current := p.watch(query + first.Object.ResourceVersion)
	p.quiet(current)
	p.finish(e.hello(), p.ask())
	if got := await(t, current); got.Type != "MODIFIED" {
		t.Errorf("after its second job: %s", got.Type)
	}
}

func TestRule1TheDummyKeyIsTheSameAfterARestart(t *testing.T) {
	e := newWorld(t, nil).executor("derived", msg.Daemon)
	p := newPython(e)
	p.finish(e.hello(), p.ask())
	p.armed()
	before := p.list().Items[0]
	e.restart()
	if diff := cmp.Diff(before, p.list().Items[0]); diff != "" {
		t.Error(diff)
	}
}

func TestRule1AWatchThatAsksForInitialEventsGetsThemAndTheirBookmark(t *testing.T) {
	e := newWorld(t, nil).executor("initial", msg.Daemon)
	w := newClient(e, "kubernetes/x", true).watch("&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan")
	if got := await(t, w); got.Type != "ADDED" {
		t.Errorf("first %s", got.Type)
	}
	if got := await(t, w); got.Type != "BOOKMARK" || got.Object.Annotations["k8s.io/initial-events-end"] != "true" {
		t.Errorf("then %+v", got)
	}
}

func TestRule2NoEventIsSentWhileAJobRunsOrAGETIsHeld(t *testing.T) {
	e := newWorld(t, nil).executor("silent", msg.Daemon)
	p := newPython(e)
	asked := p.ask()
	held := p.watch("&allowWatchBookmarks=true&resourceVersion=1")
	p.quiet(held)
	j := e.hello()
	e.give(j)
	a := await(t, asked)
	expect[msg.Delivered](e)
	p.quiet(p.watch("&allowWatchBookmarks=true&resourceVersion=1"))
	nested := p.watch("")
	await(t, nested) // the baseline
	p.quiet(nested)
	p.deliver(a, j.result(0))
	expect[msg.ResultStored](e)
	p.quiet(nested) // it was opened before the result: only the newest is listened to
	p.armed()
	p.quiet(nested)
}

// The runner was killed when it had noted an arming: the informer lists anew, from the version that it has seen.
func TestRule2AListThatShowsAKeyThatWasMissedIsTheEvent(t *testing.T) {
	e := newWorld(t, nil).executor("missed", msg.Daemon)
	p := newClient(e, "kubernetes/x", true)
	p.finish(e.hello(), p.ask())
	const standing = "&allowWatchBookmarks=true&resourceVersion="
	seen := p.list()
	await(t, p.watch(standing+seen.ResourceVersion)) // and this event is lost
	e.restart()
	e.watch()
	expect[msg.ResultStored](e)

	shown := p.listFrom(seen.ResourceVersion)
	if bytes.Equal(shown.Items[0].Data[contract.KeySessionKey], seen.Items[0].Data[contract.KeySessionKey]) {
		t.Error("the list shows the key that was seen: nobody comes")
	}
	events := p.watch(standing + shown.ResourceVersion)
	p.quiet(events) // it would be the second
	p.finish(e.hello(), p.ask())
	await(t, events)
}

func TestRule2AListWhileAJobRunsShowsNothingNew(t *testing.T) {
	e := newWorld(t, nil).executor("nothing", msg.Daemon)
	p := newClient(e, "kubernetes/x", true)
	seen := p.list()
	p.finish(e.hello(), p.ask())
	await(t, p.watch("&allowWatchBookmarks=true&resourceVersion="+seen.ResourceVersion))
	asked := p.ask()
	p.same(seen, "while a GET is held")
	e.give(e.hello())
	await(t, asked)
	p.same(seen, "while a job runs")
}

func (p *python) same(seen corev1.SecretList, when string) {
	p.t.Helper()
	if diff := cmp.Diff(seen, p.listFrom(seen.ResourceVersion)); diff != "" {
		p.t.Errorf("%s the list shows something else than was seen:\n%s", when, diff)
	}
}

func TestRule3AGETWhileAJobIsOpenGetsTheSameSecretAgain(t *testing.T) {
	e := newWorld(t, nil).executor("again", msg.Daemon)
	p := newPython(e)
	asked := p.ask()
	j := e.hello()
	e.give(j)
	first := await(t, asked)
	second := await(t, p.get(context.Background()))
	if diff := cmp.Diff(first.secret.Data, second.secret.Data); diff != "" {
		t.Error(diff)
	}
	if rec, _ := e.spool.Job(j.id); rec.HandOuts != 1 {
		t.Errorf("journaled %d times", rec.HandOuts)
	}
}

func TestRule3AGETAfterTheResultCameByFileGetsTheSameUrlAndNoInput(t *testing.T) {
	e := newWorld(t, nil).executor("loop", msg.Daemon)
	p := newPython(e)
	asked := p.ask()
	j := e.hello()
	e.give(j)
	first := await(t, asked)
	expect[msg.Delivered](e)
	e.writeResult(j.result(0))
	if got := expect[msg.ResultStored](e); got.Result.Via != msg.ViaFile || got.Retire != "" {
		t.Errorf("stored %+v", got)
	}
	second := await(t, p.get(context.Background()))
	if key(second) != key(first) || !bytes.Equal(second.secret.Data["url"], first.secret.Data["url"]) {
		t.Error("another key or url")
	}
	if len(second.secret.Data["input"])+len(second.secret.Data["fetchUrl"]) > 0 {
		t.Error("it gets the input again")
	}
	p.deliver(second, j.result(0)) // the loop ends, and the executor goes on
	p.armed()
	p.finish(e.hello(), p.ask())
}

func TestRule4ABogusResultHandsTheJobOutOnceMoreAndNotForEver(t *testing.T) {
	e := newWorld(t, nil).executor("bogus", msg.Daemon)
	p := newPython(e)
	before := e.hello()
	old := p.finish(before, p.ask())
	p.armed()
	asked := p.ask()
	j := e.hello()
	e.give(j)
	first := await(t, asked)
	expect[msg.Delivered](e)

	for range handOuts - 1 {
		p.deliver(old, before.result(1))
		if got := expect[msg.NotStarted](e); got.Execution != j.id {
			t.Errorf("not started: %+v", got)
		}
		_, now := p.armed()
		again := await(t, p.get(context.Background()))
		expect[msg.Delivered](e)
		if diff := cmp.Diff(first.secret.Data, again.secret.Data); diff != "" || now.Type != "MODIFIED" {
			t.Errorf("after %s another job:\n%s", now.Type, diff)
		}
	}
	p.deliver(old, before.result(1))
	if got := expect[msg.ResultRefused](e); got.Execution != j.id {
		t.Errorf("refused: %+v", got)
	}
	if rec, _ := e.spool.Job(j.id); rec.HandOuts != 5 {
		t.Errorf("handed out %d times", rec.HandOuts)
	}
}

func TestRule5ALostHoldIsToldAndTheNextGETIsHeldAgain(t *testing.T) {
	e := newWorld(t, nil).executor("lost", msg.Daemon)
	p := newPython(e)
	ctx, lose := context.WithCancel(context.Background())
	asked := p.get(ctx)
	expectHeld(e)
	lose()
	await(t, asked)
	expect[msg.HoldLost](e)
	if _, err := e.HandOut(context.Background(), e.id, e.hello().id, time.Now()); err == nil {
		t.Error("a job is handed out to nobody")
	}
	p.finish(e.hello(), p.ask())
}

func TestRule6APlannedStopAsksHeldGETsToComeAgainAndEndsWatches(t *testing.T) {
	e := newWorld(t, nil).executor("planned", msg.Daemon)
	p := newPython(e)
	asked := p.ask()
	w := p.watch("&allowWatchBookmarks=true&resourceVersion=1")
	e.stop()
	a := await(t, asked)
	if seconds, _ := strconv.Atoi(a.after); a.status != http.StatusServiceUnavailable || seconds < 8 {
		t.Errorf("answered %d, Retry-After %q", a.status, a.after)
	}
	if _, more := <-w; more {
		t.Error("the watch goes on")
	}
}

// slow is a spool that is still storing a result when something else happens.
type slow struct {
	Store
	began, goOn chan struct{}
}

func (s *slow) StoreResult(id msg.ExecutionID, r msg.Result) (bool, error) {
	close(s.began)
	<-s.goOn
	return s.Store.StoreResult(id, r)
}

func TestRule6ACallbackThatIsUnderWayAtAPlannedStopIsAnswered(t *testing.T) {
	store := &slow{began: make(chan struct{}), goOn: make(chan struct{})}
	w := newWorld(t, func(o *Options) { store.Store, o.Store = o.Store, store })
	e, idle := w.executor("late", msg.Daemon), newPython(w.executor("idle", msg.Daemon))
	p, sentAway := newPython(e), idle.ask()
	asked := p.ask()
	j := e.hello()
	e.give(j)
	url := plainURL(t, await(t, asked).secret.Data["url"])
	answered, stopped := make(chan int, 1), make(chan struct{})
	go func() { answered <- p.post(url, j.result(0)) }()
	await(t, store.began)
	go func() { defer close(stopped); e.stop() }()
	await(t, sentAway) // the stop has begun
	close(store.goOn)
	if status := await(t, answered); status != http.StatusNoContent {
		t.Errorf("the callback is answered %d, want 204", status)
	}
	await(t, stopped)
	if rec, _ := e.spool.Job(j.id); !rec.HasResult {
		t.Error("there is no result")
	}
}

func TestRule7ABogusResultOfAnIdleExecutorBringsANewDummyKey(t *testing.T) {
	e := newWorld(t, nil).executor("deaf", msg.Daemon)
	p := newClient(e, "kubernetes/x", true)
	j := e.hello()
	old := p.finish(j, p.ask())
	w := p.watch("&allowWatchBookmarks=true&resourceVersion=" + p.list().ResourceVersion)
	await(t, w)
	ctx, lose := context.WithCancel(context.Background())
	asked := p.get(ctx)
	expectHeld(e)
	lose()
	await(t, asked)
	expect[msg.HoldLost](e)
	p.deliver(old, j.result(1))
	if got := await(t, w); got.Type != "MODIFIED" {
		t.Errorf("got %s", got.Type)
	}
	p.finish(e.hello(), p.ask())
	if e.outcome(j).ExitCode != 0 {
		t.Error("the bogus result replaced the first")
	}
}

func TestRule8AfterAReturnAResultInTheFileIsStoredAndItsExecutorRetired(t *testing.T) {
	e := newWorld(t, nil).executor("away", msg.Daemon)
	p := newPython(e)
	asked := p.ask()
	j := e.hello()
	e.give(j)
	await(t, asked)
	e.stop()
	e.writeResult(j.result(0))
	e.start()
	e.watch()
	expect[msg.Delivered](e) // a result proves it
	got := expect[msg.ResultStored](e)
	if got.Execution != j.id || got.Result.Via != msg.ViaFile || got.Retire == "" {
		t.Errorf("stored %+v", got)
	}
	w := p.watch("")
	await(t, w)
	p.quiet(w) // it is not armed
	if a := await(t, p.get(context.Background())); len(a.secret.Data["input"]) > 0 {
		t.Error("it gets the old job")
	}
}

func TestRule8AfterAReturnAnOpenJobGoesOn(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.ComeBack = time.Hour }) // that is for those who wait for a job
	e := w.executor("open", msg.Daemon)
	p := newPython(e)
	asked := p.ask()
	j := e.hello()
	e.give(j)
	a := await(t, asked)
	e.restart()
	e.watch()
	p.deliver(a, j.result(0))
	expect[msg.Delivered](e)
	if got := expect[msg.ResultStored](e); got.Result.Via != msg.ViaCallback || got.Retire != "" {
		t.Errorf("stored %+v", got)
	}
	p.armed()
	p.finish(e.hello(), p.ask())
}

func TestRule8AnIdleExecutorMayComeBackByItselfUnlessItsFileProvesThatItGaveUp(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.ComeBack = time.Hour })
	for id, gaveUp := range map[msg.ExecutorID]bool{"comes": false, "gaveup": true} {
		t.Run(string(id), func(t *testing.T) {
			e := w.executor(id, msg.Daemon)
			p := newClient(e, "kubernetes/x", true)
			j := e.hello()
			p.finish(j, p.ask())
			standing := "&allowWatchBookmarks=true&resourceVersion="
			await(t, p.watch(standing+p.list().ResourceVersion))
			p.ask()
			must(t, e.spool.UpdateExecutor(e.id, func(r *msg.ExecutorRecord) { r.IdleSince = r.Created }))
			w.crash()
			if gaveUp {
				e.writeResult(j.result(1))
			}
			w.start()
			e.watch()
			expect[msg.ResultStored](e)
			events := p.watch(standing + p.list().ResourceVersion)
			if gaveUp {
				await(t, events)
			} else {
				p.quiet(events)
			}
			p.finish(e.hello(), p.ask())
		})
	}
}
