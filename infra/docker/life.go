package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	msg "runnerd/messages"
)

// Create makes the container. A conflict of its name means that an earlier call made it, whose answer was lost.
func (d *Driver) Create(ctx context.Context, spec msg.ExecutorSpec) error {
	step := "create executor " + string(spec.ID)
	if d.known(spec.ID) != "" {
		return d.adopt(ctx, step, spec.ID)
	}
	made, err := d.engine.ContainerCreate(ctx, d.config(spec), d.hostConfig(spec), nil, nil, d.name(spec.ID))
	switch {
	case err == nil && made.ID == "":
		return failed(ctx, step, errNotEngine)
	case err == nil:
		d.remember(spec.ID, made.ID)
		return nil
	case cerrdefs.IsConflict(err):
		return d.adopt(ctx, step, spec.ID)
	case cerrdefs.IsNotFound(err) && strings.Contains(err.Error(), "No such image") && ctx.Err() == nil:
		return fmt.Errorf("%s: %w: %s was here and is not any more: %w", step, msg.ErrNoImage, spec.Image, err)
	default:
		return failed(ctx, step, err)
	}
}

func (d *Driver) adopt(ctx context.Context, step string, id msg.ExecutorID) error {
	_, err := d.inspect(ctx, id)
	return failed(ctx, step, err)
}

// Start starts the container, unless it was before: the engine would run one that has ended a second time.
func (d *Driver) Start(ctx context.Context, id msg.ExecutorID) error {
	step := "start executor " + string(id)
	c, err := d.inspect(ctx, id)
	if err != nil {
		return failed(ctx, step, err)
	}
	if stateOf(c.State.Status) != msg.ContainerCreated {
		return nil
	}
	err = d.engine.ContainerStart(ctx, c.ID, container.StartOptions{})
	if err != nil && strings.Contains(err.Error(), "is ambiguous") { // its network was made again, later than anybody looked
		if _, err = d.EnsureNetwork(ctx); err == nil {
			err = d.engine.ContainerStart(ctx, c.ID, container.StartOptions{})
		}
	}
	if cerrdefs.IsNotFound(err) && ctx.Err() == nil {
		return d.notStarted(ctx, step, id, err)
	}
	return failed(ctx, step, err)
}

// notStarted tells what the engine did not find: the container, or something that it needs.
func (d *Driver) notStarted(ctx context.Context, step string, id msg.ExecutorID, cause error) error {
	if _, err := d.inspect(ctx, id); err != nil {
		return failed(ctx, step, err)
	}
	return fmt.Errorf("%s: its container is there, but not what it needs (if it is the network %s, restart the runner): %w",
		step, d.network(), cause)
}

// Signal sends s to process 1 of the container.
func (d *Driver) Signal(ctx context.Context, id msg.ExecutorID, s msg.Signal) error {
	containerID, err := d.containerID(ctx, id)
	if err == nil {
		err = d.engine.ContainerKill(ctx, containerID, string(s))
	}
	if err == nil || cerrdefs.IsConflict(err) { // it does not run
		return nil
	}
	return d.failedFor(ctx, fmt.Sprintf("send %s to executor %s", s, id), id, err)
}

// Remove takes the container away, with the anonymous volumes of its image. It is gone on return: the engine says so.
func (d *Driver) Remove(ctx context.Context, id msg.ExecutorID) error {
	err := d.remove(ctx, id)
	if err == nil || cerrdefs.IsNotFound(err) {
		if _, still := d.inspect(ctx, id); !errors.Is(still, msg.ErrNoExecutor) {
			err = cmp.Or(err, still, errNotEngine)
		} else {
			return nil
		}
	}
	return failed(ctx, "remove executor "+string(id), err)
}

func (d *Driver) remove(ctx context.Context, id msg.ExecutorID) error {
	containerID, err := d.containerID(ctx, id)
	if err != nil {
		return err
	}
	err = d.engine.ContainerRemove(ctx, containerID, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if cerrdefs.IsConflict(err) { // somebody else is at it
		err = <-d.ask(ctx, containerID, container.WaitConditionRemoved)
	}
	return err
}

// Inspect returns one executor.
func (d *Driver) Inspect(ctx context.Context, id msg.ExecutorID) (msg.Container, error) {
	var found msg.Container
	c, err := d.inspect(ctx, id)
	if err == nil {
		found, err = containerOf(id, c)
	}
	return found, failed(ctx, "inspect executor "+string(id), err)
}

// List returns the containers with the runner's label. The engine's list does not say when they were started: each is
// inspected.
func (d *Driver) List(ctx context.Context) ([]msg.Container, error) {
	found, err := d.containers(ctx)
	if err != nil {
		return nil, failed(ctx, "list executors", err)
	}
	var list []msg.Container
	for _, c := range found {
		executor, err := d.Inspect(ctx, msg.ExecutorID(c.Labels[executorLabel]))
		if errors.Is(err, msg.ErrNoExecutor) { // removed meanwhile
			continue
		}
		if err != nil {
			return nil, failed(ctx, "list executors", err)
		}
		list = append(list, executor)
	}
	return list, nil
}

func stateOf(s container.ContainerState) msg.ContainerState {
	switch s {
	case container.StateCreated:
		return msg.ContainerCreated
	case container.StateRunning, container.StatePaused, container.StateRestarting:
		return msg.ContainerRunning
	default: // exited, removing, dead: nothing of it will run again
		return msg.ContainerExited
	}
}
