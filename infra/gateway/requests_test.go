package gateway

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"runnerd/infra/contract"
	"runnerd/infra/gateway/gatewaytest"
	msg "runnerd/messages"
)

func TestEachAnswerIsWhatTheKubernetesAPIWouldSay(t *testing.T) {
	x := newEnv(t, nil).executor("answers", msg.Daemon)
	c := gatewaytest.Python(t, x.access)
	j := x.job()
	a := x.give(c, j)
	if diff := cmp.Diff(map[string]string{"name": secretName(x.id), "input": j.input, "execution": string(j.id), "fetch": ""}, map[string]string{
		"name": a.Secret.Name, "input": string(a.Secret.Data[contract.KeyInput]), "execution": string(a.Secret.Data[contract.KeyExecutionID]),
		"fetch": string(a.Secret.Data[contract.KeyFetchURL]),
	}); diff != "" || len(a.Secret.Data) != 5 || a.Status != http.StatusOK {
		t.Errorf("a job is answered %d with %d keys:\n%s", a.Status, len(a.Secret.Data), diff)
	}

	asked, request := x.ask(c)
	x.Answer(x.id, request, msg.GiveURL{Execution: j.id})
	again := await(t, asked)
	if again.Key() != a.Key() || again.CallbackURL(t) != a.CallbackURL(t) || len(again.Secret.Data[contract.KeyInput]) > 0 {
		t.Errorf("a job's URL is answered %+v", again.Secret.Data)
	}

	asked, request = x.ask(c)
	x.Answer(x.id, request, msg.Superseded{})
	if got := await(t, asked); got.Status != http.StatusTooManyRequests || got.RetryAfter != "1" {
		t.Errorf("superseded is answered %d, Retry-After %q", got.Status, got.RetryAfter)
	}
}

func TestRule1ListAndWatchShowADummyAndNeverAJob(t *testing.T) {
	x := newEnv(t, nil).executor("dummy", msg.Daemon)
	c := gatewaytest.Informer(t, x.access)
	key := x.give(c, x.job()).Key()
	events := c.Watch("&allowWatchBookmarks=true&sendInitialEvents=true")
	watch := expect[msg.WatchOpened](x)
	if want := (msg.WatchOpened{Request: watch.Request, Fresh: true, Bookmark: true}); watch != want {
		t.Errorf("told %+v", watch)
	}
	x.Notify(x.id, watch.Request, msg.WatchEvent{Kind: msg.WatchAdded, Version: 1})
	x.Notify(x.id, watch.Request, msg.WatchEvent{Kind: msg.WatchBookmark, Version: 1})
	x.Notify(x.id, watch.Request, msg.WatchEvent{Kind: msg.WatchModified, Version: 2})
	added, bookmark, modified := await(t, events), await(t, events), await(t, events)
	if added.Type != "ADDED" || bookmark.Type != "BOOKMARK" || modified.Type != "MODIFIED" {
		t.Errorf("events %s, %s, %s", added.Type, bookmark.Type, modified.Type)
	}
	if bookmark.Object.Annotations["k8s.io/initial-events-end"] != "true" || bookmark.Object.ResourceVersion != "2" {
		t.Errorf("bookmark %+v", bookmark.Object)
	}
	shown := [][]byte{added.Object.Data[contract.KeySessionKey], modified.Object.Data[contract.KeySessionKey], []byte(key)}
	if cmp.Equal(shown[0], shown[1]) || cmp.Equal(shown[0], shown[2]) || cmp.Equal(shown[1], shown[2]) {
		t.Error("two of the keys are the same")
	}
	for _, k := range []string{contract.KeyInput, contract.KeyURL, contract.KeyFetchURL, contract.KeyExecutionID} {
		if v, ok := added.Object.Data[k]; !ok || len(v) > 0 {
			t.Errorf("it shows %s = %q, present %v; want it empty", k, v, ok)
		}
	}
	listed := make(chan string, 1)
	go func() {
		l := c.ListFrom("7")
		listed <- l.ResourceVersion + " " + string(l.Items[0].Data[contract.KeySessionKey])
	}()
	list := expectRaw[msg.SecretListed](x)
	if list.Version != 7 {
		t.Errorf("told %+v", list)
	}
	x.Answer(x.id, list.Request, msg.GiveList{Version: 2})
	if got := await(t, listed); got != "3 "+string(shown[1]) {
		t.Errorf("the LIST shows %s", got)
	}
}

