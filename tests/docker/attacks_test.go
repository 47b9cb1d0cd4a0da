package docker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"runnerd/infra/devserver"
	"runnerd/tests/rig"
)

// What somebody, or an image, does to executors behind the runner's back. The bell counts from outside how often a job ran.

// attacked is a runner with capacity 1 and one warm executor.
type attacked struct {
	*rig.World
	bell     *rig.Bell
	executor string
}

func newAttacked(t *testing.T, image string, flags ...string) attacked {
	t.Helper()
	a := attacked{World: shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Hour, Flags: flags})}
	a.bell = a.Bell()
	a.ranOnce(image, "warms up")
	a.executor = a.Only()
	return a
}

// ranOnce runs a short job of that name to its end, and returns its id.
func (a attacked) ranOnce(image, name string) string {
	a.T.Helper()
	job := a.bell.Ring(a.World, image, name, 1, stepTime)
	a.completedOnce(job, name)
	return job
}

func (a attacked) completedOnce(job, name string) {
	a.T.Helper()
	a.Completed(job)
	a.isOnce(job, name)
}

func (a attacked) isOnce(job, name string) {
	a.T.Helper()
	if n := a.bell.Rings(name); n != 1 {
		a.T.Errorf("%s ran %d times", name, n)
	}
	a.FinishedOnce(job)
}

// failedOnce requires that the job's message says one of these.
func (a attacked) failedOnce(job, name string, says ...string) {
	a.T.Helper()
	view, log := a.Done(job)
	a.T.Logf("%s is %s: %s", name, view.State, view.Message)
	reason := false
	for _, text := range says {
		reason = reason || strings.Contains(view.Message, text)
	}
	if view.State != devserver.Failed || !reason {
		a.T.Errorf("%s is %s: %s\n%s", name, view.State, view.Message, log)
	}
	a.isOnce(job, name)
}

func (a attacked) container() string {
	a.T.Helper()
	return shop.Containers(a.T, a.UUID)[a.executor].ID
}

// restart is docker restart -t 0. The runner may have removed the container meanwhile.
func (a attacked) restart(id string) {
	a.T.Helper()
	err := shop.Engine.ContainerRestart(a.T.Context(), id, container.StopOptions{Timeout: new(int)})
	if err != nil && !cerrdefs.IsNotFound(err) {
		a.T.Logf("restart: %v", err)
	}
}

func TestAJobRunsOnceThoughItsContainerIsRestarted(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		restarts int
		away     bool // the runner, meanwhile
	}{{restarts: 1}, {restarts: 2}, {restarts: 5}, {restarts: 1, away: true}, {restarts: 3, away: true}} {
		t.Run(fmt.Sprintf("%d times, runner away: %v", row.restarts, row.away), func(t *testing.T) {
			t.Parallel()
			a := newAttacked(t, shop.Blue)
			job := a.bell.Ring(a.World, shop.Blue, "restarted", 1000, stepTime)
			next := a.bell.Ring(a.World, shop.Blue, "next", 1, stepTime)
			a.Says(job, "step 3 of ")
			id := a.container()
			if row.away {
				a.Kill()
			}
			for range row.restarts {
				a.restart(id)
			}
			if row.away {
				a.Start()
				a.Ready()
			}
			a.failedOnce(job, "restarted", "without a result", "left no result", "another process asked for the job")
			a.completedOnce(next, "next")
			a.NoMoreThan(1)
		})
	}
}

func TestAJobRunsOnceThoughItsPluginIsStartedAgain(t *testing.T) {
	t.Parallel()
	a := newAttacked(t, supervised)
	job := a.bell.Ring(a.World, supervised, "killed", 1000, stepTime)
	a.Says(job, "step 3 of ")
	rig.Must(t, shop.Engine.ContainerKill(t.Context(), a.container(), "USR1"))
	a.failedOnce(job, "killed", "another process asked for the job")
	next := a.ranOnce(supervised, "next")
	if got := a.ExecutorOf(next); got == a.executor {
		t.Errorf("the next job ran in executor %s, too", got)
	}
	a.NoMoreThan(1)
}

func TestASupervisedPluginRunsItsJobsAsAnyOther(t *testing.T) {
	t.Parallel()
	a := newAttacked(t, supervised)
	if got := a.ExecutorOf(a.ranOnce(supervised, "next")); got != a.executor {
		t.Errorf("the next job ran in executor %s, and %s was idle", got, a.executor)
	}
	a.NoMoreThan(1)
}

func TestAJobLeavesAnExecutorThatIsCutFromItsNetwork(t *testing.T) {
	t.Parallel()
	for _, cut := range []bool{true, false} {
		t.Run(fmt.Sprintf("it is cut: %v", cut), func(t *testing.T) {
			t.Parallel()
			a := newAttacked(t, shop.Blue, "--pickup-timeout=3s")
			a.Hears(`"executor":"` + a.executor + `","from":"finishing","to":"idle"`)
			if cut {
				rig.Must(t, shop.Engine.NetworkDisconnect(t.Context(), shop.Networks(t, a.UUID)[0].ID, a.container(), true))
			}
			began := time.Now()
			job := a.ranOnce(shop.Blue, "next")
			t.Logf("done after %v", time.Since(began).Round(time.Millisecond))
			if got := a.ExecutorOf(job); (got == a.executor) == cut {
				t.Errorf("it ran in executor %s, and %s was idle", got, a.executor)
			}
			a.NoMoreThan(1)
		})
	}
}

// An executor that is paused does not ask however long the runner waits. One that is not does so when its SDK has backed off for long
// enough, and may be too late.
func TestAnExecutorThatDoesNotAskAgainHoldsNoJob(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		when    string
		absence time.Duration
		paused  bool
	}{
		{"it is paused while the runner is away", 0, true},
		{"its SDK backs off", 30 * time.Second, false},
	} {
		t.Run(row.when, func(t *testing.T) {
			t.Parallel()
			a := newAttacked(t, shop.Blue, "--settle-timeout=1h")
			a.Hears(`"executor":"` + a.executor + `","from":"finishing","to":"idle"`)
			a.Kill()
			if row.paused {
				rig.Must(t, shop.Engine.ContainerPause(t.Context(), a.container()))
			}
			<-time.After(row.absence)
			a.Start()
			a.Ready()
			began := time.Now()
			job := a.ranOnce(shop.Blue, "next")
			got := a.ExecutorOf(job)
			t.Logf("done after %v, in a new executor: %v", time.Since(began).Round(time.Millisecond), got != a.executor)
			if row.paused && got == a.executor {
				t.Errorf("it ran in executor %s, which was paused", got)
			}
			a.NoMoreThan(1)
		})
	}
}

func TestAnExecutorThatAsksAgainIsReused(t *testing.T) {
	t.Parallel()
	a := newAttacked(t, shop.Blue)
	a.Hears(`"executor":"` + a.executor + `","from":"finishing","to":"idle"`)
	a.Kill()
	a.Start()
	a.Hears(`"executor":"` + a.executor + `","from":"finishing","to":"idle"`)
	if got := a.ExecutorOf(a.ranOnce(shop.Blue, "next")); got != a.executor {
		t.Errorf("the next job ran in executor %s, and %s was idle", got, a.executor)
	}
	a.NoMoreThan(1)
}
