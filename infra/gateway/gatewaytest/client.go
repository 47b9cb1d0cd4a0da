// Package gatewaytest asks a gateway what the official SDKs ask, request by request: their order, their headers, their protocols. What
// is asked when is up to the test.
package gatewaytest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"runnerd/infra/contract"
	msg "runnerd/messages"
)

// Timeout is how long a test waits for what must happen. No test asserts that something takes as long.
const Timeout = 90 * time.Second

// Client is the HTTP client of a plugin.
type Client struct {
	t      testing.TB
	access msg.Access
	agent  string
	secure *http.Client
	plain  *http.Client
}

// Python is the client of the Python SDK: HTTP/1.1, its token behind "bearer", a new watch on a new connection after every job.
func Python(t testing.TB, access msg.Access) *Client {
	return New(t, access, "OpenAPI-Generator/35.0.0/python", false)
}

// Informer is the client of the Go SDK: HTTP/2, and one watch for its life.
func Informer(t testing.TB, access msg.Access) *Client {
	return New(t, access, "plugin/v0 (linux/amd64) kubernetes/$Format", true)
}

// New is a client of that name.
func New(t testing.TB, access msg.Access, agent string, http2 bool) *Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(access.Files["sa/"+contract.CAFile])
	secure := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: http2}
	plain := &http.Transport{}
	t.Cleanup(secure.CloseIdleConnections)
	t.Cleanup(plain.CloseIdleConnections)
	return &Client{t: t, access: access, agent: agent, secure: &http.Client{Transport: secure}, plain: &http.Client{Transport: plain}}
}

// Token is what the plugin finds in its service account.
func Token(access msg.Access) string {
	return strings.TrimSpace(string(access.Files["sa/"+contract.TokenFile]))
}

// Collection is the path of all Secrets, and Own that of the plugin's.
func (c *Client) Collection() string {
	return "/api/v1/namespaces/" + c.access.Env[contract.RunnerNamespace] + "/secrets"
}

func (c *Client) Own() string {
	return c.Collection() + "/" + c.access.Env[contract.InputContextSecret]
}

// Selected is the path of a LIST or WATCH of the plugin's Secret, with more parameters.
func (c *Client) Selected(more string) string {
	return c.Collection() + "?fieldSelector=" + url.QueryEscape("metadata.name="+c.access.Env[contract.InputContextSecret]) + more
}

// Request is any request to the Secrets API.
func (c *Client) Request(ctx context.Context, method, path string) (*http.Response, error) {
	base := "https://" + c.access.Env[contract.KubernetesHost] + ":" + c.access.Env[contract.KubernetesPort]
	r, err := http.NewRequestWithContext(ctx, method, base+path, nil)
	Must(c.t, err)
	r.Header["authorization"] = []string{"bearer " + Token(c.access)}
	r.Header.Set("User-Agent", c.agent)
	return c.secure.Do(r)
}

// Status is what a request is answered with.
func (c *Client) Status(method, path string) int {
	c.t.Helper()
	r, err := c.Request(context.Background(), method, path)
	Must(c.t, err)
	defer func() { _ = r.Body.Close() }()
	return r.StatusCode
}

// Answer is what a GET of the Secret brought.
type Answer struct {
	Status     int
	RetryAfter string
	Secret     corev1.Secret
	Err        error
}

// Key is the session key in the Secret.
func (a Answer) Key() string { return string(a.Secret.Data[contract.KeySessionKey]) }

// CallbackURL is where the result goes.
func (a Answer) CallbackURL(t testing.TB) string {
	t.Helper()
	return PlainURL(t, a.Secret.Data[contract.KeyURL])
}

// Get asks for the Secret in the background.
func (c *Client) Get(ctx context.Context) <-chan Answer {
	answers := make(chan Answer, 1)
	go func() {
		r, err := c.Request(ctx, http.MethodGet, c.Own())
		if err != nil {
			answers <- Answer{Err: err}
			return
		}
		defer func() { _ = r.Body.Close() }()
		a := Answer{Status: r.StatusCode, RetryAfter: r.Header.Get("Retry-After")}
		a.Err = json.NewDecoder(r.Body).Decode(&a.Secret)
		answers <- a
	}()
	return answers
}

// List is what a client asks that has seen nothing.
func (c *Client) List() corev1.SecretList { c.t.Helper(); return c.ListFrom("0") }

// ListFrom is what an informer asks that has seen a version.
func (c *Client) ListFrom(version string) (list corev1.SecretList) {
	c.t.Helper()
	r, err := c.Request(context.Background(), http.MethodGet, c.Selected("&limit=500&resourceVersion="+version))
	Must(c.t, err)
	defer func() { _ = r.Body.Close() }()
	Must(c.t, json.NewDecoder(r.Body).Decode(&list))
	return list
}

// Event is a line of a watch.
type Event struct {
	Type   string
	Object corev1.Secret
}

// Standing are the parameters of an informer's watch that has seen a version.
func Standing(version string) string {
	return "&allowWatchBookmarks=true&resourceVersion=" + version
}

// Watch opens a watch; the channel closes with it, and the watch with the test.
func (c *Client) Watch(more string) <-chan Event {
	c.t.Helper()
	events, stop := c.OpenWatch(more)
	c.t.Cleanup(stop)
	return events
}

// OpenWatch opens a watch that ends with the call of stop.
func (c *Client) OpenWatch(more string) (got <-chan Event, stop func()) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := c.Request(ctx, http.MethodGet, c.Selected("&watch=True"+more))
	Must(c.t, err)
	events, done := make(chan Event, 100), make(chan struct{})
	go func() {
		defer close(done)
		defer close(events)
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			var e Event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				events <- e
			}
		}
	}()
	return events, func() { cancel(); _ = r.Body.Close(); <-done }
}

// Post is a callback.
func (c *Client) Post(url, body string) (status int) {
	c.t.Helper()
	r, err := c.plain.Post(url, "application/json", bytes.NewReader([]byte(body)))
	Must(c.t, err)
	defer func() { _ = r.Body.Close() }()
	text, err := io.ReadAll(r.Body)
	Must(c.t, err)
	if r.StatusCode == http.StatusNoContent && len(text) > 0 {
		c.t.Errorf("204 has a body: %q", text)
	}
	return r.StatusCode
}

// PostLater is a callback in the background. Status 0: it was cut.
func (c *Client) PostLater(url, body string) <-chan int {
	status := make(chan int, 1)
	go func() {
		r, err := c.plain.Post(url, "application/json", strings.NewReader(body))
		if err != nil {
			status <- 0
			return
		}
		_ = r.Body.Close()
		status <- r.StatusCode
	}()
	return status
}

// Fetch reads an input that was too large for the Secret.
func (c *Client) Fetch(url string) (status int, body string) {
	c.t.Helper()
	r, err := c.plain.Get(url)
	Must(c.t, err)
	defer func() { _ = r.Body.Close() }()
	text, err := io.ReadAll(r.Body)
	Must(c.t, err)
	return r.StatusCode, string(text)
}

// Await returns what comes, and fails if nothing does.
func Await[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(Timeout):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// Must fails the test on an error.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// PlainURL is a URL as it stands in the Secret, decoded.
func PlainURL(t testing.TB, text []byte) string {
	t.Helper()
	url, err := base64.StdEncoding.DecodeString(string(text))
	Must(t, err)
	return string(url)
}
