package docker

import (
	"strings"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/tests/harness"
)

func TestKilledEngineWithLiveRestoreLosesNothing(t *testing.T) {
	t.Parallel()
	const totalSteps = 80
	e := shared.StartEngine(t, true)
	env := e.NewEnv(t, harness.Options{Capacity: 2, Eviction: time.Hour, Environ: []string{e.Environ()}})
	env.WaitCompleted(env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker}))
	idle := env.OnlyExecutor()
	job := env.SubmitSlow(shared.Blue, totalSteps)
	env.WaitTaskLog(job, "step 5 of ")
	e.Kill()
	env.WaitRunnerLog(`"call":"wait for exit"`)
	e.Start()
	reused := env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker})
	env.WaitCompleted(reused)
	if got := env.ExecutorOf(reused); got != idle {
		t.Errorf("the next job ran in executor %s instead of the idle %s", got, idle)
	}
	_, log := env.WaitCompleted(job)
	env.CheckLog(env.ExecutorOf(job), log, totalSteps)
	env.CheckFinishedOnce(job, reused)
}

func TestKilledEngineWithoutLiveRestoreFailsRunningJob(t *testing.T) {
	t.Parallel()
	e := shared.StartEngine(t, false)
	env := e.NewEnv(t, harness.Options{Capacity: 2, Eviction: time.Hour, Environ: []string{e.Environ()}})
	job := env.SubmitSlow(shared.Blue, 600)
	env.WaitTaskLog(job, "step 5 of ")
	e.Kill()
	env.WaitRunnerLog(`"call":"wait for exit"`)
	e.Start() // it kills the containers that it finds
	view, log := env.WaitDone(job)
	if view.State != devserver.Failed || !strings.Contains(view.Message, "without a result") || !strings.Contains(view.Message, "step ") {
		t.Errorf("the job is %s: %s\n%s", view.State, view.Message, log)
	}
	env.WaitCompleted(env.Submit(shared.Blue, "sample.Hello", map[string]any{"yourName": env.Marker}))
	env.CheckFinishedOnce(job)
}
