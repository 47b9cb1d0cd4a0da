package docker_test

import (
	"context"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"

	msg "runnerd/messages"
)

// What somebody does to an executor by hand, with the engine's own commands.

// The program ignores SIGTERM, so 137 is the right exit code. It may be unknown: the engine answers a wait with 0 when
// the new process runs by then.
func TestAWaitUnderWayReturnsTheExitBeforeARestart(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "stubborn", ""))
	e.firstLine(t, id)
	before, err := e.driver.Inspect(t.Context(), id)
	check(t, err)
	waiting := e.waits(t, id)
	e.restart(t, id)
	w := <-waiting
	now, err := e.driver.Inspect(t.Context(), id)
	check(t, err)
	check(t, w.err)
	if w.exit.Code != -1 && w.exit.Code != 137 || w.exit.At.Before(before.StartedAt) || w.exit.At.After(now.StartedAt) {
		t.Errorf("ended with %+v; started at %v and again at %v", w.exit, before.StartedAt, now.StartedAt)
	}
}

func TestAStoppedExecutorHasEnded(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "lives", ""))
	e.firstLine(t, id)
	waiting, log := e.waits(t, id), e.reads(t, id)
	check(t, e.engine.ContainerStop(t.Context(), e.container(id), container.StopOptions{}))
	if w := <-waiting; w.err != nil || w.exit.Code != 143 {
		t.Errorf("wait returns %+v, %v", w.exit, w.err)
	}
	check(t, <-log)
	check(t, e.driver.Signal(t.Context(), id, msg.SIGKILL))
	check(t, e.driver.Start(t.Context(), id))
	e.is(t, id, msg.ContainerExited)
	check(t, e.driver.Remove(t.Context(), id))
}

func TestAKilledExecutorThatIsStartedAgainRunsAnew(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "lives", ""))
	e.firstLine(t, id)
	before := e.is(t, id, msg.ContainerRunning)
	waiting, log := e.waits(t, id), e.reads(t, id)
	check(t, e.engine.ContainerKill(t.Context(), e.container(id), "KILL"))
	if w := <-waiting; w.err != nil || w.exit.Code != 137 {
		t.Errorf("wait returns %+v, %v", w.exit, w.err)
	}
	check(t, <-log)
	e.is(t, id, msg.ContainerExited)
	check(t, e.engine.ContainerStart(t.Context(), e.container(id), container.StartOptions{}))
	if now := e.is(t, id, msg.ContainerRunning); !now.StartedAt.After(before.StartedAt) {
		t.Errorf("started at %v, and again at %v", before.StartedAt, now.StartedAt)
	}
	log = e.reads(t, id)
	check(t, e.driver.Signal(t.Context(), id, msg.SIGKILL))
	check(t, <-log)
	check(t, e.driver.Remove(t.Context(), id))
}

func TestAPausedExecutorRunsAndCanBeEnded(t *testing.T) {
	t.Parallel()
	e := engine(t)
	for _, s := range []msg.Signal{msg.SIGTERM, msg.SIGKILL, ""} {
		id := e.run(t, e.spec(t, "lives", ""))
		e.firstLine(t, id)
		waiting, log := e.waits(t, id), e.reads(t, id)
		check(t, e.engine.ContainerPause(t.Context(), e.container(id)))
		e.is(t, id, msg.ContainerRunning)
		if s == "" {
			check(t, e.driver.Remove(t.Context(), id))
			<-waiting // its end, or that it is no more
			<-log
			continue
		}
		check(t, e.driver.Signal(t.Context(), id, s)) // by which the engine lets it go on
		if w := <-waiting; w.err != nil || w.exit.Code != map[msg.Signal]int{msg.SIGTERM: 143, msg.SIGKILL: 137}[s] {
			t.Errorf("%s: wait returns %+v, %v", s, w.exit, w.err)
		}
		check(t, <-log)
	}
}

