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
	"runnerd/tests/rig"
)

// row is a step at which the runner is killed.
type row string

const (
	registering   row = "during registration: the request has come"
	registered    row = "during registration: the answer is not read"
	reserved      row = "before the reserve answer is read"
	taken         row = "after it, before confirm"
	confirmed     row = "after confirm, before that is known"
	creating      row = "after confirm, before the executor"
	created       row = "between container create and its record"
	starting      row = "between container create and start"
	started       row = "after the start, before that is known"
	handingOut    row = "after the hand-out is journaled, before its first byte leaves"
	working       row = "while running"
	logged        row = "after the server took log bytes, before that is noted"
	resultWritten row = "after the executor wrote its result"
	finishing     row = "with the finish on its way"
	finished      row = "after the server took the finish, before that is noted"
	cleaningUp    row = "during spool clean-up: a job"
	clearingAway  row = "during spool clean-up: an executor"
	removing      row = "with the container's removal on its way"
	atAnyMoment   row = "at random"
	recovering    row = "at random during recovery"
)

// rows are all of them, in a job's order.
var rows = []row{registering, registered, reserved, taken, confirmed, creating, created, starting, started, handingOut, working, logged,
	resultWritten, finishing, finished, cleaningUp, clearingAway, removing, atAnyMoment, recovering}

// atRandom are the rows of which nothing is seen from outside, with the longest time from the start to the kill.
var atRandom = map[row]time.Duration{atAnyMoment: 2 * time.Second, recovering: 500 * time.Millisecond}

// trap kills the runner at the row it is set for, once.
type trap struct {
	mu     sync.Mutex // held while it kills: what else happens then waits, and finds the runner dead
	at     row        // empty: it is not set
	victim *rig.Process
	sprung chan struct{}
}

// set starts the victim and kills it at this row; the channel closes when that is done.
func (t *trap) set(at row, start func() *rig.Process) <-chan struct{} {
	t.mu.Lock() // what happens before we know whom to kill waits
	defer t.mu.Unlock()
	t.at, t.victim, t.sprung = at, start(), make(chan struct{})
	return t.sprung
}

// happens kills the runner if the trap is set for this row, and reports whether it is dead now.
func (t *trap) happens(what row) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at != what || what == "" {
		return false
	}
	_ = t.victim.Command.Process.Kill()
	<-t.victim.Ended
	t.at = ""
	close(t.sprung)
	return true
}

// step is a request on its way: it has come, and it is answered.
type step struct{ come, answered row }

// pass lets the request through, unless the runner is killed at one of the rows: then it is cut off.
func (t *trap) pass(s step, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	t.stops(s.come, r)
	answer := httptest.NewRecorder()
	next(answer, r)
	if s.answered != reserved || answer.Code == http.StatusOK { // else it has brought nothing
		t.stops(s.answered, r)
	}
	for name, values := range answer.Header() {
		out.Header()[name] = values
	}
	out.WriteHeader(answer.Code)
	_, _ = out.Write(answer.Body.Bytes())
}

func (t *trap) stops(what row, r *http.Request) {
	if r.Context().Err() == nil && t.happens(what) { // else it is from the runner before
		panic(http.ErrAbortHandler)
	}
}

// front stands before the server.
func (t *trap) front(server func() *devserver.Server) func(string, http.ResponseWriter, *http.Request, http.HandlerFunc) {
	steps := map[string]step{
		"register": {registering, registered}, "reserve": {"", reserved}, "confirm": {taken, confirmed},
		"log": {"", logged}, "finish": {finishing, finished},
	}
	return func(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		s, ours := steps[op]
		if !ours {
			next(out, r)
			return
		}
		if op == "log" && isRunning(server(), path.Base(path.Dir(r.URL.Path))) {
			t.stops(working, r)
		}
		t.pass(s, out, r, next)
	}
}

func isRunning(server *devserver.Server, job string) bool {
	view, err := server.Task(job)
	return err == nil && view.State == devserver.Running
}

// door stands before the engine.
func (t *trap) door(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	steps := map[string]step{"create": {creating, created}, "start": {starting, started}, "remove": {removing, ""}}
	s, ours := steps[op]
	if !ours || !strings.Contains(r.URL.Path, "/containers/") {
		next(out, r)
		return
	}
	t.pass(s, out, r, next)
}

// watchSpool sees result files appear, and what is removed go. The directories must be there.
func (t *trap) watchSpool(test *testing.T, dir string) {
	test.Helper()
	watcher, err := fsnotify.NewWatcher()
	rig.Must(test, err)
	jobs, executors := filepath.Join(dir, "jobs"), filepath.Join(dir, "executors")
	rig.Must(test, errors.Join(watcher.Add(jobs), watcher.Add(executors)))
	var watching sync.WaitGroup
	watching.Go(func() {
		for range watcher.Errors { // what is missed happens again, with the next job
		}
	})
	watching.Go(func() {
		for e := range watcher.Events {
			switch parent := filepath.Dir(e.Name); {
			case strings.HasPrefix(filepath.Base(e.Name), "."): // not there yet: a watch on it would end when it gets its name
			case parent == jobs && e.Has(fsnotify.Rename):
				t.happens(cleaningUp)
			case parent == jobs && e.Has(fsnotify.Create):
				_ = watcher.Add(e.Name) // it may be gone already
			case filepath.Dir(parent) == jobs && filepath.Base(e.Name) == "journal" && e.Has(fsnotify.Write) && isHandedOut(e.Name):
				t.happens(handingOut)
			case parent == executors && e.Has(fsnotify.Rename):
				t.happens(clearingAway)
			case parent == executors && e.Has(fsnotify.Create):
				_ = watcher.Add(filepath.Join(e.Name, "out"))
			case filepath.Base(e.Name) == "result" && e.Has(fsnotify.Create):
				t.happens(resultWritten)
			}
		}
	})
	test.Cleanup(func() { rig.Must(test, watcher.Close()); watching.Wait() })
}

func isHandedOut(journal string) bool {
	steps, _ := os.ReadFile(journal)
	return bytes.Contains(steps, []byte("handed-out"))
}
