package docker

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
)

// patience is for what should take a moment, on a machine that has much else to do.
const patience = 90 * time.Second

const token = "rpa_let-me-in"

// world is a server, the state directory of one runner, and that runner's processes, one after another.
type world struct {
	t      *testing.T
	config api.Config
	state  string
	marker string // in inputs, outputs and logs; nowhere else at the end
	flags  []string
	env    []string        // of the runner, besides the usual
	hold   func(op string) // may keep a request of the runner waiting; nil: none

	server  *devserver.Server
	http    *http.Server
	address string // of the server; it stays the same
	uuid    string // of the runner
	events  *eventLog
	runner  *process // nil: none runs
	said    []*process
}

// plan is what a test asks of its world.
type plan struct {
	capacity int           // 0: 4
	eviction time.Duration // 0: normal mode
	flags    []string
	env      []string
	hold     func(op string)
	noServer bool // it is away
	noRunner bool
}

func newWorld(t *testing.T, p plan) *world {
	t.Helper()
	if shop == nil {
		t.Skip("no Docker Engine answers")
	}
	w := &world{
		t: t, state: filepath.Join(t.TempDir(), "state"), marker: "marker-" + rand.Text(), flags: p.flags, env: p.env, hold: p.hold,
		config:  api.Config{Enabled: true, Capacity: cmp.Or(p.capacity, 4), EvictionSeconds: int64(p.eviction / time.Second)},
		address: freeAddress(t),
		events:  watchEvents(t),
	}
	t.Cleanup(w.end)
	if !p.noServer {
		w.startServer(token)
	}
	if !p.noRunner {
		w.start()
		w.ready()
	}
	return w
}

// freeAddress is one that nobody listens at, and hardly anybody will within the test.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	return l.Addr().String()
}

func (w *world) startServer(token string) {
	w.t.Helper()
	var err error
	w.server, err = devserver.New(devserver.Options{
		Token: token, PublicURL: w.url(), Config: w.config, TypeDefinitions: [][]byte{shop.types}, Log: zerolog.Nop(),
		Intercept: func(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if w.hold != nil {
				w.hold(op)
			}
			next(out, r)
		},
	})
	must(w.t, err)
	listener, err := net.Listen("tcp", w.address)
	must(w.t, err)
	w.http = &http.Server{Handler: w.server.Handler(), ReadHeaderTimeout: patience}
	go func() { _ = w.http.Serve(listener) }() // ends by stopServer, which tells
}

func (w *world) stopServer() {
	if w.server == nil {
		return
	}
	w.server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.http.Shutdown(ctx); err != nil {
		w.t.Errorf("stop the server: %v", err)
	}
	w.server = nil
}

func (w *world) url() string { return "http://" + w.address }

// submit returns the task's id.
func (w *world) submit(image, taskType string, properties map[string]any) string {
	w.t.Helper()
	return w.submitTask(devserver.TaskRequest{Image: image, TaskType: taskType, Properties: properties})
}

func (w *world) submitTask(request devserver.TaskRequest) string {
	w.t.Helper()
	id, err := w.server.Submit(request)
	must(w.t, err)
	return id
}

// done is the task once it is done, and its whole log.
func (w *world) done(id string) (devserver.TaskView, string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, errors.New("not done in time"))
	defer cancel()
	view, err := w.server.WaitLog(ctx, id)
	if err != nil {
		view, _ = w.server.Task(id)
		w.t.Fatalf("task %s, %s: %v: %+v\n%s", id, view.TaskType, err, view, w.runner.tail())
	}
	return view, w.log(id)
}

// completed fails the test if the task is anything else.
func (w *world) completed(id string) (devserver.TaskView, string) {
	w.t.Helper()
	view, log := w.done(id)
	if view.State != devserver.Completed {
		w.t.Fatalf("task %s is %s: %s\n%s", view.TaskType, view.State, view.Message, log)
	}
	return view, log
}

// log is what the server has of a task's.
func (w *world) log(id string) string {
	w.t.Helper()
	return fetch(w.t, w.url()+"/api/tasks/"+id+"/log", http.StatusOK)
}

// says waits until the task's log has a text in it.
func (w *world) says(id, text string) {
	w.t.Helper()
	until(w.t, "the log of "+id+" says "+text, func() bool { return strings.Contains(w.log(id), text) })
}

func fetch(t *testing.T, url string, status int) string {
	t.Helper()
	answer, err := http.Get(url)
	must(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(t, err)
	if answer.StatusCode != status {
		t.Fatalf("%s answers %s: %s", url, answer.Status, text)
	}
	return string(text)
}

// until waits for what only looking can tell.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.After(patience)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for !so() {
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("it never was so that %s", what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// onDisk lists the files below the state directory in which text stands.
func (w *world) onDisk(text string) (files []string) {
	err := filepath.WalkDir(w.state, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(text)) || strings.Contains(path, text) {
			files = append(files, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Errorf("look for the marker: %v", err)
	}
	return files
}