func TestAnExecutorWithoutNetworkIsDrivenAsBefore(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "lives", ""))
	e.firstLine(t, id)
	waiting, log := e.waits(t, id), e.reads(t, id)
	check(t, e.engine.NetworkDisconnect(t.Context(), "runnerd-"+e.runner[:8], e.container(id), false))
	e.is(t, id, msg.ContainerRunning)
	check(t, e.driver.Signal(t.Context(), id, msg.SIGTERM))
	if w := <-waiting; w.err != nil || w.exit.Code != 143 {
		t.Errorf("wait returns %+v, %v", w.exit, w.err)
	}
	check(t, <-log)
	check(t, e.driver.Remove(t.Context(), id))
}

func TestAnExecutorTakesItsVolumesWithIt(t *testing.T) {
	t.Parallel()
	e := engine(t)
	spec := e.spec(t, "lives", "")
	spec.Image = e.withVolume(t)
	id := e.run(t, spec)
	c, err := e.engine.ContainerInspect(t.Context(), e.container(id))
	check(t, err)
	if len(c.Mounts) != 1 || c.Mounts[0].Name == "" {
		t.Fatalf("it has no volume: %v", c.Mounts)
	}
	check(t, e.driver.Remove(t.Context(), id))
	if v, err := e.engine.VolumeInspect(t.Context(), c.Mounts[0].Name); err == nil {
		t.Errorf("its volume is left: %s", v.Name)
		check(t, e.engine.VolumeRemove(t.Context(), v.Name, true))
	}
}

// withVolume is an image that has a volume.
func (e *env) withVolume(t *testing.T) msg.ImageID {
	t.Helper()
	made, err := e.engine.ContainerCommit(t.Context(), e.stranger(t, "volume-"+e.runner[:8]),
		container.CommitOptions{Changes: []string{"VOLUME /data"}})
	check(t, err)
	t.Cleanup(func() {
		_, err := e.engine.ImageRemove(context.WithoutCancel(t.Context()), made.ID, image.RemoveOptions{})
		check(t, err)
	})
	return msg.ImageID(made.ID)
}

// stranger is a container that is nobody's executor.
func (e *env) stranger(t *testing.T, name string) (id string) {
	t.Helper()
	made, err := e.engine.ContainerCreate(t.Context(), &container.Config{Image: e.user}, nil, nil, nil, name)
	check(t, err)
	t.Cleanup(func() {
		check(t, e.engine.ContainerRemove(context.WithoutCancel(t.Context()), made.ID, container.RemoveOptions{Force: true}))
	})
	return made.ID
}

type ended struct {
	exit msg.Exit
	err  error
}

// waits returns once the engine has noted that the driver waits.
func (e *env) waits(t *testing.T, id msg.ExecutorID) <-chan ended {
	t.Helper()
	noted, answer := make(chan string, 9), make(chan ended, 1)
	d := driverAt(t, newFront(t, e.engine.DaemonHost(), func(op string) { noted <- op }).host, e.runner)
	go func() {
		exit, err := d.Wait(t.Context(), id)
		answer <- ended{exit, err}
	}()
	for waits := false; ; { // and has seen that it runs
		op := <-noted
		if waits = waits || op == "wait"; waits && op == "json" {
			break
		}
	}
	return answer
}

// reads reads the log, and returns once it is being read.
func (e *env) reads(t *testing.T, id msg.ExecutorID) <-chan error {
	t.Helper()
	begun, over := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		over <- e.driver.Logs(t.Context(), id, msg.Position{}, func(batch []msg.LogEntry) error {
			select {
			case begun <- struct{}{}:
			default:
			}
			return nil
		})
	}()
	<-begun
	return over
}

func (e *env) is(t *testing.T, id msg.ExecutorID, want msg.ContainerState) msg.Container {
	t.Helper()
	c, err := e.driver.Inspect(t.Context(), id)
	if err != nil || c.State != want {
		t.Errorf("it is %v, %v; want %s", c, err, want)
	}
	return c
}