// expectRaw is the next event, whatever it is.
func expectRaw[V msg.SessionEvent](x *executor) V {
	x.t.Helper()
	got, ok := await(x.t, x.events).(V)
	if !ok {
		x.t.Fatalf("the gateway tells %+v", got)
	}
	return got
}

func TestWatchesAreToldAsTheirClientsOpenThem(t *testing.T) {
	x := newEnv(t, nil).executor("watches", msg.Daemon)
	for query, want := range map[string]msg.WatchOpened{
		"": {Nested: true, Fresh: true},
		"&resourceVersion=0&allowWatchBookmarks=true": {Fresh: true},
		"&resourceVersion=5&allowWatchBookmarks=true": {Version: 5},
		"&resourceVersion=5":                          {Nested: true, Version: 5},
	} {
		gatewaytest.Python(t, x.access).Watch(query)
		got := expect[msg.WatchOpened](x)
		got.Request = 0
		if got != want {
			t.Errorf("%s is told as %+v, want %+v", query, got, want)
		}
	}
}

func TestAWatchEndsWhenItsClientSaidSo(t *testing.T) {
	t.Parallel()
	x := newEnv(t, nil).executor("short", msg.Daemon)
	events := gatewaytest.Informer(t, x.access).Watch("&timeoutSeconds=1")
	watch := expect[msg.WatchOpened](x)
	if ended := expect[msg.RequestEnded](x); ended.Request != watch.Request {
		t.Errorf("ended %+v", ended)
	}
	if _, more := <-events; more {
		t.Error("it goes on")
	}
}

func TestARequestThatIsGivenUpIsToldOnce(t *testing.T) {
	x := newEnv(t, nil).executor("lost", msg.Daemon)
	c := gatewaytest.Python(t, x.access)
	ctx, lose := context.WithCancel(context.Background())
	asked := c.Get(ctx)
	request := expect[msg.SecretRequested](x).Request
	if !x.IsWaiting(x.id, request) {
		t.Error("it does not wait")
	}
	lose()
	await(t, asked)
	if got := expect[msg.RequestEnded](x); got.Request != request || x.IsWaiting(x.id, request) {
		t.Errorf("ended %+v", got)
	}
	x.Answer(x.id, request, msg.GiveURL{}) // no effect
	_, stop := c.OpenWatch("")
	watch := expect[msg.WatchOpened](x).Request
	stop()
	if got := expect[msg.RequestEnded](x); got.Request != watch {
		t.Errorf("ended %+v", got)
	}
	x.Notify(x.id, watch, msg.WatchEvent{Kind: msg.WatchAdded}) // no effect
	asked, request = x.ask(c)                                   // nothing else was told
	x.Answer(x.id, request, msg.Superseded{})
	await(t, asked)
	if e := x.find(x.id); len(e.waiting)+len(e.watches)+len(e.queue.events) > 0 {
		t.Errorf("left: %v, %v, %v", e.waiting, e.watches, e.queue.events)
	}
}

// A plugin that asks and gives up while nobody listens must not fill the queue.
func TestARequestThatEndedBeforeItWasToldIsNotTold(t *testing.T) {
	e := newSilentEnv(t, nil)
	_, err := e.Admit(msg.ExecutorRecord{ID: "unheard"})
	must(t, err)
	at := e.find("unheard")
	for range 3 {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, there := at.await(ctx, func(id msg.RequestID) msg.SessionEvent { return msg.SecretRequested{Request: id} }); there {
			t.Error("it is answered")
		}
		at.closeWatch(at.openWatch(msg.WatchOpened{}))
	}
	if len(at.queue.events) > 0 {
		t.Errorf("the queue has %v", at.queue.events)
	}
	e.close()
}

