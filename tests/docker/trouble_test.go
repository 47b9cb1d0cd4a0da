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
	"runnerd/tests/rig"
)

// An engine that the runner has trouble with.

func TestAnEngineThatIsGoneForAWhileCostsNoJobAndNoLog(t *testing.T) {
	t.Parallel()
	const most = 60
	d := shop.Door(t)
	d.Lift()
	w := shop.World(t, rig.Plan{Capacity: 3, Eviction: time.Hour, Env: []string{d.Env()}})
	w.Completed(w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker}))
	idle := w.Only()
	job := w.Slow(shop.Blue, most)
	w.Says(job, "step 5 of ")
	d.Cut()
	w.Hears(`"call":"read logs"`)
	w.Hears(`"call":"wait for exit"`)
	waits := w.Slow(shop.Blue, 1) // its executor cannot be made
	rig.Until(t, "the plugin is done", func() bool { return len(w.Lines("result stored")) == 2 })
	reused := w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker}) // needs no engine
	if view := w.Finished(reused); view.State != devserver.Completed {
		t.Errorf("a job of the idle executor is %s: %s", view.State, view.Message)
	}
	if got := w.ExecutorOf(reused); got != idle {
		t.Errorf("the job ran in %s, and %s was idle", got, idle)
	}
	d.Lift()
	_, log := w.Completed(job)
	if got := steps(log); len(got) != most {
		t.Errorf("%d steps in the log, want %d:\n%s", len(got), most, log)
	}
	if view, _ := w.Done(waits); view.State == devserver.Failed {
		t.Logf("the job that came meanwhile: %s", view.Message)
	}
	w.Completed(w.Slow(shop.Blue, 1))
	w.NoMoreThan(3)
}

func TestACreateWhoseAnswerIsLostCostsNoPlace(t *testing.T) {
	t.Parallel()
	var lost atomic.Int32
	d := shop.Door(t)
	d.Front = func(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if op == "create" && strings.Contains(r.URL.Path, "/containers/") && lost.Add(1) == 1 {
			next(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		next(out, r)
	}
	d.Lift()
	w := shop.World(t, rig.Plan{Capacity: 1, Env: []string{d.Env()}})
	first := w.Submit(shop.Blue, "sample.Hello", map[string]any{"yourName": w.Marker})
	view, _ := w.Done(first)
	if view.State == devserver.Failed && !strings.Contains(view.Message, "create the executor") {
		t.Errorf("the user is told %q", view.Message)
	}
	w.Completed(w.Submit(shop.Blue, "sample.Hello", map[string]any{"yourName": w.Marker}))
	w.AllDie()
	w.NoMoreThan(1)
}

func TestAPullThatStallsFailsItsJobAndFreesThePlace(t *testing.T) {
	t.Parallel()
	d := shop.Door(t)
	d.Front = func(_ string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if strings.HasSuffix(r.URL.Path, "/images/create") {
			<-r.Context().Done()
			return
		}
		next(out, r)
	}
	d.Lift()
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Minute, Env: []string{d.Env()}, Flags: []string{"--pull-timeout=2s"}})
	stalls := w.SubmitTask(devserver.TaskRequest{Image: "127.0.0.1:1/stalls:1.0", TaskType: "sample.Hello", ImagePullPolicy: api.PullAlways})
	runs := w.Submit(shop.Blue, "sample.Hello", map[string]any{"yourName": w.Marker})
	view, _ := w.Done(stalls)
	if view.State != devserver.Failed || !strings.Contains(view.Message, "was not there after 2s") || !strings.Contains(view.Message, "raise --pull-timeout") {
		t.Errorf("the job is %s: %s", view.State, view.Message)
	}
	w.Completed(runs)
	w.NoMoreThan(1)
}
