// Package gatewaytest provides a client that sends single requests to a gateway with the headers and protocols of the official SDKs. The
// test decides which requests to send and when.
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

// Timeout is how long a test waits for an event that must happen. No test depends on its length.
const Timeout = 90 * time.Second

// Client is the HTTP client of a plugin.
type Client struct {
	t              testing.TB
	access         msg.Access
	agent          string
	apiClient      *http.Client
	callbackClient *http.Client
}

// Python returns a client like the Python SDK's: HTTP/1.1, the scheme "bearer", and a new watch on a new connection after every job.
func Python(t testing.TB, access msg.Access) *Client {
	return New(t, access, "OpenAPI-Generator/35.0.0/python", false)
}

// Informer returns a client like the Go SDK's: HTTP/2 and one long watch.
func Informer(t testing.TB, access msg.Access) *Client {
	return New(t, access, "plugin/v0 (linux/amd64) kubernetes/$Format", true)
}

// New returns a client with this User-Agent.
func New(t testing.TB, access msg.Access, agent string, http2 bool) *Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(access.Files["sa/"+contract.CAFile])
	secure := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: http2}
	plain := &http.Transport{}
	t.Cleanup(secure.CloseIdleConnections)
	t.Cleanup(plain.CloseIdleConnections)
	return &Client{t: t, access: access, agent: agent, apiClient: &http.Client{Transport: secure}, callbackClient: &http.Client{Transport: plain}}
}

// Token returns the token in the plugin's service account.
func Token(access msg.Access) string {
	return strings.TrimSpace(string(access.Files["sa/"+contract.TokenFile]))
}

// CollectionPath returns the path of all Secrets.
func (c *Client) CollectionPath() string {
	return "/api/v1/namespaces/" + c.access.Env[contract.RunnerNamespace] + "/secrets"
}

// SecretPath returns the path of the plugin's own Secret.
func (c *Client) SecretPath() string {
	return c.CollectionPath() + "/" + c.access.Env[contract.InputContextSecret]
}

// ListPath returns the path of a LIST or WATCH of the plugin's Secret, with more query parameters.
func (c *Client) ListPath(more string) string {
	return c.CollectionPath() + "?fieldSelector=" + url.QueryEscape("metadata.name="+c.access.Env[contract.InputContextSecret]) + more
}

// Request sends a request to the Secrets API.
func (c *Client) Request(ctx context.Context, method, path string) (*http.Response, error) {
	base := "https://" + c.access.Env[contract.KubernetesHost] + ":" + c.access.Env[contract.KubernetesPort]
	r, err := http.NewRequestWithContext(ctx, method, base+path, nil)
	Must(c.t, err)
	r.Header["authorization"] = []string{"bearer " + Token(c.access)}
	r.Header.Set("User-Agent", c.agent)
	return c.apiClient.Do(r)
}

// Status sends a request to the Secrets API and returns the response's status.
func (c *Client) Status(method, path string) int {
	c.t.Helper()
	r, err := c.Request(context.Background(), method, path)
	Must(c.t, err)
	defer func() { _ = r.Body.Close() }()
	return r.StatusCode
}

// Answer is the response to a GET of the Secret.
type Answer struct {
	Status     int
	RetryAfter string
	Secret     corev1.Secret
	Err        error
}

// Key returns the session key in the Secret.
func (a Answer) Key() string { return string(a.Secret.Data[contract.KeySessionKey]) }

// CallbackURL returns the callback URL in the Secret, decoded.
func (a Answer) CallbackURL(t testing.TB) string {
	t.Helper()
	return PlainURL(t, a.Secret.Data[contract.KeyURL])
}

// Get sends a GET of the Secret in the background.
func (c *Client) Get(ctx context.Context) <-chan Answer {
	answers := make(chan Answer, 1)
	go func() {
		r, err := c.Request(ctx, http.MethodGet, c.SecretPath())
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

// List lists the Secret like a client that has seen no version.
func (c *Client) List() corev1.SecretList { c.t.Helper(); return c.ListFrom("0") }

// ListFrom lists the Secret like an informer that has seen a version.
func (c *Client) ListFrom(version string) (list corev1.SecretList) {
	c.t.Helper()
	r, err := c.Request(context.Background(), http.MethodGet, c.ListPath("&limit=500&resourceVersion="+version))
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

// InformerParams returns the query parameters of an informer's watch from a version on.
func InformerParams(version string) string {
	return "&allowWatchBookmarks=true&resourceVersion=" + version
}

// Watch opens a watch until the end of the test. The channel closes when the watch ends.
func (c *Client) Watch(more string) <-chan Event {
	c.t.Helper()
	events, stop := c.OpenWatch(more)
	c.t.Cleanup(stop)
	return events
}

// OpenWatch opens a watch until stop is called.
func (c *Client) OpenWatch(more string) (got <-chan Event, stop func()) {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := c.Request(ctx, http.MethodGet, c.ListPath("&watch=True"+more))
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

// Post sends a callback.
func (c *Client) Post(url, body string) (status int) {
	c.t.Helper()
	r, err := c.callbackClient.Post(url, "application/json", bytes.NewReader([]byte(body)))
	Must(c.t, err)
	defer func() { _ = r.Body.Close() }()
	text, err := io.ReadAll(r.Body)
	Must(c.t, err)
	if r.StatusCode == http.StatusNoContent && len(text) > 0 {
		c.t.Errorf("204 has a body: %q", text)
	}
	return r.StatusCode
}

// PostAsync sends a callback in the background. The status is 0 if the connection broke.
func (c *Client) PostAsync(url, body string) <-chan int {
	status := make(chan int, 1)
	go func() {
		r, err := c.callbackClient.Post(url, "application/json", strings.NewReader(body))
		if err != nil {
			status <- 0
			return
		}
		_ = r.Body.Close()
		status <- r.StatusCode
	}()
	return status
}

// Fetch reads a large input from its URL.
func (c *Client) Fetch(url string) (status int, body string) {
	c.t.Helper()
	r, err := c.callbackClient.Get(url)
	Must(c.t, err)
	defer func() { _ = r.Body.Close() }()
	text, err := io.ReadAll(r.Body)
	Must(c.t, err)
	return r.StatusCode, string(text)
}

// Await receives from a channel, and fails the test after Timeout.
func Await[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(Timeout):
		t.Fatal("timeout waiting for a value")
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

// PlainURL decodes a URL from the Secret.
func PlainURL(t testing.TB, text []byte) string {
	t.Helper()
	url, err := base64.StdEncoding.DecodeString(string(text))
	Must(t, err)
	return string(url)
}
