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

func TestAnswersFollowTheKubernetesProtocol(t *testing.T) {
	x := newEnv(t, nil).executor("answers", msg.Daemon)
	c := gatewaytest.Python(t, x.access)
	j := x.job()
	a := x.give(c, j)
	if diff := cmp.Diff(map[string]string{"name": secretName(x.id), "input": j.input, "execution": string(j.id), "fetch": ""}, map[string]string{
		"name": a.Secret.Name, "input": string(a.Secret.Data[contract.KeyInput]), "execution": string(a.Secret.Data[contract.KeyExecutionID]),
		"fetch": string(a.Secret.Data[contract.KeyFetchURL]),
	}); diff != "" || len(a.Secret.Data) != 5 || a.Status != http.StatusOK {
		t.Errorf("GiveJob: status %d with %d keys:\n%s", a.Status, len(a.Secret.Data), diff)
	}

	answers, request := x.sendGet(c)
	x.Answer(x.id, request, msg.GiveURL{Execution: j.id})
	again := await(t, answers)
	if again.Key() != a.Key() || again.CallbackURL(t) != a.CallbackURL(t) || len(again.Secret.Data[contract.KeyInput]) > 0 {
		t.Errorf("GiveURL: %+v", again.Secret.Data)
	}

	answers, request = x.sendGet(c)
	x.Answer(x.id, request, msg.Superseded{})
	if got := await(t, answers); got.Status != http.StatusTooManyRequests || got.RetryAfter != "1" {
		t.Errorf("Superseded: status %d, Retry-After %q", got.Status, got.RetryAfter)
	}
}

func TestRule1ListAndWatchShowOnlyDummy(t *testing.T) {
	x := newEnv(t, nil).executor("dummy", msg.Daemon)
	c := gatewaytest.Informer(t, x.access)
	key := x.give(c, x.job()).Key()
	events := c.Watch("&allowWatchBookmarks=true&sendInitialEvents=true")
	watch := expect[msg.WatchOpened](x)
	if want := (msg.WatchOpened{Request: watch.Request, Fresh: true, Bookmark: true}); watch != want {
		t.Errorf("got event %+v", watch)
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
		t.Error("two keys are equal")
	}
	for _, k := range []string{contract.KeyInput, contract.KeyURL, contract.KeyFetchURL, contract.KeyExecutionID} {
		if v, ok := added.Object.Data[k]; !ok || len(v) > 0 {
			t.Errorf("%s = %q, present %v; want it empty", k, v, ok)
		}
	}
	listed := make(chan string, 1)
	go func() {
		l := c.ListFrom("7")
		listed <- l.ResourceVersion + " " + string(l.Items[0].Data[contract.KeySessionKey])
	}()
	list := expectRaw[msg.SecretListed](x)
	if list.Version != 7 {
		t.Errorf("got event %+v", list)
	}
	x.Answer(x.id, list.Request, msg.GiveList{Version: 2})
	if got := await(t, listed); got != "3 "+string(shown[1]) {
		t.Errorf("the LIST shows %s", got)
	}
}

// expectRaw returns the next event, which must be a V. Unlike expect, it skips nothing.
func expectRaw[V msg.SessionEvent](x *executor) V {
	x.t.Helper()
	event := await(x.t, x.events)
	got, ok := event.(V)
	if !ok {
		x.t.Fatalf("got event %T%+v, want %T", event, event, got)
	}
	return got
}

func TestWatchOpenedReflectsQuery(t *testing.T) {
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
			t.Errorf("%s: event %+v, want %+v", query, got, want)
		}
	}
}

func TestWatchEndsAfterRequestedTimeout(t *testing.T) {
	t.Parallel()
	x := newEnv(t, nil).executor("short", msg.Daemon)
	events := gatewaytest.Informer(t, x.access).Watch("&timeoutSeconds=1")
	watch := expect[msg.WatchOpened](x)
	if ended := expect[msg.RequestEnded](x); ended.Request != watch.Request {
		t.Errorf("ended %+v", ended)
	}
	if _, more := <-events; more {
		t.Error("the watch is still open")
	}
}

func TestCanceledRequestIsReportedOnce(t *testing.T) {
	x := newEnv(t, nil).executor("lost", msg.Daemon)
	c := gatewaytest.Python(t, x.access)
	ctx, cancel := context.WithCancel(context.Background())
	answers := c.Get(ctx)
	request := expect[msg.SecretRequested](x).Request
	if !x.IsWaiting(x.id, request) {
		t.Error("request does not wait")
	}
	cancel()
	await(t, answers)
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
	answers, request = x.sendGet(c)                             // no other event came before
	x.Answer(x.id, request, msg.Superseded{})
	await(t, answers)
	if e := x.findEndpoint(x.id); len(e.waiting)+len(e.watches)+len(e.queue.events) > 0 {
		t.Errorf("remaining: %v, %v, %v", e.waiting, e.watches, e.queue.events)
	}
}

