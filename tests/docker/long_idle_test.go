package docker

import (
	"testing"
	"time"

	"runnerd/tests/harness"
)

func TestExecutorIdleForTenMinutesTakesJob(t *testing.T) {
	if !harness.Long() {
		t.Skip("takes ten minutes: set RUNNERD_LONG=1")
	}
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Eviction: 15 * time.Minute})
	first := env.Submit(shared.Blue, "sample.Hello", map[string]any{"yourName": env.Marker})
	env.WaitCompleted(first)
	executor := env.OnlyExecutor()
	idle := time.Now()

	until := time.NewTimer(10 * time.Minute)
	<-until.C
	second := env.Submit(shared.Blue, "sample.Hello", map[string]any{"yourName": env.Marker})
	view, _ := env.WaitCompleted(second)
	if got := env.ExecutorOf(second); got != executor {
		t.Errorf("after %v the job ran in executor %s, and not in %s", time.Since(idle), got, executor)
	}
	if l := env.Executors(); len(l.Created) != 1 {
		t.Errorf("executors were created: %v", l.Created)
	}
	t.Logf("after %v idle, the job was done %v after it was submitted", view.Created.Sub(idle), view.Finished.Sub(view.Created))
}
