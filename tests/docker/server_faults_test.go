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
	"runnerd/tests/harness"
)

// fault answers instead of the server, or changes its answer. It calls hit when it does.
type fault func(out http.ResponseWriter, r *http.Request, next http.HandlerFunc, hit func())

// faultyServer injects faults into the server's answers.
type faultyServer struct {
	fault atomic.Pointer[fault] // nil: none
	hits  atomic.Int32          // number of affected requests
}

func (s *faultyServer) handle(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	fault := s.fault.Load()
	if fault == nil || op == "events" {
		next(out, r)
		return
	}
	(*fault)(out, r, next, func() { s.hits.Add(1) })
}

func (s *faultyServer) inject(f fault) { s.hits.Store(0); s.fault.Store(&f) }
func (s *faultyServer) clear()         { s.fault.Store(nil) }

func respond(status int, header, value, body string) fault {
	return func(out http.ResponseWriter, _ *http.Request, _ http.HandlerFunc, hit func()) {
		hit()
		out.Header().Set(header, value)
		out.WriteHeader(status)
		_, _ = io.WriteString(out, body)
	}
}

// throttle limits requests and responses to 1 KB/s.
func throttle(out http.ResponseWriter, r *http.Request, next http.HandlerFunc, hit func()) {
	hit()
	r.Body = struct {
		io.Reader
		io.Closer
	}{slowReader{r.Body}, r.Body}
	answer := httptest.NewRecorder()
	next(answer, r)
	for name, values := range answer.Header() {
		out.Header()[name] = values
	}
	out.WriteHeader(answer.Code)
	_, _ = io.Copy(out, slowReader{answer.Body})
}

type slowReader struct{ io.Reader }

func (s slowReader) Read(p []byte) (int, error) {
	const each = 100 * time.Millisecond
	<-time.After(each)
	return s.Reader.Read(p[:min(len(p), 1<<10*int(each)/int(time.Second))])
}

// duplicateOffers repeats each offer once.
func duplicateOffers() fault {
	var last atomic.Pointer[httptest.ResponseRecorder]
	return func(out http.ResponseWriter, r *http.Request, next http.HandlerFunc, hit func()) {
		if path.Base(r.URL.Path) != "reserve" {
			next(out, r)
			return
		}
		answer := last.Swap(nil)
		if answer != nil {
			hit()
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

func TestServerFaultsLoseNoJob(t *testing.T) {
	t.Parallel()
	server := &faultyServer{}
	env := shared.NewEnv(t, harness.Options{Capacity: 3, Eviction: time.Minute, Lease: 2 * time.Second, Intercept: server.handle})
	notifier := env.NewNotifier()
	runner := env.Runner
	for _, row := range []struct {
		server   string                           // completes "the server …"
		newFault func(over <-chan struct{}) fault // over is closed when the fault ends
	}{
		{"fails", func(<-chan struct{}) fault { return respond(500, "Content-Type", "text/plain", "no") }},
		{"is busy", func(<-chan struct{}) fault { return respond(429, "Retry-After", "1", "") }},
		{"forgets the runner", func(<-chan struct{}) fault { return respond(401, "Content-Type", "text/plain", "who?") }},
		{"forbids everything", func(<-chan struct{}) fault { return respond(403, "Content-Type", "text/plain", "no") }},
		{"is replaced by a proxy's page", func(<-chan struct{}) fault {
			return respond(200, "Content-Type", "text/html", "<html><h1>Welcome</h1></html>")
		}},
		{"cuts every connection", func(<-chan struct{}) fault {
			return func(_ http.ResponseWriter, _ *http.Request, _ http.HandlerFunc, hit func()) {
				hit()
				panic(http.ErrAbortHandler)
			}
		}},
		{"applies requests but its answers are lost", func(<-chan struct{}) fault {
			return func(_ http.ResponseWriter, r *http.Request, next http.HandlerFunc, hit func()) {
				hit()
				next(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			}
		}},
		{"does not answer", func(over <-chan struct{}) fault {
			return func(_ http.ResponseWriter, _ *http.Request, _ http.HandlerFunc, hit func()) {
				hit()
				<-over
				panic(http.ErrAbortHandler)
			}
		}},
		{"has a connection of 1 KB/s", func(<-chan struct{}) fault { return throttle }},
		{"offers every job twice", func(<-chan struct{}) fault { return duplicateOffers() }},
	} {
		t.Run(row.server, func(t *testing.T) {
			over := make(chan struct{})
			stored := len(env.LogLines("result stored"))
			names := []string{row.server + ", first", row.server + ", second", row.server + ", third"}
			jobs := []string{notifier.SubmitSlow(env, shared.Blue, names[0], 20, stepTime)}
			env.WaitTaskLog(jobs[0], "step 2 of ")
			server.inject(row.newFault(over))
			jobs = append(jobs, notifier.SubmitSlow(env, shared.Blue, names[1], 10, stepTime))
			harness.WaitUntil(t, "a pending poll has taken the second job", func() bool {
				view, err := env.Server.Task(jobs[1])
				return err == nil && view.State != devserver.Queued
			})
			jobs = append(jobs, notifier.SubmitSlow(env, shared.Blue, names[2], 10, stepTime)) // no poll is pending now, so this job meets the fault
			harness.WaitUntil(t, "the running job has its result", func() bool { return len(env.LogLines("result stored")) > stored })
			harness.WaitUntil(t, "a request has hit the fault", func() bool { return server.hits.Load() > 0 })
			close(over)
			server.clear()
			for _, id := range jobs {
				if _, log := env.WaitCompleted(id); !strings.Contains(log, "Finished executing runner function") {
					t.Errorf("the log is\n%s", log)
				}
			}
			for _, name := range names {
				if n := notifier.Count(name); n != 1 {
					t.Errorf("%q ran %d times", name, n)
				}
			}
		})
	}
	if env.Runner != runner {
		t.Error("the runner was started again: the test is inconclusive")
	}
	env.CheckCapacity(3)
}

func TestReadyReportsFailingServer(t *testing.T) {
	t.Parallel()
	server := &faultyServer{}
	env := shared.NewEnv(t, harness.Options{Intercept: server.handle})
	server.inject(respond(500, "Content-Type", "text/plain", "the cellar is flooded"))
	ready := func() bool {
		answer, err := http.Get("http://" + env.Runner.HealthAddress + "/ready")
		harness.Must(t, err)
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		harness.Must(t, err)
		if answer.StatusCode != http.StatusOK && !strings.Contains(string(text), "the cellar is flooded") {
			t.Fatalf("/ready says %s", text)
		}
		return answer.StatusCode == http.StatusOK
	}
	harness.WaitUntil(t, "/ready reports the failure", func() bool { return !ready() })
	server.clear()
	harness.WaitUntil(t, "the runner is ready again", ready)
	if view, _ := env.WaitDone(env.SubmitSlow(shared.Blue, 1)); view.State != devserver.Completed {
		t.Errorf("the next job is %s", view.State)
	}
}
