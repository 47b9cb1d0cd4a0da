package harness

import (
	"context"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// EngineProxy is a proxy between the runner and the engine. Its socket can be removed and created again.
type EngineProxy struct {
	Path string // of the socket

	// Intercept, when set, handles every call to the engine. op is the last part of the call's path (create, start, wait, logs, kill,
	// json), or remove for a DELETE. Intercept may answer itself, or call next and delay or corrupt its answer.
	Intercept func(op string, w http.ResponseWriter, r *http.Request, next http.HandlerFunc)

	t        *testing.T
	proxy    *httputil.ReverseProxy
	listener net.Listener
	server   *http.Server
}

// NewEngineProxy returns a proxy that does not listen yet. The test's end closes it.
func (h *Harness) NewEngineProxy(t *testing.T) *EngineProxy {
	t.Helper()
	if h == nil {
		t.Skip("no Docker Engine answers")
	}
	dir, err := os.MkdirTemp("", "proxy") // short: a socket's path has at most 108 bytes
	Must(t, err)
	network, address, _ := strings.Cut(h.Engine.DaemonHost(), "://")
	engine := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "engine"})
	proxy.Transport, proxy.FlushInterval, proxy.ErrorLog = engine, -1, stdlog.New(io.Discard, "", 0)
	p := &EngineProxy{Path: filepath.Join(dir, "docker.sock"), t: t, proxy: proxy}
	t.Cleanup(func() {
		p.Close()
		engine.CloseIdleConnections()
		Must(t, os.RemoveAll(dir))
	})
	return p
}

// Environ returns the environment variable that makes a runner use the proxy.
func (p *EngineProxy) Environ() string { return "DOCKER_HOST=unix://" + p.Path }

// Listen creates the socket.
func (p *EngineProxy) Listen() {
	p.t.Helper()
	var err error
	p.listener, err = net.Listen("unix", p.Path)
	Must(p.t, err)
	if p.server == nil {
		p.server = &http.Server{Handler: p, ReadHeaderTimeout: Timeout}
	}
	go func(s *http.Server, l net.Listener) { _ = s.Serve(l) }(p.server, p.listener) // StopListening or Close ends it
}

// StopListening removes the socket. Open connections continue.
func (p *EngineProxy) StopListening() {
	p.t.Helper()
	Must(p.t, p.listener.Close())
}

// Close closes all connections, and removes the socket if it still exists.
func (p *EngineProxy) Close() {
	if p.server != nil {
		_ = p.server.Close()
		p.server = nil
	}
}

func (p *EngineProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.Intercept == nil {
		p.proxy.ServeHTTP(w, r)
		return
	}
	op := path.Base(r.URL.Path)
	if r.Method == http.MethodDelete {
		op = "remove"
	}
	p.Intercept(op, w, r, p.proxy.ServeHTTP)
}
