package harness

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

// Timeout bounds waits that are usually short. It is long because the machine may be busy.
const Timeout = 5 * time.Minute

// Token is the token with which runners register.
const Token = "rpa_let-me-in"

// Env is the environment of one test: a server, the state directory of one runner, and that runner's processes, one after another. At
// the test's end it drains the runner and checks that nothing is left.
type Env struct {
	T        *testing.T
	Marker   string // is in inputs, outputs and logs; at the end, no file in StateDir may contain it
	StateDir string // the runner's directory

	Server        *devserver.Server // nil: stopped
	ServerAddress string            // stays the same when the server restarts
	UUID          string            // of the runner; set once it has been ready
	Unreported    []string          // tasks whose end may stay unreported
	Runner        *Process          // nil: not running

	Command func(args ...string) *exec.Cmd // returns the command of a runner; by default it runs Harness.Runnerd

	harness   *Harness
	options   Options
	http      *http.Server
	events    *EventLog
	processes []*Process
}

// Options are the options of an Env.
type Options struct {
	Capacity int           // 0: 4
	Eviction time.Duration // 0: single-job mode
	Lease    time.Duration // of an offer; 0: the server's default
	Flags    []string
	Environ  []string // additional environment variables of the runner
	NoServer bool     // do not start a server
	NoRunner bool     // do not start a runner

	// Intercept, when set, handles the runner's requests to the server (devserver.Options.Intercept).
	Intercept func(op string, w http.ResponseWriter, r *http.Request, next http.HandlerFunc)
}

// NewEnv returns a new Env. It skips the test if there is no Docker Engine.
func (h *Harness) NewEnv(t *testing.T, p Options) *Env {
	t.Helper()
	if h == nil {
		t.Skip("no Docker Engine answers")
	}
	e := &Env{
		T: t, Marker: "marker-" + rand.Text(), StateDir: filepath.Join(t.TempDir(), "state"),
		ServerAddress: FreeAddress(t), harness: h, options: p, events: h.WatchEvents(t),
		Command: func(args ...string) *exec.Cmd { return exec.Command(h.Runnerd, args...) },
	}
	t.Cleanup(e.close)
	if !p.NoServer {
		e.StartServer(Token)
	}
	if !p.NoRunner {
		e.Start()
		e.WaitReady()
	}
	return e
}

// StartServer starts a new development server that accepts this token. It has no state of an earlier server.
func (e *Env) StartServer(token string) {
	e.T.Helper()
	var err error
	e.Server, err = devserver.New(devserver.Options{
		Token: token, PublicURL: e.URL(), TypeDefinitions: e.harness.Types, Log: zerolog.Nop(),
		Config: api.Config{Enabled: true, Capacity: cmp.Or(e.options.Capacity, 4), EvictionSeconds: int64(e.options.Eviction / time.Second)},
		Lease:  e.options.Lease, Intercept: e.options.Intercept,
	})
	Must(e.T, err)
	listener, err := net.Listen("tcp", e.ServerAddress)
	Must(e.T, err)
	e.http = &http.Server{Handler: e.Server.Handler(), ReadHeaderTimeout: Timeout}
	go func() { _ = e.http.Serve(listener) }() // StopServer ends it and reports its error
}

// StopServer stops the server without notifying the runner.
func (e *Env) StopServer() {
	if e.Server == nil {
		return
	}
	e.Server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	if err := e.http.Shutdown(ctx); err != nil {
		e.T.Errorf("stop the server: %v", err)
	}
	e.Server = nil
}

// URL returns the server's URL.
func (e *Env) URL() string { return "http://" + e.ServerAddress }

// Spool returns the path of the spool.
func (e *Env) Spool() string { return filepath.Join(e.StateDir, "spool") }

// Submit submits a task and returns its id.
func (e *Env) Submit(image, taskType string, properties map[string]any) string {
	e.T.Helper()
	return e.SubmitTask(devserver.TaskRequest{Image: image, TaskType: taskType, Properties: properties})
}

// SubmitTask is like Submit, with all fields of the request.
func (e *Env) SubmitTask(request devserver.TaskRequest) string {
	e.T.Helper()
	id, err := e.Server.Submit(request)
	Must(e.T, err)
	return id
}

// WaitFinished waits until the task is finished. Its log may still grow.
func (e *Env) WaitFinished(id string) devserver.TaskView {
	e.T.Helper()
	return e.wait(id, e.Server.Wait)
}

// WaitDone waits until the task is finished and its log is complete, and returns both.
func (e *Env) WaitDone(id string) (devserver.TaskView, string) {
	e.T.Helper()
	return e.wait(id, e.Server.WaitLog), e.TaskLog(id)
}

func (e *Env) wait(id string, done func(context.Context, string) (devserver.TaskView, error)) devserver.TaskView {
	e.T.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), Timeout, errors.New("not done in time"))
	defer cancel()
	view, err := done(ctx, id)
	if err != nil {
		view, _ = e.Server.Task(id)
		e.T.Fatalf("task %s, %s: %v: %+v\n%s", id, view.TaskType, err, view, e.Runner.LogTail())
	}
	return view
}

// WaitCompleted is like WaitDone, and fails the test if the task has not completed.
func (e *Env) WaitCompleted(id string) (devserver.TaskView, string) {
	e.T.Helper()
	view, log := e.WaitDone(id)
	if view.State != devserver.Completed {
		e.T.Fatalf("task %s is %s: %s\n%s", view.TaskType, view.State, view.Message, log)
	}
	return view, log
}

// TaskLog returns the log of a task as far as the server has it.
func (e *Env) TaskLog(id string) string {
	e.T.Helper()
	return Fetch(e.T, e.URL()+"/api/tasks/"+id+"/log", http.StatusOK)
}

// WaitTaskLog waits until the task's log contains text.
func (e *Env) WaitTaskLog(id, text string) {
	e.T.Helper()
	WaitUntil(e.T, "the log of task "+id+" contains "+text, func() bool { return strings.Contains(e.TaskLog(id), text) })
}

// Fetch returns the body of a GET. It fails the test if the answer has another status.
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

// WaitUntil polls condition until it is true. It fails the test after Timeout; what describes the condition.
func WaitUntil(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(Timeout)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("timeout after %v waiting until %s", Timeout, what)
		}
	}
}

// Must fails the test if err is not nil.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// FilesContaining lists the files below the state directory that have text in their content or path.
func (e *Env) FilesContaining(text string) (files []string) {
	err := filepath.WalkDir(e.StateDir, func(path string, entry os.DirEntry, err error) error {
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
		e.T.Errorf("search the state directory: %v", err)
	}
	return files
}
