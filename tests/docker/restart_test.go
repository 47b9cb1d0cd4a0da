package docker

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"runnerd/tests/harness"
)

func TestNextStartAdoptsRunningAndIdleExecutors(t *testing.T) {
	t.Parallel()
	const steps = 120
	env := shared.NewEnv(t, harness.Options{Capacity: 2, Eviction: time.Minute})
	env.WaitCompleted(env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker}))
	idle := env.OnlyExecutor()
	job := env.SubmitSlow(shared.Blue, steps)
	env.WaitTaskLog(job, "step 5 of ")
	if len(env.FilesContaining("step 5 of ")) == 0 {
		t.Error("the log is not found on disk while the job runs: the final check is inconclusive")
	}
	env.Kill()
	env.Start()
	env.WaitReady()

	// The idle executor is reused while the other still works, because there is no third slot.
	reused := env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker})
	env.WaitCompleted(reused)
	if got := env.ExecutorOf(reused); got != idle {
		t.Errorf("the next job ran in executor %s instead of the idle %s", got, idle)
	}
	_, log := env.WaitCompleted(job)
	env.CheckLog(env.ExecutorOf(job), log, steps)
	if l := env.CheckCapacity(2); len(l.Created) != 2 {
		t.Errorf("executors were created: %v", l.Created)
	}
	env.CheckFinishedOnce(job, reused)
}

func TestResultDuringRunnerAbsenceIsNotLost(t *testing.T) {
	t.Parallel()
	const steps = 20
	env := shared.NewEnv(t, harness.Options{Capacity: 2, Eviction: time.Hour, Flags: []string{"--finish-timeout=1h"}})
	job := env.SubmitSlow(shared.Blue, steps)
	env.WaitTaskLog(job, "step 3 of ")
	executor := env.OnlyExecutor()
	env.Kill()
	harness.WaitUntil(t, "the plugin is done", func() bool { return strings.Contains(env.ContainerLog(executor), "result return using Output File") })
	env.Start()
	env.WaitReady()
	view, log := env.WaitCompleted(job)
	if got := view.OutputProperties["stepsDone"]; fmt.Sprint(got) != fmt.Sprint(steps) {
		t.Errorf("%v steps are done", got)
	}
	if got := strings.Count(log, "step "); got != steps {
		t.Errorf("%d steps in the log, want %d:\n%s", got, steps, log)
	}
	env.CheckFinishedOnce(job)
	env.WaitNoExecutors() // it is retired, because its plugin may be about to ask for the old job
}

func TestFirstSigtermLetsRunningJobsFinish(t *testing.T) {
	t.Parallel()
	const steps = 40
	env := shared.NewEnv(t, harness.Options{Capacity: 3, Eviction: time.Minute})
	env.WaitCompleted(env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker})) // its executor is idle
	job := env.SubmitSlow(shared.Blue, steps)
	env.WaitTaskLog(job, "step 5 of ")
	env.Signal(syscall.SIGTERM)
	env.WaitRunnerLog("draining")
	if got := harness.Fetch(t, "http://"+env.Runner.HealthAddress+"/ready", 503); !strings.Contains(got, "draining") {
		t.Errorf("/ready says %s", got)
	}
	late := env.SubmitSlow(shared.Blue, 1)
	if state := env.WaitExit(); !state.Success() {
		t.Errorf("the runner ended with %v", state)
	}
	view, err := env.Server.Task(job)
	harness.Must(t, err)
	if view.State != "completed" || !view.LogComplete {
		t.Errorf("when the runner had ended the job was %s, its log complete: %v", view.State, view.LogComplete)
	}
	if view, err = env.Server.Task(late); err != nil || !view.Started.IsZero() && view.State != "completed" { // a pending poll may take it
		t.Errorf("a job that came later: %+v, %v", view, err)
	}
	env.CheckEngineEmpty()
	env.CheckSpoolEmpty()
	env.Start() // for the late job
	env.WaitReady()
	env.WaitCompleted(late)
}

