package docker

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/tests/rig"
)

// spoiler answers instead of the server, or lets it answer in its own way; met is called when it has.
type spoiler func(out http.ResponseWriter, r *http.Request, next http.HandlerFunc, met func())

// weather is what the line to the server is like.
type weather struct {
	now     atomic.Pointer[spoiler] // nil: fine
	spoiled atomic.Int32            // requests
}

func (w *weather) front(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	spoil := w.now.Load()
	if spoil == nil || op == "events" {
		next(out, r)
		return
	}
	(*spoil)(out, r, next, func() { w.spoiled.Add(1) })
}

func (w *weather) turns(s spoiler) { w.spoiled.Store(0); w.now.Store(&s) }
func (w *weather) clears()         { w.now.Store(nil) }

func answers(status int, header, value, body string) spoiler {
	return func(out http.ResponseWriter, _ *http.Request, _ http.HandlerFunc, met func()) {
		met()
		out.Header().Set(header, value)
		out.WriteHeader(status)
		_, _ = io.WriteString(out, body)
	}
}

// slowly lets a kilobyte a second through, either way.
func slowly(out http.ResponseWriter, r *http.Request, next http.HandlerFunc, met func()) {
	met()
	r.Body = struct {
		io.Reader
		io.Closer
	}{slow{r.Body}, r.Body}
	answer := httptest.NewRecorder()
	next(answer, r)
	for name, values := range answer.Header() {
		out.Header()[name] = values
	}
	out.WriteHeader(answer.Code)
	_, _ = io.Copy(out, slow{answer.Body})
}

type slow struct{ io.Reader }

func (s slow) Read(p []byte) (int, error) {
	const each = 100 * time.Millisecond
	<-time.After(each)
	return s.Reader.Read(p[:min(len(p), 1<<10*int(each)/int(time.Second))])
}

// twice offers once more what was offered last.
func twice() spoiler {
	var last atomic.Pointer[httptest.ResponseRecorder]
	return func(out http.ResponseWriter, r *http.Request, next http.HandlerFunc, met func()) {
		if path.Base(r.URL.Path) != "reserve" {
			next(out, r)
			return
		}
		answer := last.Swap(nil)
		if answer != nil {
			met()
		} else {
			answer = httptest.NewRecorder()
			next(answer, r)
			if answer.Code == http.StatusOK {
				last.Store(answer)
			}
		}
		for name, values := range answer.Header() {
			out.Header()[name] = values
		}
		out.WriteHeader(answer.Code)
		_, _ = out.Write(answer.Body.Bytes())
	}
}

func TestAServerThatMisbehavesCostsNoJobAndNeedsNoRestart(t *testing.T) {
	t.Parallel()
	sky := &weather{}
	w := shop.World(t, rig.Plan{Capacity: 3, Eviction: time.Minute, Lease: 2 * time.Second, Front: sky.front})
	bell := w.Bell()
	runner := w.Runner
	for _, row := range []struct {
		server string
		does   func(over <-chan struct{}) spoiler
	}{
		{"fails", func(<-chan struct{}) spoiler { return answers(500, "Content-Type", "text/plain", "no") }},
		{"is busy", func(<-chan struct{}) spoiler { return answers(429, "Retry-After", "1", "") }},
		{"forgets the runner", func(<-chan struct{}) spoiler { return answers(401, "Content-Type", "text/plain", "who?") }},
		{"forbids everything", func(<-chan struct{}) spoiler { return answers(403, "Content-Type", "text/plain", "no") }},
		{"is a proxy's page", func(<-chan struct{}) spoiler {
			return answers(200, "Content-Type", "text/html", "<html><h1>Welcome</h1></html>")
		}},
		{"cuts every connection", func(<-chan struct{}) spoiler {
			return func(_ http.ResponseWriter, _ *http.Request, _ http.HandlerFunc, met func()) {
				met()
				panic(http.ErrAbortHandler)
			}
		}},
		{"does what it is asked and its answers are lost", func(<-chan struct{}) spoiler {
			return func(_ http.ResponseWriter, r *http.Request, next http.HandlerFunc, met func()) {
				met()
				next(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			}
		}},
		{"says nothing at all", func(over <-chan struct{}) spoiler {
			return func(_ http.ResponseWriter, _ *http.Request, _ http.HandlerFunc, met func()) {
				met()
				<-over
				panic(http.ErrAbortHandler)
			}
		}},
		{"has a line of 1 KB/s", func(<-chan struct{}) spoiler { return slowly }},
		{"offers every job twice", func(<-chan struct{}) spoiler { return twice() }},
	} {
		t.Run(row.server, func(t *testing.T) {
			over := make(chan struct{})
			stored := len(w.Lines("result stored"))
			names := []string{row.server + ", first", row.server + ", second", row.server + ", third"}
			jobs := []string{bell.Ring(w, shop.Blue, names[0], 20, stepTime)}
			w.Says(jobs[0], "step 2 of ")
			sky.turns(row.does(over))
			jobs = append(jobs, bell.Ring(w, shop.Blue, names[1], 10, stepTime))
			rig.Until(t, "a poll that waits already has taken it", func() bool {
				view, err := w.Server.Task(jobs[1])
				return err == nil && view.State != devserver.Queued
			})
			jobs = append(jobs, bell.Ring(w, shop.Blue, names[2], 10, stepTime)) // so this one is for a poll that the server spoils
			rig.Until(t, "the job that runs has its result", func() bool { return len(w.Lines("result stored")) > stored })
			rig.Until(t, "the runner has met it", func() bool { return sky.spoiled.Load() > 0 })
			close(over)
			sky.clears()
			for _, id := range jobs {
				if _, log := w.Completed(id); !strings.Contains(log, "Finished executing runner function") {
					t.Errorf("the log is\n%s", log)
				}
			}
			for _, name := range names {
				if n := bell.Rings(name); n != 1 {
					t.Errorf("%q ran %d times", name, n)
				}
			}
		})
	}
	if w.Runner != runner {
		t.Error("the runner was started again: nothing is proven")
	}
	w.NoMoreThan(3)
}

func TestARunnerWhoseServerFallsSilentSaysSo(t *testing.T) {
	t.Parallel()
	sky := &weather{}
	w := shop.World(t, rig.Plan{Front: sky.front})
	sky.turns(answers(500, "Content-Type", "text/plain", "the cellar is flooded"))
	ready := func() bool {
		answer, err := http.Get("http://" + w.Runner.Health + "/ready")
		rig.Must(t, err)
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		rig.Must(t, err)
		if answer.StatusCode != http.StatusOK && !strings.Contains(string(text), "the cellar is flooded") {
			t.Fatalf("/ready says %s", text)
		}
		return answer.StatusCode == http.StatusOK
	}
	rig.Until(t, "/ready says why not", func() bool { return !ready() })
	sky.clears()
	rig.Until(t, "it is ready again", ready)
	if view, _ := w.Done(w.Slow(shop.Blue, 1)); view.State != devserver.Completed {
		t.Errorf("the next job is %s", view.State)
	}
}