// A plugin that repeatedly sends and cancels requests while no session listens must not fill the queue.
func TestRequestCanceledBeforeReportLeavesNoEvent(t *testing.T) {
	e := newIdleEnv(t, nil)
	_, err := e.Admit(msg.ExecutorRecord{ID: "unheard"})
	must(t, err)
	endpoint := e.findEndpoint("unheard")
	for range 3 {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, answered := endpoint.await(ctx, func(id msg.RequestID) msg.SessionEvent { return msg.SecretRequested{Request: id} }); answered {
			t.Error("the request was answered")
		}
		endpoint.closeWatch(endpoint.openWatch(msg.WatchOpened{}))
	}
	if len(endpoint.queue.events) > 0 {
		t.Errorf("the queue has %v", endpoint.queue.events)
	}
	e.close()
}

func TestNewRequestsCallReceivesAllOpenRequests(t *testing.T) {
	x := newEnv(t, nil).executor("twice", msg.Daemon)
	c := gatewaytest.Python(t, x.access)
	j := x.job()
	url := x.give(c, j).CallbackURL(t)
	answers, request := x.sendGet(c)
	c.Watch("")
	watch := expect[msg.WatchOpened](x)
	posted := c.PostAsync(url, j.result(6))
	callback := expect[msg.CallbackReceived](x)
	old := x.ended
	x.subscribe()
	if err := await(t, old); !errors.Is(err, errNewerCall) {
		t.Errorf("the older call returned %v", err)
	}
	want := []msg.SessionEvent{msg.SDKDetected{SDK: msg.PythonSDK}, msg.Delivered{Execution: j.id}, msg.SecretRequested{Request: request}, watch, callback}
	for _, w := range want {
		if diff := cmp.Diff(w, await(t, x.events)); diff != "" {
			t.Error(diff)
		}
	}
	x.Answer(x.id, request, msg.Superseded{})
	x.Answer(x.id, callback.Request, msg.Accept{})
	if a, status := await(t, answers), await(t, posted); a.Status != http.StatusTooManyRequests || status != http.StatusNoContent {
		t.Errorf("GET: status %d; callback: status %d", a.Status, status)
	}
}

func TestRequestsReturnsContextCause(t *testing.T) {
	x := newEnv(t, nil).executor("cause", msg.Daemon)
	cause := errors.New("cause")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	if err := x.Requests(ctx, x.id, func(msg.SessionEvent) error { return nil }); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

func TestUserAgentIdentifiesSDK(t *testing.T) {
	e := newEnv(t, nil)
	for agent, want := range map[string]msg.SDK{
		"OpenAPI-Generator/35.0.0/python":               msg.PythonSDK,
		"plugin/v0 (linux/amd64) kubernetes/$Format":    msg.GoSDK,
		"OpenAPI-Generator/1.0/java and something else": msg.OtherSDK,
	} {
		x := e.executor(msg.ExecutorID(want), msg.Daemon)
		gatewaytest.New(t, x.access, agent, false).Watch("")
		if got := expectRaw[msg.SDKDetected](x); got.SDK != want {
			t.Errorf("%s: SDK %s", agent, got.SDK)
		}
	}
}

func TestWatchFloodIsBounded(t *testing.T) {
	e := newEnv(t, nil)
	x, other := e.executor("flood", msg.Daemon), e.executor("other", msg.Daemon)
	c := gatewaytest.Informer(t, x.access)
	ended := 0
	for range 2 * maxWatches {
		c.Watch(gatewaytest.InformerParams("1"))
	}
	endpoint := e.findEndpoint(x.id)
	endpoint.mu.Lock()
	open := len(endpoint.watches)
	endpoint.mu.Unlock()
	if open > maxWatches {
		t.Errorf("%d watches are open", open)
	}
	for range 2 * maxWatches { // ended watches are reported too
		if _, opened := await(t, x.events).(msg.WatchOpened); !opened {
			ended++
		}
	}
	if ended == 0 {
		t.Error("no ended watch was reported")
	}
	if got := other.list(gatewaytest.Python(t, other.access)); got != http.StatusOK {
		t.Errorf("another executor: status %d", got)
	}
}

func TestTooManyRequestsGet429(t *testing.T) {
	x := newEnv(t, nil).executor("many", msg.Daemon)
	c := gatewaytest.Python(t, x.access)
	j := x.job()
	x.give(c, j)
	input := gatewaytest.PlainURL(t, []byte(x.jobURL(inputRoute, j.id)))
	endpoint := x.findEndpoint(x.id)
	for _, row := range []struct {
		name    string
		permits chan struct{}
		send    func() int
		want    int
	}{
		{"requests", endpoint.requests, func() int { return c.Status("GET", collection+"/another") }, http.StatusForbidden},
		{"callbacks and fetches", endpoint.callbacks, func() int { status, _ := c.Fetch(input); return status }, http.StatusOK},
	} {
		t.Run(row.name, func(t *testing.T) {
			for range cap(row.permits) { // an answered request may release its permit only now
				row.permits <- struct{}{}
			}
			if got := row.send(); got != http.StatusTooManyRequests {
				t.Errorf("status %d without a free permit", got)
			}
			for len(row.permits) > 0 {
				<-row.permits
			}
			if got := row.send(); got != row.want { // the control
				t.Errorf("status %d with free permits", got)
			}
		})
	}
}
