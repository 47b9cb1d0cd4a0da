package docker

import (
	"os"
	"testing"
	"time"
)

func TestAnExecutorThatWasIdleForTenMinutesTakesAJob(t *testing.T) {
	if os.Getenv("RUNNERD_LONG") != "1" {
		t.Skip("takes ten minutes: set RUNNERD_LONG=1")
	}
	t.Parallel()
	w := newWorld(t, plan{eviction: 15 * time.Minute})
	first := w.submit(shop.blue, "sample.Hello", map[string]any{"yourName": w.marker})
	w.completed(first)
	executor := w.only()
	idle := time.Now()

	until := time.NewTimer(10 * time.Minute)
	<-until.C
	second := w.submit(shop.blue, "sample.Hello", map[string]any{"yourName": w.marker})
	view, _ := w.completed(second)
	if got := w.executorOf(second); got != executor {
		t.Errorf("after %v the job ran in executor %s, and not in %s", time.Since(idle), got, executor)
	}
	if l := w.lives(); len(l.created) != 1 {
		t.Errorf("executors were created: %v", l.created)
	}
	t.Logf("after %v idle, the job was done %v after it was submitted", view.Created.Sub(idle), view.Finished.Sub(view.Created))
}
