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

// front is a proxy between a driver and the engine, which may answer by itself, and sees the engine's answers.
type front struct {
	host   string
	lies   atomic.Pointer[lie]
	stalls atomic.Int64    // bytes after which the next log stays as it is; 0: it does not
	hears  func(op string) // is called when the engine has answered; nil: not
}

// lie is an answer to the calls of an operation that does not come from the engine; to all, if op is empty.
type lie struct {
	op     string
	status int
	kind   string
	body   string
}

func newFront(t *testing.T, host string, hears func(op string)) *front {
	t.Helper()
	dir, err := os.MkdirTemp("", "front") // a socket's path must be short
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	network, address, _ := strings.Cut(host, "://")
	engine := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	t.Cleanup(engine.CloseIdleConnections)
	f := &front{hears: hears}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "engine"})
	proxy.Transport, proxy.FlushInterval, proxy.ErrorLog = engine, -1, stdlog.New(io.Discard, "", 0)
	proxy.ModifyResponse = func(r *http.Response) error {
		if f.hears != nil {
			f.hears(operation(r.Request))
		}
		if operation(r.Request) == "logs" {
			if n := f.stalls.Swap(0); n > 0 {
				r.Body = &stalling{r.Body, io.LimitReader(r.Body, n), r.Request.Context()}
			}
		}
		return nil
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if l := f.lies.Load(); l != nil && strings.Contains(r.URL.Path, "/containers/") && (l.op == "" || l.op == operation(r)) {
			w.Header().Set("Content-Type", l.kind)
			w.WriteHeader(l.status)
			_, _ = io.WriteString(w, l.body)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	check(t, server.Listener.Close())
	server.Listener, err = net.Listen("unix", filepath.Join(dir, "docker.sock"))
	check(t, err)
	f.host = "unix://" + server.Listener.Addr().String()
	server.Start()
	t.Cleanup(server.Close)
	return f
}

// stalling is an answer that neither goes on nor ends after some bytes.
type stalling struct {
	io.Closer
	from io.Reader
	ctx  context.Context
}

func (s *stalling) Read(p []byte) (int, error) {
	n, err := s.from.Read(p)
	if n == 0 && err != nil {
		<-s.ctx.Done()
	}
	return n, err
}

// operation is list, remove, or the last part of the path: json is inspect.
func operation(r *http.Request) string {
	switch {
	case r.Method == http.MethodDelete:
		return "remove"
	case strings.HasSuffix(r.URL.Path, "/containers/json"):
		return "list"
	}
	return path.Base(r.URL.Path)
}
