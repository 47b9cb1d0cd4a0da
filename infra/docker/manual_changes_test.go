package docker_test

import (
	"context"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"

	msg "runnerd/messages"
)

// The program ignores SIGTERM, so 137 is the right exit code. Wait may instead return -1 (unknown): the engine answers with
// 0 if the new process already runs.
func TestPendingWaitReturnsExitBeforeRestart(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "ignores-signals", ""))
	e.firstLine(t, id)
	before, err := e.driver.Inspect(t.Context(), id)
	check(t, err)
	waiting := e.startWaiting(t, id)
	e.restart(t, id)
	w := <-waiting
	now, err := e.driver.Inspect(t.Context(), id)
	check(t, err)
	check(t, w.err)
	if w.exit.Code != -1 && w.exit.Code != 137 || w.exit.At.Before(before.StartedAt) || w.exit.At.After(now.StartedAt) {
		t.Errorf("ended with %+v; started at %v and again at %v", w.exit, before.StartedAt, now.StartedAt)
	}
}

func TestStoppedExecutorHasExited(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "waits", ""))
	e.firstLine(t, id)
	waiting, log := e.startWaiting(t, id), e.startReading(t, id)
	check(t, e.engine.ContainerStop(t.Context(), e.container(id), container.StopOptions{}))
	if w := <-waiting; w.err != nil || w.exit.Code != 143 {
		t.Errorf("wait returns %+v, %v", w.exit, w.err)
	}
	check(t, <-log)
	check(t, e.driver.Signal(t.Context(), id, msg.SIGKILL))
	check(t, e.driver.Start(t.Context(), id))
	e.expectState(t, id, msg.ContainerExited)
	check(t, e.driver.Remove(t.Context(), id))
}

func TestKilledExecutorCanBeStartedExternally(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "waits", ""))
	e.firstLine(t, id)
	before := e.expectState(t, id, msg.ContainerRunning)
	waiting, log := e.startWaiting(t, id), e.startReading(t, id)
	check(t, e.engine.ContainerKill(t.Context(), e.container(id), "KILL"))
	if w := <-waiting; w.err != nil || w.exit.Code != 137 {
		t.Errorf("wait returns %+v, %v", w.exit, w.err)
	}
	check(t, <-log)
	e.expectState(t, id, msg.ContainerExited)
	check(t, e.engine.ContainerStart(t.Context(), e.container(id), container.StartOptions{}))
	if now := e.expectState(t, id, msg.ContainerRunning); !now.StartedAt.After(before.StartedAt) {
		t.Errorf("started at %v, and again at %v", before.StartedAt, now.StartedAt)
	}
	log = e.startReading(t, id)
	check(t, e.driver.Signal(t.Context(), id, msg.SIGKILL))
	check(t, <-log)
	check(t, e.driver.Remove(t.Context(), id))
}

func TestPausedExecutorCanBeStopped(t *testing.T) {
	t.Parallel()
	e := engine(t)
	for _, s := range []msg.Signal{msg.SIGTERM, msg.SIGKILL, ""} {
		id := e.run(t, e.spec(t, "waits", ""))
		e.firstLine(t, id)
		waiting, log := e.startWaiting(t, id), e.startReading(t, id)
		check(t, e.engine.ContainerPause(t.Context(), e.container(id)))
		e.expectState(t, id, msg.ContainerRunning)
		if s == "" {
			check(t, e.driver.Remove(t.Context(), id))
			<-waiting // its exit, or msg.ErrNoExecutor
			<-log
			continue
		}
		check(t, e.driver.Signal(t.Context(), id, s)) // it also unpauses the executor
		if w := <-waiting; w.err != nil || w.exit.Code != map[msg.Signal]int{msg.SIGTERM: 143, msg.SIGKILL: 137}[s] {
			t.Errorf("%s: wait returns %+v, %v", s, w.exit, w.err)
		}
		check(t, <-log)
	}
}

