package docker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"runnerd/infra/devserver"
	"runnerd/tests/harness"
)

// warmRunner is a runner with capacity 1 and one warm executor. Its notifier counts how often a job ran.
type warmRunner struct {
	*harness.Env
	notifier *harness.Notifier
	executor string
}

func newWarmRunner(t *testing.T, image string, flags ...string) warmRunner {
	t.Helper()
	a := warmRunner{Env: shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Hour, Flags: flags})}
	a.notifier = a.NewNotifier()
	a.runOnce(image, "warms up")
	a.executor = a.OnlyExecutor()
	return a
}

// runOnce runs a short job of that name, checks that it ran once, and returns its id.
func (a warmRunner) runOnce(image, name string) string {
	a.T.Helper()
	job := a.notifier.SubmitSlow(a.Env, image, name, 1, stepTime)
	a.checkCompletedOnce(job, name)
	return job
}

func (a warmRunner) checkCompletedOnce(job, name string) {
	a.T.Helper()
	a.WaitCompleted(job)
	a.checkRanOnce(job, name)
}

func (a warmRunner) checkRanOnce(job, name string) {
	a.T.Helper()
	if n := a.notifier.Count(name); n != 1 {
		a.T.Errorf("%s ran %d times", name, n)
	}
	a.CheckFinishedOnce(job)
}

// checkFailedOnce checks that the job failed with one of these messages and ran once.
func (a warmRunner) checkFailedOnce(job, name string, wantMessage ...string) {
	a.T.Helper()
	view, log := a.WaitDone(job)
	a.T.Logf("%s is %s: %s", name, view.State, view.Message)
	matches := false
	for _, text := range wantMessage {
		matches = matches || strings.Contains(view.Message, text)
	}
	if view.State != devserver.Failed || !matches {
		a.T.Errorf("%s is %s: %s\n%s", name, view.State, view.Message, log)
	}
	a.checkRanOnce(job, name)
}

func (a warmRunner) container() string {
	a.T.Helper()
	return shared.Containers(a.T, a.UUID)[a.executor].ID
}

// restart does what docker restart -t 0 does. The runner may have removed the container in the meantime.
func (a warmRunner) restart(id string) {
	a.T.Helper()
	err := shared.Engine.ContainerRestart(a.T.Context(), id, container.StopOptions{Timeout: new(int)})
	if err != nil && !cerrdefs.IsNotFound(err) {
		a.T.Logf("restart: %v", err)
	}
}

func TestJobRunsOnceDespiteContainerRestart(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		restarts   int
		runnerDown bool // during the restarts
	}{{restarts: 1}, {restarts: 2}, {restarts: 5}, {restarts: 1, runnerDown: true}, {restarts: 3, runnerDown: true}} {
		t.Run(fmt.Sprintf("%d times, runner down: %v", row.restarts, row.runnerDown), func(t *testing.T) {
			t.Parallel()
			a := newWarmRunner(t, shared.Blue)
			job := a.notifier.SubmitSlow(a.Env, shared.Blue, "restarted", 1000, stepTime)
			next := a.notifier.SubmitSlow(a.Env, shared.Blue, "next", 1, stepTime)
			a.WaitTaskLog(job, "step 3 of ")
			id := a.container()
			if row.runnerDown {
				a.Kill()
			}
			for range row.restarts {
				a.restart(id)
			}
			if row.runnerDown {
				a.Start()
				a.WaitReady()
			}
			a.checkFailedOnce(job, "restarted", "without a result", "left no result", "another process asked for the job")
			a.checkCompletedOnce(next, "next")
			a.CheckCapacity(1)
		})
	}
}

func TestJobRunsOnceDespitePluginRestart(t *testing.T) {
	t.Parallel()
	a := newWarmRunner(t, supervised)
	job := a.notifier.SubmitSlow(a.Env, supervised, "killed", 1000, stepTime)
	a.WaitTaskLog(job, "step 3 of ")
	harness.Must(t, shared.Engine.ContainerKill(t.Context(), a.container(), "USR1"))
	a.checkFailedOnce(job, "killed", "another process asked for the job")
	next := a.runOnce(supervised, "next")
	if got := a.ExecutorOf(next); got == a.executor {
		t.Errorf("the next job ran in executor %s, too", got)
	}
	a.CheckCapacity(1)
}

func TestSupervisedPluginIsReused(t *testing.T) {
	t.Parallel()
	a := newWarmRunner(t, supervised)
	if got := a.ExecutorOf(a.runOnce(supervised, "next")); got != a.executor {
		t.Errorf("the next job ran in executor %s instead of the idle %s", got, a.executor)
	}
	a.CheckCapacity(1)
}

func TestJobMovesFromExecutorWithoutNetwork(t *testing.T) {
	t.Parallel()
	for _, cut := range []bool{true, false} {
		t.Run(fmt.Sprintf("disconnected: %v", cut), func(t *testing.T) {
			t.Parallel()
			a := newWarmRunner(t, shared.Blue, "--pickup-timeout=3s")
			a.WaitRunnerLog(`"executor":"` + a.executor + `","from":"finishing","to":"idle"`)
			if cut {
				harness.Must(t, shared.Engine.NetworkDisconnect(t.Context(), shared.Networks(t, a.UUID)[0].ID, a.container(), true))
			}
			began := time.Now()
			job := a.runOnce(shared.Blue, "next")
			t.Logf("done after %v", time.Since(began).Round(time.Millisecond))
			if got := a.ExecutorOf(job); (got == a.executor) == cut {
				t.Errorf("the job ran in executor %s; the idle one, disconnected: %v, is %s", got, cut, a.executor)
			}
			a.CheckCapacity(1)
		})
	}
}

// A paused executor never polls again. An executor whose SDK backs off may poll again too late for the job.
func TestExecutorThatStopsPollingBlocksNoJob(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		when    string
		absence time.Duration
		paused  bool
	}{
		{"paused while runner is down", 0, true},
		{"SDK backs off", 30 * time.Second, false},
	} {
		t.Run(row.when, func(t *testing.T) {
			t.Parallel()
			a := newWarmRunner(t, shared.Blue, "--finish-timeout=1h")
			a.WaitRunnerLog(`"executor":"` + a.executor + `","from":"finishing","to":"idle"`)
			a.Kill()
			if row.paused {
				harness.Must(t, shared.Engine.ContainerPause(t.Context(), a.container()))
			}
			<-time.After(row.absence)
			a.Start()
			a.WaitReady()
			began := time.Now()
			job := a.runOnce(shared.Blue, "next")
			got := a.ExecutorOf(job)
			t.Logf("done after %v, in a new executor: %v", time.Since(began).Round(time.Millisecond), got != a.executor)
			if row.paused && got == a.executor {
				t.Errorf("the job ran in executor %s, which was paused", got)
			}
			a.CheckCapacity(1)
		})
	}
}

func TestExecutorThatPollsAgainIsReused(t *testing.T) {
	t.Parallel()
	a := newWarmRunner(t, shared.Blue)
	a.WaitRunnerLog(`"executor":"` + a.executor + `","from":"finishing","to":"idle"`)
	a.Kill()
	a.Start()
	a.WaitRunnerLog(`"executor":"` + a.executor + `","from":"finishing","to":"idle"`)
	if got := a.ExecutorOf(a.runOnce(shared.Blue, "next")); got != a.executor {
		t.Errorf("the next job ran in executor %s instead of the idle %s", got, a.executor)
	}
	a.CheckCapacity(1)
}
