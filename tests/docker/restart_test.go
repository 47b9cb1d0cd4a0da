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

	"runnerd/tests/rig"
)

func TestAfterKillMinusNineTheNextStartGoesOnWithWhatRunsAndWhatIsIdle(t *testing.T) {
	t.Parallel()
	const steps = 120
	w := shop.World(t, rig.Plan{Capacity: 2, Eviction: time.Minute})
	w.Completed(w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker}))
	idle := w.Only()
	job := w.Slow(shop.Blue, steps)
	w.Says(job, "step 5 of ")
	if len(w.OnDisk("step 5 of ")) == 0 {
		t.Error("what a log says is not found on disk while the job runs: that nothing is found at the end proves nothing")
	}
	w.Kill()
	w.Start()
	w.Ready()

	// The idle one is reused while the other still works: there is no third place.
	reused := w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker})
	w.Completed(reused)
	if got := w.ExecutorOf(reused); got != idle {
		t.Errorf("the next job ran in executor %s, and %s was idle", got, idle)
	}
	_, log := w.Completed(job)
	w.WholeLog(w.ExecutorOf(job), log, steps)
	if l := w.NoMoreThan(2); len(l.Created) != 2 {
		t.Errorf("executors were created: %v", l.Created)
	}
	w.FinishedOnce(job, reused)
}

func TestAResultThatComesWhileTheRunnerIsAwayIsNotLost(t *testing.T) {
	t.Parallel()
	const steps = 20
	w := shop.World(t, rig.Plan{Capacity: 2, Eviction: time.Hour, Flags: []string{"--settle-timeout=1h"}})
	job := w.Slow(shop.Blue, steps)
	w.Says(job, "step 3 of ")
	executor := w.Only()
	w.Kill()
	rig.Until(t, "the plugin is done", func() bool { return strings.Contains(w.Printed(executor), "result return using Output File") })
	w.Start()
	w.Ready()
	view, log := w.Completed(job)
	if got := view.OutputProperties["stepsDone"]; fmt.Sprint(got) != fmt.Sprint(steps) {
		t.Errorf("done are %v steps", got)
	}
	if got := strings.Count(log, "step "); got != steps {
		t.Errorf("%d steps in the log, want %d:\n%s", got, steps, log)
	}
	w.FinishedOnce(job)
	w.AllDie() // it might run the old job again
}

func TestTheFirstSIGTERMLetsRunningJobsEnd(t *testing.T) {
	t.Parallel()
	const steps = 40
	w := shop.World(t, rig.Plan{Capacity: 3, Eviction: time.Minute})
	w.Completed(w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker})) // its executor is idle
	job := w.Slow(shop.Blue, steps)
	w.Says(job, "step 5 of ")
	w.Signal(syscall.SIGTERM)
	w.Hears("draining")
	if got := rig.Fetch(t, "http://"+w.Runner.Health+"/ready", 503); !strings.Contains(got, "draining") {
		t.Errorf("/ready says %s", got)
	}
	late := w.Slow(shop.Blue, 1)
	if state := w.Ends(); !state.Success() {
		t.Errorf("the runner ended with %v", state)
	}
	view, err := w.Server.Task(job)
	rig.Must(t, err)
	if view.State != "completed" || !view.LogComplete {
		t.Errorf("when the runner had ended the job was %s, its log complete: %v", view.State, view.LogComplete)
	}
	if view, err = w.Server.Task(late); err != nil || !view.Started.IsZero() && view.State != "completed" { // a poll that is young may take it
		t.Errorf("a job that came later: %+v, %v", view, err)
	}
	w.CheckEngine()
	w.CheckSpool()
	w.Start() // for the late one
	w.Ready()
	w.Completed(late)
}