func TestExecutorWithoutNetworkIsStillManaged(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "waits", ""))
	e.firstLine(t, id)
	waiting, log := e.startWaiting(t, id), e.startReading(t, id)
	check(t, e.engine.NetworkDisconnect(t.Context(), "runnerd-"+e.runner[:8], e.container(id), false))
	e.expectState(t, id, msg.ContainerRunning)
	check(t, e.driver.Signal(t.Context(), id, msg.SIGTERM))
	if w := <-waiting; w.err != nil || w.exit.Code != 143 {
		t.Errorf("wait returns %+v, %v", w.exit, w.err)
	}
	check(t, <-log)
	check(t, e.driver.Remove(t.Context(), id))
}

func TestRemoveDeletesAnonymousVolumes(t *testing.T) {
	t.Parallel()
	e := engine(t)
	spec := e.spec(t, "waits", "")
	spec.Image = e.withVolume(t)
	id := e.run(t, spec)
	c, err := e.engine.ContainerInspect(t.Context(), e.container(id))
	check(t, err)
	if len(c.Mounts) != 1 || c.Mounts[0].Name == "" {
		t.Fatalf("the container has no volume: %v", c.Mounts)
	}
	check(t, e.driver.Remove(t.Context(), id))
	if v, err := e.engine.VolumeInspect(t.Context(), c.Mounts[0].Name); err == nil {
		t.Errorf("the volume still exists: %s", v.Name)
		check(t, e.engine.VolumeRemove(t.Context(), v.Name, true))
	}
}

// withVolume returns an image with a volume.
func (e *env) withVolume(t *testing.T) msg.ImageID {
	t.Helper()
	made, err := e.engine.ContainerCommit(t.Context(), e.foreignContainer(t, "volume-"+e.runner[:8]),
		container.CommitOptions{Changes: []string{"VOLUME /data"}})
	check(t, err)
	t.Cleanup(func() {
		_, err := e.engine.ImageRemove(context.WithoutCancel(t.Context()), made.ID, image.RemoveOptions{})
		check(t, err)
	})
	return msg.ImageID(made.ID)
}

// foreignContainer creates a container that is not an executor.
func (e *env) foreignContainer(t *testing.T, name string) (id string) {
	t.Helper()
	made, err := e.engine.ContainerCreate(t.Context(), &container.Config{Image: e.user}, nil, nil, nil, name)
	check(t, err)
	t.Cleanup(func() {
		check(t, e.engine.ContainerRemove(context.WithoutCancel(t.Context()), made.ID, container.RemoveOptions{Force: true}))
	})
	return made.ID
}

type waitResult struct {
	exit msg.Exit
	err  error
}

// startWaiting waits for the executor's exit. It returns once the engine has registered the wait.
func (e *env) startWaiting(t *testing.T, id msg.ExecutorID) <-chan waitResult {
	t.Helper()
	operations, answer := make(chan string, 9), make(chan waitResult, 1)
	d := driverAt(t, newProxy(t, e.engine.DaemonHost(), func(op string) { operations <- op }).host, e.runner)
	go func() {
		exit, err := d.Wait(t.Context(), id)
		answer <- waitResult{exit, err}
	}()
	for waiting := false; ; { // once the engine has registered the wait, the driver inspects the executor
		op := <-operations
		if waiting = waiting || op == "wait"; waiting && op == "json" {
			break
		}
	}
	return answer
}

// startReading reads the log. It returns once reading has begun.
func (e *env) startReading(t *testing.T, id msg.ExecutorID) <-chan error {
	t.Helper()
	begun, done := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		done <- e.driver.Logs(t.Context(), id, msg.Position{}, func(batch []msg.LogEntry) error {
			select {
			case begun <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	<-begun
	return done
}

func (e *env) expectState(t *testing.T, id msg.ExecutorID, want msg.ContainerState) msg.Container {
	t.Helper()
	c, err := e.driver.Inspect(t.Context(), id)
	if err != nil || c.State != want {
		t.Errorf("the container is %v, error %v; want %s", c, err, want)
	}
	return c
}
