package docker

import (
	"io"
	"net/http"
	"path"
	"sync/atomic"
	"testing"
	"time"

	"runnerd/tests/harness"
)

func TestRenamedExecutorIsStillManaged(t *testing.T) {
	t.Parallel()
	const totalSteps = 60
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Second})
	job := env.SubmitSlow(shared.Blue, totalSteps)
	env.WaitTaskLog(job, "step 5 of ")
	executor := env.OnlyExecutor()
	harness.Must(t, shared.Engine.ContainerRename(t.Context(), shared.Containers(t, env.UUID)[executor].ID, "renamed-"+executor))
	env.Kill()
	env.Start() // the new process has not seen the container before
	_, log := env.WaitCompleted(job)
	if got := steps(log); len(got) != totalSteps {
		t.Errorf("%d steps in the log, want %d:\n%s", len(got), totalSteps, log)
	}
	env.WaitNoExecutors()
	env.WaitCompleted(env.SubmitSlow(shared.Blue, 1))
	env.CheckCapacity(1)
	env.Drain()
}

// A proxy answers instead of the engine while the runner retries every call because its connections are cut.
func TestProxyAnswersFailNoRunningJob(t *testing.T) {
	t.Parallel()
	const totalSteps = 150
	type answer struct {
		status int
		body   string
	}
	var current atomic.Pointer[answer]
	var answered atomic.Int32
	proxy := shared.NewEngineProxy(t)
	proxy.Intercept = func(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		a := current.Load()
		if a == nil || path.Base(path.Dir(path.Dir(r.URL.Path))) != "containers" { // /containers/ID/op
			next(out, r)
			return
		}
		out.Header().Set("Content-Type", "application/json")
		out.WriteHeader(a.status)
		_, _ = io.WriteString(out, a.body)
		if op == "json" || op == "wait" {
			answered.Add(1)
		}
	}
	proxy.Listen()
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Second, Environ: []string{proxy.Environ()}})
	job := env.SubmitSlow(shared.Blue, totalSteps)
	env.WaitTaskLog(job, "step 5 of ")
	for _, a := range []answer{{404, ""}, {404, `{"message":"page not found"}`}, {200, "[]"}, {200, "{}"}} {
		current.Store(&a)
		before := answered.Load()
		proxy.Close()
		proxy.Listen()
		harness.WaitUntil(t, "the proxy is asked about the executor", func() bool { return answered.Load() >= before+2 })
		current.Store(nil)
	}
	_, log := env.WaitCompleted(job)
	if got := steps(log); len(got) != totalSteps {
		t.Errorf("%d steps in the log, want %d:\n%s", len(got), totalSteps, log)
	}
	env.CheckFinishedOnce(job)
	env.WaitNoExecutors()
	env.CheckCapacity(1)
}
