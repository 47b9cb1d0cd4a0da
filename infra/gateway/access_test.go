package gateway

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"runnerd/infra/contract"
	"runnerd/infra/gateway/gatewaytest"
	msg "runnerd/messages"
)

func TestTokenOpensOnlyItsOwnSecret(t *testing.T) {
	e := newEnv(t, nil)
	own, other := e.executor("own", msg.Daemon), e.executor("other", msg.Daemon)
	c := gatewaytest.Python(t, own.access)
	if got := own.list(c); got != http.StatusOK { // the control
		t.Errorf("the executor's own LIST: status %d", got)
	}
	selected := collection + "?fieldSelector=metadata.name%3D"
	for attempt, r := range map[string]struct{ method, path string }{
		"another's Secret":        {"GET", collection + "/" + secretName(other.id)},
		"LIST of another's":       {"GET", selected + secretName(other.id)},
		"WATCH of another's":      {"GET", selected + secretName(other.id) + "&watch=true"},
		"LIST of all":             {"GET", collection},
		"LIST with two selectors": {"GET", selected + secretName(own.id) + ",x%3Dy"},
		"another namespace":       {"GET", "/api/v1/namespaces/default/secrets/" + secretName(own.id)},
		"a path with dots":        {"GET", collection + "/../secrets/" + secretName(other.id)},
		"discovery":               {"GET", "/api"},
		"PUT of its own":          {"PUT", collection + "/" + secretName(own.id)},
		"DELETE of its own":       {"DELETE", collection + "/" + secretName(own.id)},
	} {
		t.Run(attempt, func(t *testing.T) {
			if got := c.Status(r.method, r.path); got != http.StatusForbidden {
				t.Errorf("status %d", got)
			}
		})
	}
}

func TestForgedTokenIsForbidden(t *testing.T) {
	e := newEnv(t, nil)
	own, other := e.executor("own", msg.Daemon), e.executor("other", msg.Daemon)
	good := gatewaytest.Token(own.access)
	for attempt, forged := range map[string]string{
		"none":                  "",
		"its own, truncated":    good[:len(good)-1],
		"another's":             gatewaytest.Token(other.access),
		"its own under another": "other" + good[len("own"):],
		"an unknown executor's": "nobody" + good[len("own"):],
	} {
		t.Run(attempt, func(t *testing.T) {
			access := own.access
			access.Files = map[string][]byte{"sa/ca.crt": own.access.Files["sa/ca.crt"], "sa/token": []byte(forged)}
			c := gatewaytest.Python(t, access)
			if got := c.Status("GET", c.ListPath("")); got != http.StatusForbidden {
				t.Errorf("status %d", got)
			}
		})
	}
	if got := own.list(gatewaytest.Python(t, own.access)); got != http.StatusOK { // the control
		t.Errorf("the executor's own token: status %d", got)
	}
}

func TestDismissedExecutorIsDenied(t *testing.T) {
	e := newEnv(t, nil)
	x, other := e.executor("dismissed", msg.Daemon), e.executor("other", msg.Daemon)
	c := gatewaytest.Python(t, x.access)
	j := e.job()
	url := x.give(c, j).CallbackURL(t)
	answers, request := x.sendGet(c)
	watched := c.Watch("")
	expect[msg.WatchOpened](x)
	posted := c.PostAsync(url, j.result(0))
	expect[msg.CallbackReceived](x)

	e.Dismiss(x.id)
	if a := await(t, answers); a.Status != http.StatusNotFound {
		t.Errorf("the executor's GET: status %d", a.Status)
	}
	if status := await(t, posted); status != http.StatusNotFound {
		t.Errorf("the executor's callback: status %d", status)
	}
	if _, more := <-watched; more {
		t.Error("the executor's watch is still open")
	}
	if e.IsWaiting(x.id, request) {
		t.Error("the executor's GET still waits")
	}
	if a := await(t, c.Get(context.Background())); a.Status != http.StatusForbidden {
		t.Errorf("the executor's next GET: status %d", a.Status)
	}
	if got := c.Post(url, j.result(0)); got != http.StatusNotFound {
		t.Errorf("the executor's next callback: status %d", got)
	}
	if err := e.Requests(t.Context(), x.id, nil); err == nil {
		t.Error("Requests succeeds")
	}
	if got := other.list(gatewaytest.Python(t, other.access)); got != http.StatusOK { // the control
		t.Errorf("another executor: status %d", got)
	}
}