func TestADrainIsDoneThoughSomebodyElseUsesTheNetwork(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Minute})
	w.Completed(w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker}))
	ctx := context.Background()
	guest, err := shop.Engine.ContainerCreate(ctx, &container.Config{
		Image: shop.Green, Env: []string{"INPUT_LOCATION=/dev/stdin"}, OpenStdin: true}, // where no word comes
		&container.HostConfig{NetworkMode: container.NetworkMode(shop.Networks(t, w.UUID)[0].Name)}, nil, nil, "")
	rig.Must(t, err)
	leaves := sync.OnceFunc(func() {
		rig.Must(t, shop.Engine.ContainerRemove(ctx, guest.ID, container.RemoveOptions{Force: true}))
	})
	t.Cleanup(leaves)
	rig.Must(t, shop.Engine.ContainerStart(ctx, guest.ID, container.StartOptions{}))
	w.Signal(syscall.SIGTERM)
	if state := w.Ends(); !state.Success() {
		t.Errorf("the runner ended with %v", state)
	}
	if w.Heard("something of this runner is left in the engine") == "" {
		t.Error("it does not say what is left")
	}
	leaves()
	w.Start() // uses the network again, and takes it away
	w.Ready()
}

func TestTheSecondSIGTERMLeavesTheExecutorsToTheNextStart(t *testing.T) {
	t.Parallel()
	const steps = 50
	w := shop.World(t, rig.Plan{Capacity: 2, Eviction: time.Minute})
	job := w.Slow(shop.Blue, steps)
	w.Says(job, "step 5 of ")
	working := w.Only()
	w.Signal(syscall.SIGTERM)
	w.Hears("draining")
	w.Signal(syscall.SIGTERM)
	if state := w.Ends(); state.Success() {
		t.Errorf("the runner ended with %v", state)
	}
	if got := w.Only(); got != working || len(w.Lives().Alive) != 1 {
		t.Errorf("executor %s is there, and not %s", got, working)
	}
	w.Start()
	w.Ready()
	_, log := w.Completed(job)
	w.WholeLog(working, log, steps)
	if l := w.NoMoreThan(2); len(l.Created) != 1 {
		t.Errorf("executors were created: %v", l.Created)
	}
	w.FinishedOnce(job)
}

func TestDetachedTheRunnerEndsAtOnceAndTheNextStartTakesOverWhatRunsAndWhatIsIdle(t *testing.T) {
	t.Parallel()
	const steps = 80
	w := shop.World(t, rig.Plan{Capacity: 2, Eviction: time.Hour, Flags: []string{"--on-exit=detach", "--settle-timeout=5s"}})
	w.Completed(w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker}))
	idle := w.Only()
	job := w.Slow(shop.Blue, steps)
	w.Says(job, "step 5 of ")
	w.Signal(syscall.SIGTERM)
	if state := w.Ends(); !state.Success() {
		t.Errorf("the runner ended with %v", state)
	}
	if view, err := w.Server.Task(job); err != nil || view.State != "running" {
		t.Errorf("when the runner had ended the job was %s, %v", view.State, err)
	}
	if l := w.Lives(); len(l.Alive) != 2 {
		t.Errorf("alive are %v", l.Alive)
	}
	w.Start("--on-exit=drain")
	w.Hears(`"executor":"` + idle + `","from":"finishing","to":"idle"`) // it was asked to come again
	later := w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker})
	w.Completed(later)
	if got := w.ExecutorOf(later); got != idle {
		t.Errorf("the next job ran in executor %s, and %s was idle", got, idle)
	}
	_, log := w.Completed(job)
	w.WholeLog(w.ExecutorOf(job), log, steps)
	if l := w.NoMoreThan(2); len(l.Created) != 2 {
		t.Errorf("executors were created: %v", l.Created)
	}
	w.FinishedOnce(job, later)
}

func TestASecondRunnerInTheSameStateDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{})
	first := w.Runner
	w.Runner = nil
	w.Start()
	second := w.Runner
	if state := w.Ends(); state.ExitCode() != 1 {
		t.Errorf("the second ended with %v", state)
	}
	w.Runner = first
	if said := second.Said(); !strings.Contains(said, fmt.Sprintf("another runner uses it (process %d ", first.Command.Process.Pid)) {
		t.Errorf("the second says %s", said)
	}
	w.Completed(w.Submit(shop.Blue, "sample.Hello", nil))
}
