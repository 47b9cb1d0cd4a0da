package docker_test

import (
	"context"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// proxy is a proxy between a driver and the engine. It can answer instead of the engine.
type proxy struct {
	host       string
	fake       atomic.Pointer[fakeAnswer]
	stallAfter atomic.Int64    // bytes after which the next log stalls; 0: never
	onAnswer   func(op string) // called after each response of the engine; may be nil
}

// fakeAnswer replaces the engine's responses to an operation. An empty op means all operations.
type fakeAnswer struct {
	op     string
	status int
	kind   string // Content-Type
	body   string
}

func newProxy(t *testing.T, host string, onAnswer func(op string)) *proxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "proxy") // a socket's path must be short
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	network, address, _ := strings.Cut(host, "://")
	engine := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	t.Cleanup(engine.CloseIdleConnections)
	p := &proxy{onAnswer: onAnswer}
	reverse := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "engine"})
	reverse.Transport, reverse.FlushInterval, reverse.ErrorLog = engine, -1, stdlog.New(io.Discard, "", 0)
	reverse.ModifyResponse = func(r *http.Response) error {
		if p.onAnswer != nil {
			p.onAnswer(operation(r.Request))
		}
		if operation(r.Request) == "logs" {
			if n := p.stallAfter.Swap(0); n > 0 {
				r.Body = &stallingBody{r.Body, io.LimitReader(r.Body, n), r.Request.Context()}
			}
		}
		return nil
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fake := p.fake.Load(); fake != nil && strings.Contains(r.URL.Path, "/containers/") && (fake.op == "" || fake.op == operation(r)) {
			w.Header().Set("Content-Type", fake.kind)
			w.WriteHeader(fake.status)
			_, _ = io.WriteString(w, fake.body)
			return
		}
		reverse.ServeHTTP(w, r)
	}))
	check(t, server.Listener.Close())
	server.Listener, err = net.Listen("unix", filepath.Join(dir, "docker.sock"))
	check(t, err)
	p.host = "unix://" + server.Listener.Addr().String()
	server.Start()
	t.Cleanup(server.Close)
	return p
}

// stallingBody is a response body that stalls after some bytes.
type stallingBody struct {
	io.Closer
	from io.Reader
	ctx  context.Context
}

func (s *stallingBody) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	if n == 0 && err != nil {
		<-s.ctx.Done()
	}
	return n, err
}

// operation returns the operation that a request is for: list, remove, or the last part of the path, which is json for inspect.
func operation(r *http.Request) string {
	switch {
	case r.Method == http.MethodDelete:
		return "remove"
	case strings.HasSuffix(r.URL.Path, "/containers/json"):
		return "list"
	}
	return path.Base(r.URL.Path)
}
