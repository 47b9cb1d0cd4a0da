package docker

import (
	"io"
	"net/http"
	"path"
	"sync/atomic"
	"testing"
	"time"

	"runnerd/tests/rig"
)

// An executor that somebody renames, and answers that are not the engine's.

func TestARenamedExecutorWorksAndEndsAsAnyOther(t *testing.T) {
	t.Parallel()
	const most = 60
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Second})
	job := w.Slow(shop.Blue, most)
	w.Says(job, "step 5 of ")
	executor := w.Only()
	rig.Must(t, shop.Engine.ContainerRename(t.Context(), shop.Containers(t, w.UUID)[executor].ID, "renamed-"+executor))
	w.Kill()
	w.Start() // this runner has not seen the container before
	_, log := w.Completed(job)
	if got := steps(log); len(got) != most {
		t.Errorf("%d steps in the log, want %d:\n%s", len(got), most, log)
	}
	w.AllDie()
	w.Completed(w.Slow(shop.Blue, 1))
	w.NoMoreThan(1)
	w.Drain()
}

// A proxy in front of the engine answers instead of it, while every call is repeated because its connections are cut.
func TestAProxysAnswerFailsNoRunningJob(t *testing.T) {
	t.Parallel()
	const most = 150
	type answer struct {
		status int
		body   string
	}
	var lie atomic.Pointer[answer]
	var told atomic.Int32
	d := shop.Door(t)
	d.Front = func(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		a := lie.Load()
		if a == nil || path.Base(path.Dir(path.Dir(r.URL.Path))) != "containers" { // /containers/ID/op
			next(out, r)
			return
		}
		out.Header().Set("Content-Type", "application/json")
		out.WriteHeader(a.status)
		_, _ = io.WriteString(out, a.body)
		if op == "json" || op == "wait" {
			told.Add(1)
		}
	}
	d.Lift()
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Second, Env: []string{d.Env()}})
	job := w.Slow(shop.Blue, most)
	w.Says(job, "step 5 of ")
	for _, a := range []answer{{404, ""}, {404, `{"message":"page not found"}`}, {200, "[]"}, {200, "{}"}} {
		lie.Store(&a)
		before := told.Load()
		d.Cut()
		d.Lift()
		rig.Until(t, "the proxy is asked about the executor", func() bool { return told.Load() >= before+2 })
		lie.Store(nil)
	}
	_, log := w.Completed(job)
	if got := steps(log); len(got) != most {
		t.Errorf("%d steps in the log, want %d:\n%s", len(got), most, log)
	}
	w.FinishedOnce(job)
	w.AllDie()
	w.NoMoreThan(1)
}
