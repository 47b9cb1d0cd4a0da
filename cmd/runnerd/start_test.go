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
)

// An engine goes on with a network that it has begun to make, whether or not who asked still waits for it.
func TestAStopInMidStartLeavesNoNetworkInTheEngine(t *testing.T) {
	making, heard, made := make(chan struct{}), make(chan struct{}), new(atomic.Bool)
	var about map[string]any // the network, as it was asked for
	host := engineOfATest(t, func(w http.ResponseWriter, r *http.Request) {
		at := path.Base(r.URL.Path)
		switch {
		case at == "_ping":
			w.Header().Set("API-Version", "1.44")
		case at == "version":
			fmt.Fprint(w, `{"Os": "linux"}`)
		case strings.Contains(r.URL.Path, "/images/"):
			fmt.Fprint(w, `{"Id": "sha256:0"}`)
		case at == "create":
			must(t, json.NewDecoder(r.Body).Decode(&about))
			about["Id"] = "0"
			close(making)
			<-heard
			made.Store(true)
			w.WriteHeader(http.StatusCreated)
			fmt.Fprint(w, `{"Id": "0"}`)
		case at == "networks" && made.Load():
			must(t, json.NewEncoder(w).Encode([]any{about}))
		case at == "networks":
			fmt.Fprint(w, "[]")
		case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/networks/") && made.Load():
			must(t, json.NewEncoder(w).Encode(about))
		case r.Method == http.MethodDelete && made.Swap(false):
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"message": "there is none"}`)
		}
	})
	t.Setenv("DOCKER_HOST", host)
	ctx, stop := context.WithCancel(t.Context())
	go func() {
		<-making
		stop()
		close(heard)
	}()
	said := new(bytes.Buffer)
	code := execute(ctx, []string{"exec", "--type=a.B", "plugin"}, said, said)
	if code != exitNoResult || made.Load() {
		t.Errorf("it ends with code %d; a network is left: %v\n%s", code, made.Load(), said)
	}
}

func engineOfATest(t *testing.T, answer http.HandlerFunc) (host string) {
	dir, err := os.MkdirTemp("", "engine") // short: a socket's path has 108 bytes
	must(t, err)
	socket := filepath.Join(dir, "docker.sock")
	listener, err := net.Listen("unix", socket)
	must(t, err)
	server := &http.Server{Handler: answer, ReadHeaderTimeout: patience}
	go func() { _ = server.Serve(listener) }() // ends with Close
	t.Cleanup(func() {
		must(t, server.Close())
		must(t, os.RemoveAll(dir))
	})
	return "unix://" + socket
}