func TestDismissRemovesAllState(t *testing.T) {
	e := newEnv(t, nil)
	for _, id := range []msg.ExecutorID{"one", "two"} {
		x := e.executor(id, msg.Daemon)
		must(t, e.OpenURLs(id, e.job().url(), e.job().url()))
		x.writeResult("something")
		expect[msg.ResultFileChanged](x)
	}
	if len(e.routes) != 8 || len(e.resultDirs) != 2 || len(e.watcher.WatchList()) != 2 { // the control
		t.Fatalf("%d URLs, %d directories, %d watches of directories", len(e.routes), len(e.resultDirs), len(e.watcher.WatchList()))
	}
	e.Dismiss("one")
	if len(e.endpoints) != 1 || len(e.routes) != 4 || len(e.resultDirs) != 1 || len(e.watcher.WatchList()) != 1 {
		t.Errorf("with one dismissed: %d endpoints, %d URLs, %d directories, %d watches of directories",
			len(e.endpoints), len(e.routes), len(e.resultDirs), len(e.watcher.WatchList()))
	}
	e.Dismiss("two")
	e.Dismiss("two")
	if len(e.endpoints)+len(e.routes)+len(e.resultDirs)+len(e.watcher.WatchList()) != 0 {
		t.Errorf("with both dismissed: %v %v %v %v", e.endpoints, e.routes, e.resultDirs, e.watcher.WatchList())
	}
}

func TestOnlyLastOpenedURLsAreServed(t *testing.T) {
	e := newEnv(t, func(o *Options) { o.InlineInput = 1 })
	x := e.executor("urls", msg.Daemon)
	c := gatewaytest.Python(t, x.access)
	first, second, third := e.job(), e.job(), e.job()
	url := func(k routeKind, j job) string { return gatewaytest.PlainURL(t, []byte(e.jobURL(k, j.id))) }
	must(t, e.OpenURLs(x.id, first.url(), second.url()))
	must(t, e.OpenURLs(x.id, msg.JobURL{Execution: second.id}, third.url()))
	for _, k := range []routeKind{callbackRoute, inputRoute} {
		if got := c.Post(url(k, first), "x"); got != http.StatusNotFound {
			t.Errorf("the %s URL of a removed job: status %d", k, got)
		}
	}
	posted := c.PostAsync(url(callbackRoute, third), third.result(3))
	got := expect[msg.CallbackReceived](x)
	if got.Execution != third.id || got.Verdict != msg.IsResult {
		t.Errorf("received %+v", got)
	}
	x.Answer(x.id, got.Request, msg.Accept{})
	await(t, posted)
	x.writeResult(second.result(2)) // OpenURLs keeps the known key of a job that is passed without one
	if got := x.readResult(msg.ResultFile{Execution: second.id}); got.Verdict != msg.IsResult || got.Result.ExitCode != 2 {
		t.Errorf("read %+v", got)
	}
}

func TestResealedKeyOpensResults(t *testing.T) {
	e := newEnv(t, nil)
	x := e.executor("keyring", msg.Daemon)
	j := e.job()
	_, sealed, err := e.identity.Open(j.sealed, j.input)
	must(t, err)
	must(t, e.OpenURLs(x.id, msg.JobURL{Execution: j.id, Key: sealed}))
	x.writeResult(j.result(4))
	if got := x.readResult(msg.ResultFile{Execution: j.id}); got.Verdict != msg.IsResult || got.Result.ExitCode != 4 {
		t.Errorf("read %+v", got)
	}
}

func TestRule17AccessHasOnlyWhatModeNeeds(t *testing.T) {
	e := newEnv(t, func(o *Options) { o.ReleaseURL = "http://release" })
	for mode, want := range map[msg.Mode]string{
		msg.Daemon: "EXECUTOR_EXECUTION_MODE INPUT_CONTEXT_SECRET KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT OUTPUT_LOCATION RUNNER_NAMESPACE",
		msg.Single: "INPUT_CONTEXT_SECRET KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT OUTPUT_LOCATION RUNNER_NAMESPACE",
		msg.Files:  "INPUT_LOCATION OUTPUT_LOCATION",
	} {
		t.Run(string(mode), func(t *testing.T) {
			access := e.executor(msg.ExecutorID(mode), mode).access
			names := append(strings.Fields(want), "PYTHONUNBUFFERED", contract.ReleaseURL)
			for _, name := range names {
				if access.Env[name] == "" {
					t.Errorf("%s is missing", name)
				}
			}
			if len(access.Env) != len(names) {
				t.Errorf("unexpected variables: %v", access.Env)
			}
			again, err := e.Admit(msg.ExecutorRecord{ID: msg.ExecutorID(mode), Mode: mode})
			must(t, err)
			if gatewaytest.Token(again) != gatewaytest.Token(access) {
				t.Error("the token changed")
			}
		})
	}
}