func TestDrainCompletesWhileNetworkIsInUse(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Minute})
	env.WaitCompleted(env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker}))
	ctx := context.Background()
	other, err := shared.Engine.ContainerCreate(ctx, &container.Config{
		Image: shared.Green, Env: []string{"INPUT_LOCATION=/dev/stdin"}, OpenStdin: true}, // its plugin waits for input, which never comes
		&container.HostConfig{NetworkMode: container.NetworkMode(shared.Networks(t, env.UUID)[0].Name)}, nil, nil, "")
	harness.Must(t, err)
	removeOther := sync.OnceFunc(func() {
		harness.Must(t, shared.Engine.ContainerRemove(ctx, other.ID, container.RemoveOptions{Force: true}))
	})
	t.Cleanup(removeOther)
	harness.Must(t, shared.Engine.ContainerStart(ctx, other.ID, container.StartOptions{}))
	env.Signal(syscall.SIGTERM)
	if state := env.WaitExit(); !state.Success() {
		t.Errorf("the runner ended with %v", state)
	}
	if env.GrepLog("could not remove the runner's Docker network") == "" {
		t.Error("the log does not report the leftover network")
	}
	removeOther()
	env.Start() // uses the network again and removes it
	env.WaitReady()
}

func TestSecondSigtermLeavesExecutorsToNextStart(t *testing.T) {
	t.Parallel()
	const steps = 50
	env := shared.NewEnv(t, harness.Options{Capacity: 2, Eviction: time.Minute})
	job := env.SubmitSlow(shared.Blue, steps)
	env.WaitTaskLog(job, "step 5 of ")
	working := env.OnlyExecutor()
	env.Signal(syscall.SIGTERM)
	env.WaitRunnerLog("draining")
	env.Signal(syscall.SIGTERM)
	if state := env.WaitExit(); state.Success() {
		t.Errorf("the runner ended with %v", state)
	}
	if got := env.OnlyExecutor(); got != working || len(env.Executors().Alive) != 1 {
		t.Errorf("found executor %s, want only %s", got, working)
	}
	env.Start()
	env.WaitReady()
	_, log := env.WaitCompleted(job)
	env.CheckLog(working, log, steps)
	if l := env.CheckCapacity(2); len(l.Created) != 1 {
		t.Errorf("executors were created: %v", l.Created)
	}
	env.CheckFinishedOnce(job)
}

func TestDetachedRunnerLeavesExecutorsToNextStart(t *testing.T) {
	t.Parallel()
	const steps = 80
	env := shared.NewEnv(t, harness.Options{Capacity: 2, Eviction: time.Hour, Flags: []string{"--on-exit=detach", "--finish-timeout=5s"}})
	env.WaitCompleted(env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker}))
	idle := env.OnlyExecutor()
	job := env.SubmitSlow(shared.Blue, steps)
	env.WaitTaskLog(job, "step 5 of ")
	env.Signal(syscall.SIGTERM)
	if state := env.WaitExit(); !state.Success() {
		t.Errorf("the runner ended with %v", state)
	}
	if view, err := env.Server.Task(job); err != nil || view.State != "running" {
		t.Errorf("when the runner had ended the job was %s, %v", view.State, err)
	}
	if l := env.Executors(); len(l.Alive) != 2 {
		t.Errorf("alive: %v", l.Alive)
	}
	env.Start("--on-exit=drain")
	env.WaitRunnerLog(`"executor":"` + idle + `","from":"finishing","to":"idle"`) // it polls again
	later := env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker})
	env.WaitCompleted(later)
	if got := env.ExecutorOf(later); got != idle {
		t.Errorf("the next job ran in executor %s instead of the idle %s", got, idle)
	}
	_, log := env.WaitCompleted(job)
	env.CheckLog(env.ExecutorOf(job), log, steps)
	if l := env.CheckCapacity(2); len(l.Created) != 2 {
		t.Errorf("executors were created: %v", l.Created)
	}
	env.CheckFinishedOnce(job, later)
}

func TestSecondRunnerInSameStateDirIsRejected(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{})
	first := env.Runner
	env.Runner = nil
	env.Start()
	second := env.Runner
	if state := env.WaitExit(); state.ExitCode() != 1 {
		t.Errorf("the second runner exited with %v", state)
	}
	env.Runner = first
	if output := second.Log(); !strings.Contains(output, fmt.Sprintf("another runner uses it (process %d ", first.Command.Process.Pid)) {
		t.Errorf("the log of the second runner is %s", output)
	}
	env.WaitCompleted(env.Submit(shared.Blue, "sample.Hello", nil))
}