func TestANewListenerIsToldOfEverythingThatWaits(t *testing.T) {
	x := newEnv(t, nil).executor("twice", msg.Daemon)
	c := gatewaytest.Python(t, x.access)
	j := x.job()
	url := x.give(c, j).CallbackURL(t)
	asked, request := x.ask(c)
	c.Watch("")
	watch := expect[msg.WatchOpened](x)
	posted := c.PostLater(url, j.result(6))
	callback := expect[msg.CallbackReceived](x)
	old := x.ended
	x.listen()
	if err := await(t, old); !errors.Is(err, errNewerListener) {
		t.Errorf("the older ended with %v", err)
	}
	want := []msg.SessionEvent{msg.SDKDetected{SDK: msg.PythonSDK}, msg.Delivered{Execution: j.id}, msg.SecretRequested{Request: request}, watch, callback}
	for _, w := range want {
		if diff := cmp.Diff(w, await(t, x.events)); diff != "" {
			t.Error(diff)
		}
	}
	x.Answer(x.id, request, msg.Superseded{})
	x.Answer(x.id, callback.Request, msg.Accept{})
	if a, status := await(t, asked), await(t, posted); a.Status != http.StatusTooManyRequests || status != http.StatusNoContent {
		t.Errorf("answered %d and %d", a.Status, status)
	}
}

func TestAListenerEndsWithTheCauseOfItsContext(t *testing.T) {
	x := newEnv(t, nil).executor("cause", msg.Daemon)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	if err := x.Requests(ctx, x.id, func(msg.SessionEvent) error { return nil }); !errors.Is(err, cause) {
		t.Errorf("ended with %v", err)
	}
}

func TestTheClientsNameTellsItsSDK(t *testing.T) {
	e := newEnv(t, nil)
	for agent, want := range map[string]msg.SDK{
		"OpenAPI-Generator/35.0.0/python":               msg.PythonSDK,
		"plugin/v0 (linux/amd64) kubernetes/$Format":    msg.GoSDK,
		"OpenAPI-Generator/1.0/java and something else": msg.OtherSDK,
	} {
		x := e.executor(msg.ExecutorID(want), msg.Daemon)
		gatewaytest.New(t, x.access, agent, false).Watch("")
		if got := expectRaw[msg.SDKDetected](x); got.SDK != want {
			t.Errorf("%s is told as %s", agent, got.SDK)
		}
	}
}

func TestAFloodOfWatchesIsBoundedAndHarmsNobodyElse(t *testing.T) {
	e := newEnv(t, nil)
	x, other := e.executor("flood", msg.Daemon), e.executor("other", msg.Daemon)
	c := gatewaytest.Informer(t, x.access)
	ended := 0
	for range 2 * maxWatches {
		c.Watch(gatewaytest.Standing("1"))
	}
	at := e.find(x.id)
	at.mu.Lock()
	open := len(at.watches)
	at.mu.Unlock()
	if open > maxWatches {
		t.Errorf("%d watches are open", open)
	}
	for range 2 * maxWatches { // those that were closed are told as well
		if _, opened := await(t, x.events).(msg.WatchOpened); !opened {
			ended++
		}
	}
	if ended == 0 {
		t.Error("nobody is told that watches were closed")
	}
	if got := other.list(gatewaytest.Python(t, other.access)); got != http.StatusOK {
		t.Errorf("another is answered %d", got)
	}
}

func TestMoreRequestsThanAnExecutorHasPermitsForAreAskedToComeLater(t *testing.T) {
	x := newEnv(t, nil).executor("many", msg.Daemon)
	c := gatewaytest.Python(t, x.access)
	j := x.job()
	x.give(c, j)
	input := gatewaytest.PlainURL(t, []byte(x.url(inputPath, j.id)))
	at := x.find(x.id)
	for _, row := range []struct {
		what    string
		permits chan struct{}
		try     func() int
		free    int
	}{
		{"requests", at.requests, func() int { return c.Status("GET", collection+"/another") }, http.StatusForbidden},
		{"callbacks and fetches", at.callbacks, func() int { status, _ := c.Fetch(input); return status }, http.StatusOK},
	} {
		t.Run(row.what, func(t *testing.T) {
			for range cap(row.permits) { // a request that was answered may leave its permit only now
				row.permits <- struct{}{}
			}
			if got := row.try(); got != http.StatusTooManyRequests {
				t.Errorf("answered %d with no permit left", got)
			}
			for len(row.permits) > 0 {
				<-row.permits
			}
			if got := row.try(); got != row.free { // the control
				t.Errorf("answered %d with permits left", got)
			}
		})
	}
}
