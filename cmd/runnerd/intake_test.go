package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
	"runnerd/spool"
)

// serveWith makes the manager's runners use a development server with these options.
func (m *manager) serveWith(o devserver.Options) *devserver.Server {
	m.t.Helper()
	var handler atomic.Value
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.Load().(http.Handler).ServeHTTP(w, r)
	}))
	o.Token, o.PublicURL, o.Log = "t", front.URL, zerolog.Nop()
	server, err := devserver.New(o)
	must(m.t, err)
	handler.Store(server.Handler())
	m.t.Cleanup(func() {
		server.Close()
		front.CloseClientConnections()
		front.Close()
	})
	m.server.url = front.URL
	return server
}

// writePlugin writes a plugin that ends at once.
func writePlugin(t *testing.T) (flag string) {
	t.Helper()
	plugin := filepath.Join(t.TempDir(), "plugin")
	must(t, os.WriteFile(plugin, []byte("#!/bin/sh\nexit 3\n"), 0o700))
	return "--process-image=plugin=" + plugin
}

func submitTasks(t *testing.T, server *devserver.Server, n int) (ids []string) {
	t.Helper()
	for range n {
		id, err := server.Submit(devserver.TaskRequest{Image: "plugin", TaskType: "sample.Hello"})
		must(t, err)
		ids = append(ids, id)
	}
	return ids
}

// waitFailed waits until the tasks have ended, as the plugin of writePlugin ends them.
func waitFailed(t *testing.T, server *devserver.Server, ids []string) {
	t.Helper()
	for _, id := range ids {
		view, err := server.WaitLog(t.Context(), id)
		must(t, err)
		if view.Outcome != api.OutcomeFailed {
			t.Errorf("the job is %s: %s", view.Outcome, view.Message)
		}
	}
}

// Inputs that arrived one byte at a time occupied all free slots for ever.
func TestSlowInputsBlockNoOtherJob(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	var fetches atomic.Int32
	server := m.serveWith(devserver.Options{
		Config: api.Config{Enabled: true, Capacity: 2, EvictionSeconds: 60}, Lease: 15 * time.Second, MaxInlineInput: 1,
		Intercept: func(op string, w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if op != "input" || fetches.Add(1) > 2 {
				next(w, r)
				return
			}
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, "a")
				_ = http.NewResponseController(w).Flush()
				time.Sleep(500 * time.Millisecond)
			}
		},
	})
	m.start(writePlugin(t))
	began := time.Now()
	slow := submitTasks(t, server, 2)
	for fetches.Load() < 2 {
		time.Sleep(10 * time.Millisecond)
	}
	waitFailed(t, server, submitTasks(t, server, 1))
	t.Logf("the other job ended after %v", time.Since(began))
	waitFailed(t, server, slow)
}

// A runner without free inodes reserved 499 jobs within seconds and confirmed none.
func TestRunnerWithoutInodesReservesNothing(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("nr_inodes=%d", 2*spool.RequiredInodes)); err != nil {
		t.Skip("a file system with few inodes cannot be mounted: ", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	m.state = filepath.Join(dir, "state")
	var reserves atomic.Int32
	server := m.serveWith(devserver.Options{
		Config: api.Config{Enabled: true, Capacity: 2, EvictionSeconds: 60},
		Intercept: func(op string, w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if op == "reserve" {
				reserves.Add(1)
			}
			next(w, r)
		},
	})
	m.start(writePlugin(t), "--low-water=1MiB")
	waitFailed(t, server, submitTasks(t, server, 1)) // the control

	others := filepath.Join(dir, "others")
	must(t, os.Mkdir(others, 0o700))
	for n := 0; ; n++ {
		if err := os.WriteFile(filepath.Join(others, fmt.Sprint(n)), nil, 0o600); err != nil {
			break
		}
	}
	before := reserves.Load()
	ids := submitTasks(t, server, 500)
	m.waitForStatus("inodes free, 1000 needed to take jobs")
	time.Sleep(3 * time.Second)
	if n := reserves.Load() - before; n > 4 { // those that were under way
		t.Errorf("%d reserves without a free inode", n)
	}
	must(t, os.RemoveAll(others))
	waitFailed(t, server, ids[len(ids)-1:])
	m.waitForStatus(" is online")
}

// waitForStatus waits until the status has a text.
func (m *manager) waitForStatus(text string) {
	m.t.Helper()
	var output []byte
	for deadline := time.Now().Add(testTimeout); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		output, _ = exec.Command("runnerd", "status", "--state-dir", m.state).CombinedOutput() // only the output counts
		if strings.Contains(string(output), text) {
			return
		}
	}
	m.t.Fatalf("the status has no %q:\n%s", text, output)
}
