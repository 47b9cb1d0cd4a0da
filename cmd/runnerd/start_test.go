package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"runnerd/spool"
)

// An engine continues to create a network after the client has canceled the request.
func TestStopDuringStartRemovesTheNetwork(t *testing.T) {
	creating, canceled, exists := make(chan struct{}), make(chan struct{}), new(atomic.Bool)
	var network map[string]any // as requested
	host := fakeEngine(t, func(w http.ResponseWriter, r *http.Request) {
		name := path.Base(r.URL.Path)
		switch {
		case name == "_ping":
			w.Header().Set("API-Version", "1.44")
		case name == "version":
			fmt.Fprint(w, `{"Os": "linux"}`)
		case strings.Contains(r.URL.Path, "/images/"):
			fmt.Fprint(w, `{"Id": "sha256:0"}`)
		case name == "create":
			must(t, json.NewDecoder(r.Body).Decode(&network))
			network["Id"] = "0"
			close(creating)
			<-canceled
			exists.Store(true)
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, `{"Id": "0"}`)
		case name == "networks" && exists.Load():
			must(t, json.NewEncoder(w).Encode([]any{network}))
		case name == "networks":
			fmt.Fprint(w, "[]")
		case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/networks/") && exists.Load():
			must(t, json.NewEncoder(w).Encode(network))
		case r.Method == http.MethodDelete && exists.Swap(false):
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"message": "not found"}`)
		}
	})
	t.Setenv("DOCKER_HOST", host)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		<-creating
		stop()
		close(canceled)
	}()
	output := new(bytes.Buffer)
	code := execute(ctx, []string{"exec", "--type=a.B", "plugin"}, output, output)
	if code != exitNoResult || exists.Load() {
		t.Errorf("exit code %d, network exists: %v\n%s", code, exists.Load(), output)
	}
}

func fakeEngine(t *testing.T, answer http.HandlerFunc) (host string) {
	dir, err := os.MkdirTemp("", "engine") // short, because a socket's path is limited to 108 bytes
	must(t, err)
	socket := filepath.Join(dir, "docker.sock")
	listener, err := net.Listen("unix", socket)
	must(t, err)
	server := &http.Server{Handler: answer, ReadHeaderTimeout: testTimeout}
	go func() { _ = server.Serve(listener) }() // ends with Close
	t.Cleanup(func() {
		must(t, server.Close())
		must(t, os.RemoveAll(dir))
	})
	return "unix://" + socket
}

// A runner that was killed a moment ago may still hold its lock.
func TestStartWaitsForLockOfEndingRunner(t *testing.T) {
	d := &daemon{config: RunConfig{Self: SelfConfig{StateDir: t.TempDir()}}, log: zerolog.Nop()}
	files, err := spool.Dir(d.spoolDir())
	must(t, err)
	ending, err := spool.Open(files, spool.Options{})
	must(t, err)
	closed := make(chan error, 1)
	time.AfterFunc(time.Second, func() { closed <- ending.Close() })
	must(t, d.openSpool(t.Context()))
	must(t, <-closed)
	must(t, d.spool.Close())
}
