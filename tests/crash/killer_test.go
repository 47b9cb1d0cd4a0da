package crash

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"runnerd/infra/devserver"
	"runnerd/tests/harness"
)

// killPoint is a step at which the runner is killed.
type killPoint string

const (
	registering        killPoint = "during registration: the request was received"
	registered         killPoint = "during registration: the answer is not read"
	reserved           killPoint = "before the reserve answer is read"
	taken              killPoint = "after the reserve answer, before confirm"
	confirmed          killPoint = "after confirm, before the runner knows"
	creating           killPoint = "after confirm, before the executor"
	created            killPoint = "between container create and its record"
	starting           killPoint = "between container create and start"
	started            killPoint = "after the start, before the runner knows"
	handingOut         killPoint = "after the hand-out is journaled, before its first byte leaves"
	working            killPoint = "while running"
	logged             killPoint = "after the server took log bytes, before that is recorded"
	resultWritten      killPoint = "after the executor wrote its result"
	finishing          killPoint = "while the finish is sent"
	finished           killPoint = "after the server took the finish, before that is recorded"
	cleaningUpJob      killPoint = "during spool cleanup: a job"
	cleaningUpExecutor killPoint = "during spool cleanup: an executor"
	removing           killPoint = "while the container is removed"
	atAnyMoment        killPoint = "at random"
	recovering         killPoint = "at random during recovery"
)

// killPoints lists all kill points, in the order of a job's life.
var killPoints = []killPoint{registering, registered, reserved, taken, confirmed, creating, created, starting, started, handingOut, working, logged,
	resultWritten, finishing, finished, cleaningUpJob, cleaningUpExecutor, removing, atAnyMoment, recovering}

// randomPoints are the kill points that cannot be observed from outside, with the longest time from the start to the kill.
var randomPoints = map[killPoint]time.Duration{atAnyMoment: 2 * time.Second, recovering: 500 * time.Millisecond}

// killer kills the runner once when a given kill point is reached.
type killer struct {
	mu     sync.Mutex // held during the kill, so that concurrent events wait and find the runner dead
	point  killPoint  // empty if not armed
	victim *harness.Process
	killed chan struct{}
}

// arm starts the victim, which the killer will kill at the kill point. The channel is closed after the kill.
func (k *killer) arm(p killPoint, start func() *harness.Process) <-chan struct{} {
	k.mu.Lock() // events wait until the victim is known
	defer k.mu.Unlock()
	k.point, k.victim, k.killed = p, start(), make(chan struct{})
	return k.killed
}

// reached kills the runner if the killer is armed for this kill point, and reports whether it did.
func (k *killer) reached(p killPoint) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.point != p || p == "" {
		return false
	}
	_ = k.victim.Command.Process.Kill()
	<-k.victim.Exited
	k.point = ""
	close(k.killed)
	return true
}

// requestPoints are the kill points of a request: when it is received, and before its answer is sent. Either may be empty.
type requestPoints struct{ received, answered killPoint }

// serve forwards the request. If the runner is killed at one of the kill points, it cuts the connection.
func (k *killer) serve(p requestPoints, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	k.interrupt(p.received, r)
	answer := httptest.NewRecorder()
	next(answer, r)
	if p.answered != reserved || answer.Code == http.StatusOK { // a reserve without a job is not a kill point
		k.interrupt(p.answered, r)
	}
	for name, values := range answer.Header() {
		out.Header()[name] = values
	}
	out.WriteHeader(answer.Code)
	_, _ = out.Write(answer.Body.Bytes())
}

func (k *killer) interrupt(p killPoint, r *http.Request) {
	if r.Context().Err() == nil && k.reached(p) { // a canceled request is from the previous runner
		panic(http.ErrAbortHandler)
	}
}

// interceptServer returns a devserver.Options.Intercept that kills the runner at the kill points of its requests to the server.
func (k *killer) interceptServer(server func() *devserver.Server) func(string, http.ResponseWriter, *http.Request, http.HandlerFunc) {
	points := map[string]requestPoints{
		"register": {registering, registered}, "reserve": {"", reserved}, "confirm": {taken, confirmed},
		"log": {"", logged}, "finish": {finishing, finished},
	}
	return func(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		p, known := points[op]
		if !known {
			next(out, r)
			return
		}
		if op == "log" && isRunning(server(), path.Base(path.Dir(r.URL.Path))) {
			k.interrupt(working, r)
		}
		k.serve(p, out, r, next)
	}
}

func isRunning(server *devserver.Server, job string) bool {
	view, err := server.Task(job)
	return err == nil && view.State == devserver.Running
}

// interceptEngine is an EngineProxy.Intercept that kills the runner at the kill points of its requests to the engine.
func (k *killer) interceptEngine(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	points := map[string]requestPoints{"create": {creating, created}, "start": {starting, started}, "remove": {removing, ""}}
	p, known := points[op]
	if !known || !strings.Contains(r.URL.Path, "/containers/") {
		next(out, r)
		return
	}
	k.serve(p, out, r, next)
}

// watchSpool observes hand-outs, new result files and removals in the spool. Its directories must exist.
func (k *killer) watchSpool(t *testing.T, dir string) {
	t.Helper()
	watcher, err := fsnotify.NewWatcher()
	harness.Must(t, err)
	jobs, executors := filepath.Join(dir, "jobs"), filepath.Join(dir, "executors")
	harness.Must(t, errors.Join(watcher.Add(jobs), watcher.Add(executors)))
	var watching sync.WaitGroup
	watching.Go(func() {
		for range watcher.Errors { // a missed event happens again with the next job
		}
	})
	watching.Go(func() {
		for e := range watcher.Events {
			switch parent := filepath.Dir(e.Name); {
			case strings.HasPrefix(filepath.Base(e.Name), "."): // preallocated: a watch on it would end at its rename
			case parent == jobs && e.Has(fsnotify.Rename):
				k.reached(cleaningUpJob)
			case parent == jobs && e.Has(fsnotify.Create):
				_ = watcher.Add(e.Name) // the directory may be removed already
			case filepath.Dir(parent) == jobs && filepath.Base(e.Name) == "journal" && e.Has(fsnotify.Write) && isHandedOut(e.Name):
				k.reached(handingOut)
			case parent == executors && e.Has(fsnotify.Rename):
				k.reached(cleaningUpExecutor)
			case parent == executors && e.Has(fsnotify.Create):
				_ = watcher.Add(filepath.Join(e.Name, "out"))
			case filepath.Base(e.Name) == "result" && e.Has(fsnotify.Create):
				k.reached(resultWritten)
			}
		}
	})
	t.Cleanup(func() { harness.Must(t, watcher.Close()); watching.Wait() })
}

func isHandedOut(journal string) bool {
	steps, _ := os.ReadFile(journal)
	return bytes.Contains(steps, []byte("handed-out"))
}
