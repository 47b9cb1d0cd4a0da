package rig

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
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
)

// Patience is for what should take a moment, on a machine that has much else to do.
const Patience = 5 * time.Minute

// Token is the one that runners register with.
const Token = "rpa_let-me-in"

// World is a server, the state directory of one runner, and that runner's processes, one after another. At the test's end it
// drains the runner and looks at what is left.
type World struct {
	T      *testing.T
	Marker string // in inputs, outputs and logs; nowhere else at the end
	State  string // the runner's directory

	Server  *devserver.Server // nil: it is away
	Address string            // of the server; it stays the same
	UUID    string            // of the runner, once it has been ready
	Untold  []string          // tasks whose end the server need not hear of
	Runner  *Process          // nil: none runs

	Command func(args ...string) *exec.Cmd // how the runner is started; at first, the shop's

	shop   *Shop
	plan   Plan
	http   *http.Server
	events *Events
	said   []*Process
}

// Plan is what a test asks of its world.
type Plan struct {
	Capacity int           // 0: 4
	Eviction time.Duration // 0: normal mode
	Lease    time.Duration // of an offer; 0: the server's default
	Flags    []string
	Env      []string // of the runner, besides the usual
	NoServer bool     // it is away
	NoRunner bool

	// Front, when set, stands between the runner and the server: devserver.Options.Intercept.
	Front func(op string, w http.ResponseWriter, r *http.Request, next http.HandlerFunc)
}

// World makes one; without an engine the test is skipped.
func (s *Shop) World(t *testing.T, p Plan) *World {
	t.Helper()
	if s == nil {
		t.Skip("no Docker Engine answers")
	}
	w := &World{
		T: t, Marker: "marker-" + rand.Text(), State: filepath.Join(t.TempDir(), "state"),
		Address: FreeAddress(t), shop: s, plan: p, events: s.Watch(t),
		Command: func(args ...string) *exec.Cmd { return exec.Command(s.Runnerd, args...) },
	}
	t.Cleanup(w.end)
	if !p.NoServer {
		w.StartServer(Token)
	}
	if !p.NoRunner {
		w.Start()
		w.Ready()
	}
	return w
}

// StartServer starts a development server that takes this token. It knows nothing of the one before.
func (w *World) StartServer(token string) {
	w.T.Helper()
	var err error
	w.Server, err = devserver.New(devserver.Options{
		Token: token, PublicURL: w.URL(), TypeDefinitions: w.shop.Types, Log: zerolog.Nop(),
		Config: api.Config{Enabled: true, Capacity: cmp.Or(w.plan.Capacity, 4), EvictionSeconds: int64(w.plan.Eviction / time.Second)},
		Lease:  w.plan.Lease, Intercept: w.plan.Front,
	})
	Must(w.T, err)
	listener, err := net.Listen("tcp", w.Address)
	Must(w.T, err)
	w.http = &http.Server{Handler: w.Server.Handler(), ReadHeaderTimeout: Patience}
	go func() { _ = w.http.Serve(listener) }() // ends by StopServer, which tells
}

// StopServer takes it away; the runner is not told.
func (w *World) StopServer() {
	if w.Server == nil {
		return
	}
	w.Server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := w.http.Shutdown(ctx); err != nil {
		w.T.Errorf("stop the server: %v", err)
	}
	w.Server = nil
}

// URL is the server's.
func (w *World) URL() string { return "http://" + w.Address }

// Spool is the directory of it.
func (w *World) Spool() string { return filepath.Join(w.State, "spool") }

// Submit returns the task's id.
func (w *World) Submit(image, taskType string, properties map[string]any) string {
	w.T.Helper()
	return w.SubmitTask(devserver.TaskRequest{Image: image, TaskType: taskType, Properties: properties})
}

// SubmitTask is Submit with all that can be said of a task.
func (w *World) SubmitTask(request devserver.TaskRequest) string {
	w.T.Helper()
	id, err := w.Server.Submit(request)
	Must(w.T, err)
	return id
}

// Finished is the task once it is done; its log may still grow.
func (w *World) Finished(id string) devserver.TaskView {
	w.T.Helper()
	return w.wait(id, w.Server.Wait)
}

// Done is the task once it is done, and its whole log.
func (w *World) Done(id string) (devserver.TaskView, string) {
	w.T.Helper()
	return w.wait(id, w.Server.WaitLog), w.Log(id)
}

func (w *World) wait(id string, over func(context.Context, string) (devserver.TaskView, error)) devserver.TaskView {
	w.T.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), Patience, errors.New("not done in time"))
	defer cancel()
	view, err := over(ctx, id)
	if err != nil {
		view, _ = w.Server.Task(id)
		w.T.Fatalf("task %s, %s: %v: %+v\n%s", id, view.TaskType, err, view, w.Runner.Tail())
	}
	return view
}

// Completed fails the test if the task is anything else.
func (w *World) Completed(id string) (devserver.TaskView, string) {
	w.T.Helper()
	view, log := w.Done(id)
	if view.State != devserver.Completed {
		w.T.Fatalf("task %s is %s: %s\n%s", view.TaskType, view.State, view.Message, log)
	}
	return view, log
}

// Log is what the server has of a task's.
func (w *World) Log(id string) string {
	w.T.Helper()
	return Fetch(w.T, w.URL()+"/api/tasks/"+id+"/log", http.StatusOK)
}

// Says waits until the task's log has a text in it.
func (w *World) Says(id, text string) {
	w.T.Helper()
	Until(w.T, "the log of "+id+" says "+text, func() bool { return strings.Contains(w.Log(id), text) })
}

// Fetch returns what is answered, which must be with this status.
func Fetch(t *testing.T, url string, status int) string {
	t.Helper()
	answer, err := http.Get(url)
	Must(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	Must(t, err)
	if answer.StatusCode != status {
		t.Fatalf("%s answers %s: %s", url, answer.Status, text)
	}
	return string(text)
}

// Until waits for what only looking can tell.
func Until(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.After(Patience)
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

// Must is for errors that no test expects.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// OnDisk lists the files below the state directory in which text stands.
func (w *World) OnDisk(text string) (files []string) {
	err := filepath.WalkDir(w.State, func(path string, entry os.DirEntry, err error) error {
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
		w.T.Errorf("look for the marker: %v", err)
	}
	return files
}
