package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// python asks what the Python SDK asks, in its order and with its headers: HTTP/1.1, a token behind "bearer", a new watch on
// a new connection after every job.
type python struct {
	t     testing.TB
	e     *executor
	agent string
	http  *http.Client
}

func newPython(e *executor) *python { return newClient(e, "OpenAPI-Generator/35.0.0/python", false) }

func newClient(e *executor, agent string, h2 bool) *python {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(e.access.Files["sa/ca.crt"])
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: h2}
	e.t.Cleanup(transport.CloseIdleConnections)
	return &python{t: e.t, e: e, agent: agent, http: &http.Client{Transport: transport}}
}

func (p *python) request(ctx context.Context, method, path string) (*http.Response, error) {
	base := "https://" + p.e.access.Env["KUBERNETES_SERVICE_HOST"] + ":" + p.e.access.Env["KUBERNETES_SERVICE_PORT"]
	r, err := http.NewRequestWithContext(ctx, method, base+path, nil)
	must(p.t, err)
	r.Header["authorization"] = []string{"bearer " + token(p.e.access)}
	r.Header.Set("User-Agent", p.agent)
	return p.http.Do(r)
}

func (p *python) own() string { return collection + "/" + p.e.access.Env["INPUT_CONTEXT_SECRET"] }

// answered is what a GET of the Secret brought.
type answered struct {
	status int
	after  string
	secret corev1.Secret
	err    error
}

// get asks for the Secret in the background.
func (p *python) get(ctx context.Context) <-chan answered {
	c := make(chan answered, 1)
	go func() {
		r, err := p.request(ctx, http.MethodGet, p.own())
		if err != nil {
			c <- answered{err: err}
			return
		}
		defer func() { _ = r.Body.Close() }()
		a := answered{status: r.StatusCode, after: r.Header.Get("Retry-After")}
		a.err = json.NewDecoder(r.Body).Decode(&a.secret)
		c <- a
	}()
	return c
}

// ask is a GET that holds: it returns once the gateway has told so.
func (p *python) ask() <-chan answered {
	p.t.Helper()
	c := p.get(context.Background())
	expectHeld(p.e)
	return c
}

func await[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func (p *python) list() corev1.SecretList {
	p.t.Helper()
	return p.listFrom("0")
}

// listFrom is what an informer asks that has seen a version.
func (p *python) listFrom(version string) corev1.SecretList {
	p.t.Helper()
	r, err := p.request(context.Background(), http.MethodGet, collection+"?fieldSelector="+p.selector()+"&limit=500&resourceVersion="+version)
	must(p.t, err)
	defer func() { _ = r.Body.Close() }()
	var l corev1.SecretList
	must(p.t, json.NewDecoder(r.Body).Decode(&l))
	return l
}

func (p *python) selector() string {
	return url.QueryEscape("metadata.name=" + p.e.access.Env["INPUT_CONTEXT_SECRET"])
}

// event is a line of a watch.
type event struct {
	Type   string
	Object corev1.Secret
}

// watch opens one; the channel closes with it.
func (p *python) watch(more string) <-chan event {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := p.request(ctx, http.MethodGet, collection+"?fieldSelector="+p.selector()+"&watch=True"+more)
	must(p.t, err)
	events, done := make(chan event, 100), make(chan struct{})
	go func() {
		defer close(done)
		defer close(events)
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			var e event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				events <- e
			}
		}
	}()
	p.t.Cleanup(func() { cancel(); _ = r.Body.Close(); <-done })
	return events
}

func (p *python) post(path, body string) int {
	p.t.Helper()
	r, err := http.Post(path, "application/json", bytes.NewReader([]byte(body)))
	must(p.t, err)
	defer func() { _ = r.Body.Close() }()
	text, err := io.ReadAll(r.Body)
	must(p.t, err)
	if r.StatusCode == http.StatusNoContent && len(text) > 0 {
		p.t.Errorf("204 has a body: %q", text)
	}
	return r.StatusCode
}

func (p *python) deliver(a answered, body string) {
	p.t.Helper()
	if status := p.post(plainURL(p.t, a.secret.Data["url"]), body); status != http.StatusNoContent {
		p.t.Fatalf("the callback is answered %d, want 204", status)
	}
}

// armed opens the watch after a job, and waits for the event that makes it ask.
func (p *python) armed() (baseline, now event) {
	p.t.Helper()
	w := p.watch("")
	return await(p.t, w), await(p.t, w)
}

// quiet fails if the watch has got something since. A round trip at the same door is behind all that was sent before.
func (p *python) quiet(w <-chan event) {
	p.t.Helper()
	p.list()
	select {
	case e := <-w:
		p.t.Fatalf("a watch gets %s %s", e.Type, e.Object.ResourceVersion)
	default:
	}
}
