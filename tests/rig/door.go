package rig

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

// Door stands between the runner and the engine: a socket that is there or not.
type Door struct {
	Path string

	// Front, when set, stands between the runner and every call of the engine; op is the last part of its path: create, start,
	// wait, logs, kill, json; remove is a DELETE. It may answer itself, or call next and hold or spoil its answer.
	Front func(op string, w http.ResponseWriter, r *http.Request, next http.HandlerFunc)

	t        *testing.T
	proxy    *httputil.ReverseProxy
	listener net.Listener
	server   *http.Server
}

// Door makes one that is shut. Its end cuts what still goes through it.
func (s *Shop) Door(t *testing.T) *Door {
	t.Helper()
	if s == nil {
		t.Skip("no Docker Engine answers")
	}
	dir, err := os.MkdirTemp("", "door") // short: a socket's path has 108 bytes
	Must(t, err)
	network, address, _ := strings.Cut(s.Engine.DaemonHost(), "://")
	engine := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "engine"})
	proxy.Transport, proxy.FlushInterval, proxy.ErrorLog = engine, -1, stdlog.New(io.Discard, "", 0) // who was cut off knows
	d := &Door{Path: filepath.Join(dir, "docker.sock"), t: t, proxy: proxy}
	t.Cleanup(func() {
		d.Cut()
		engine.CloseIdleConnections()
		Must(t, os.RemoveAll(dir))
	})
	return d
}

// Env leads a runner to the door.
func (d *Door) Env() string { return "DOCKER_HOST=unix://" + d.Path }

// Lift makes the socket; it leads to the real engine.
func (d *Door) Lift() {
	d.t.Helper()
	var err error
	d.listener, err = net.Listen("unix", d.Path)
	Must(d.t, err)
	if d.server == nil {
		d.server = &http.Server{Handler: d, ReadHeaderTimeout: Patience}
	}
	go func(s *http.Server, l net.Listener) { _ = s.Serve(l) }(d.server, d.listener) // ends by Shut
}

// Shut takes the socket away; what goes through it already goes on.
func (d *Door) Shut() {
	d.t.Helper()
	Must(d.t, d.listener.Close())
}

// Cut ends what goes through it, and takes the socket away if it is there still.
func (d *Door) Cut() {
	if d.server != nil {
		_ = d.server.Close()
		d.server = nil
	}
}

func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d.Front == nil {
		d.proxy.ServeHTTP(w, r)
		return
	}
	op := path.Base(r.URL.Path)
	if r.Method == http.MethodDelete {
		op = "remove"
	}
	d.Front(op, w, r, d.proxy.ServeHTTP)
}
