package docker

import (
	"strings"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/tests/rig"
)

func TestWithLiveRestoreAKilledEngineCostsNothing(t *testing.T) {
	t.Parallel()
	const most = 80
	e := shop.OwnEngine(t, true)
	w := e.World(t, rig.Plan{Capacity: 2, Eviction: time.Hour, Env: []string{e.Env()}})
	w.Completed(w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker}))
	idle := w.Only()
	job := w.Slow(shop.Blue, most)
	w.Says(job, "step 5 of ")
	e.Kill()
	w.Hears(`"call":"wait for exit"`)
	e.Start()
	reused := w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker})
	w.Completed(reused)
	if got := w.ExecutorOf(reused); got != idle {
		t.Errorf("the next job ran in executor %s, and %s was idle", got, idle)
	}
	_, log := w.Completed(job)
	w.WholeLog(w.ExecutorOf(job), log, most)
	w.FinishedOnce(job, reused)
}

func TestWithoutLiveRestoreAKilledEngineFailsWhatRunsAndTheNextJobRuns(t *testing.T) {
	t.Parallel()
	e := shop.OwnEngine(t, false)
	w := e.World(t, rig.Plan{Capacity: 2, Eviction: time.Hour, Env: []string{e.Env()}})
	job := w.Slow(shop.Blue, 600)
	w.Says(job, "step 5 of ")
	e.Kill()
	w.Hears(`"call":"wait for exit"`)
	e.Start() // it kills the containers that it finds
	view, log := w.Done(job)
	if view.State != devserver.Failed || !strings.Contains(view.Message, "without a result") || !strings.Contains(view.Message, "step ") {
		t.Errorf("the job is %s: %s\n%s", view.State, view.Message, log)
	}
	w.Completed(w.Submit(shop.Blue, "sample.Hello", map[string]any{"yourName": w.Marker}))
	w.FinishedOnce(job)
}
