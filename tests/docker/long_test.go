package docker

import (
	"testing"
	"time"

	"runnerd/tests/rig"
)

func TestAnExecutorThatWasIdleForTenMinutesTakesAJob(t *testing.T) {
	if !rig.Long() {
		t.Skip("takes ten minutes: set RUNNERD_LONG=1")
	}
	t.Parallel()
	w := shop.World(t, rig.Plan{Eviction: 15 * time.Minute})
	first := w.Submit(shop.Blue, "sample.Hello", map[string]any{"yourName": w.Marker})
	w.Completed(first)
	executor := w.Only()
	idle := time.Now()

	until := time.NewTimer(10 * time.Minute)
	<-until.C
	second := w.Submit(shop.Blue, "sample.Hello", map[string]any{"yourName": w.Marker})
	view, _ := w.Completed(second)
	if got := w.ExecutorOf(second); got != executor {
		t.Errorf("after %v the job ran in executor %s, and not in %s", time.Since(idle), got, executor)
	}
	if l := w.Lives(); len(l.Created) != 1 {
		t.Errorf("executors were created: %v", l.Created)
	}
	t.Logf("after %v idle, the job was done %v after it was submitted", view.Created.Sub(idle), view.Finished.Sub(view.Created))
}
