package docker

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
	"runnerd/tests/harness"
)

func TestEngineOutageLosesNoJobAndNoLog(t *testing.T) {
	t.Parallel()
	const totalSteps = 60
	proxy := shared.NewEngineProxy(t)
	proxy.Listen()
	env := shared.NewEnv(t, harness.Options{Capacity: 3, Eviction: time.Hour, Environ: []string{proxy.Environ()}})
	env.WaitCompleted(env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker}))
	idle := env.OnlyExecutor()
	job := env.SubmitSlow(shared.Blue, totalSteps)
	env.WaitTaskLog(job, "step 5 of ")
	proxy.Close()
	env.WaitRunnerLog(`"call":"read logs"`)
	env.WaitRunnerLog(`"call":"wait for exit"`)
	waits := env.SubmitSlow(shared.Blue, 1) // its executor cannot be created
	harness.WaitUntil(t, "the plugin is done", func() bool { return len(env.LogLines("result stored")) == 2 })
	reused := env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker}) // needs no engine
	if view := env.WaitFinished(reused); view.State != devserver.Completed {
		t.Errorf("a job of the idle executor is %s: %s", view.State, view.Message)
	}
	if got := env.ExecutorOf(reused); got != idle {
		t.Errorf("the job ran in %s instead of the idle %s", got, idle)
	}
	proxy.Listen()
	_, log := env.WaitCompleted(job)
	if got := steps(log); len(got) != totalSteps {
		t.Errorf("%d steps in the log, want %d:\n%s", len(got), totalSteps, log)
	}
	if view, _ := env.WaitDone(waits); view.State == devserver.Failed {
		t.Logf("the job that was submitted during the outage failed: %s", view.Message)
	}
	env.WaitCompleted(env.SubmitSlow(shared.Blue, 1))
	env.CheckCapacity(3)
}

func TestLostCreateResponseLeaksNoSlot(t *testing.T) {
	t.Parallel()
	var lost atomic.Int32
	proxy := shared.NewEngineProxy(t)
	proxy.Intercept = func(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if op == "create" && strings.Contains(r.URL.Path, "/containers/") && lost.Add(1) == 1 {
			next(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		next(out, r)
	}
	proxy.Listen()
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Environ: []string{proxy.Environ()}})
	first := env.Submit(shared.Blue, "sample.Hello", map[string]any{"yourName": env.Marker})
	view, _ := env.WaitDone(first)
	if view.State == devserver.Failed && !strings.Contains(view.Message, "create the executor") {
		t.Errorf("the message of the failed job is %q", view.Message)
	}
	env.WaitCompleted(env.Submit(shared.Blue, "sample.Hello", map[string]any{"yourName": env.Marker}))
	env.WaitNoExecutors()
	env.CheckCapacity(1)
}

func TestStalledPullFailsJobAndFreesSlot(t *testing.T) {
	t.Parallel()
	proxy := shared.NewEngineProxy(t)
	proxy.Intercept = func(_ string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if strings.HasSuffix(r.URL.Path, "/images/create") {
			<-r.Context().Done()
			return
		}
		next(out, r)
	}
	proxy.Listen()
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Minute, Environ: []string{proxy.Environ()}, Flags: []string{"--pull-timeout=2s"}})
	stalls := env.SubmitTask(devserver.TaskRequest{Image: "127.0.0.1:1/stalls:1.0", TaskType: "sample.Hello", ImagePullPolicy: api.PullAlways})
	runs := env.Submit(shared.Blue, "sample.Hello", map[string]any{"yourName": env.Marker})
	view, _ := env.WaitDone(stalls)
	if view.State != devserver.Failed || !strings.Contains(view.Message, "was not pulled within 2s") || !strings.Contains(view.Message, "raise --pull-timeout") {
		t.Errorf("the job is %s: %s", view.State, view.Message)
	}
	env.WaitCompleted(runs)
	env.CheckCapacity(1)
}
