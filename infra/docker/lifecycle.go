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

// Create creates the container. A name conflict means that an earlier call created it and its response was lost.
func (d *Driver) Create(ctx context.Context, spec msg.ExecutorSpec) error {
	step := "create executor " + string(spec.ID)
	if d.cachedID(spec.ID) != "" {
		return d.checkExisting(ctx, step, spec.ID)
	}
	made, err := d.engine.ContainerCreate(ctx, d.config(spec), d.hostConfig(spec), nil, nil, d.name(spec.ID))
	switch {
	case err == nil && made.ID == "":
		return wrapError(ctx, step, errNotFromEngine)
	case err == nil:
		d.cacheID(spec.ID, made.ID)
		return nil
	case cerrdefs.IsConflict(err):
		return d.checkExisting(ctx, step, spec.ID)
	case cerrdefs.IsNotFound(err) && strings.Contains(err.Error(), "No such image") && ctx.Err() == nil:
		return fmt.Errorf("%s: %w: image %s was removed after its pull: %w", step, msg.ErrNoImage, spec.Image, err)
	default:
		return wrapError(ctx, step, err)
	}
}

func (d *Driver) checkExisting(ctx context.Context, step string, id msg.ExecutorID) error {
	_, err := d.inspect(ctx, id)
	return wrapError(ctx, step, err)
}

// Start starts the container unless it was started before: the engine would run an exited container again.
func (d *Driver) Start(ctx context.Context, id msg.ExecutorID) error {
	step := "start executor " + string(id)
	c, err := d.inspect(ctx, id)
	if err != nil {
		return wrapError(ctx, step, err)
	}
	if stateOf(c.State.Status) != msg.ContainerCreated {
		return nil
	}
	err = d.engine.ContainerStart(ctx, c.ID, container.StartOptions{})
	if err != nil && strings.Contains(err.Error(), "is ambiguous") { // a second network of the runner's name exists
		if _, err = d.EnsureNetwork(ctx); err == nil {
			err = d.engine.ContainerStart(ctx, c.ID, container.StartOptions{})
		}
	}
	if cerrdefs.IsNotFound(err) && ctx.Err() == nil {
		return d.startNotFound(ctx, step, id, err)
	}
	return wrapError(ctx, step, err)
}

// startNotFound says what was not found at a start: the container, or something that it needs.
func (d *Driver) startNotFound(ctx context.Context, step string, id msg.ExecutorID, cause error) error {
	if _, err := d.inspect(ctx, id); err != nil {
		return wrapError(ctx, step, err)
	}
	return fmt.Errorf("%s: something that the container needs is missing (if it is the network %s, restart the runner): %w",
		step, d.network(), cause)
}

// Signal sends s to process 1 of the container.
func (d *Driver) Signal(ctx context.Context, id msg.ExecutorID, s msg.Signal) error {
	containerID, err := d.containerID(ctx, id)
	if err == nil {
		err = d.engine.ContainerKill(ctx, containerID, string(s))
	}
	if err == nil || cerrdefs.IsConflict(err) { // conflict: not running
		return nil
	}
	return d.wrapErrorFor(ctx, fmt.Sprintf("send %s to executor %s", s, id), id, err)
}

// Remove removes the container and its anonymous volumes. It returns nil only once the engine confirms that the container is gone.
func (d *Driver) Remove(ctx context.Context, id msg.ExecutorID) error {
	err := d.remove(ctx, id)
	if err == nil || cerrdefs.IsNotFound(err) {
		if _, inspectErr := d.inspect(ctx, id); !errors.Is(inspectErr, msg.ErrNoExecutor) {
			err = cmp.Or(err, inspectErr, errNotFromEngine)
		} else {
			return nil
		}
	}
	return wrapError(ctx, "remove executor "+string(id), err)
}

func (d *Driver) remove(ctx context.Context, id msg.ExecutorID) error {
	containerID, err := d.containerID(ctx, id)
	if err != nil {
		return err
	}
	err = d.engine.ContainerRemove(ctx, containerID, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if cerrdefs.IsConflict(err) { // another removal is in progress
		err = <-d.startWait(ctx, containerID, container.WaitConditionRemoved)
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
	return found, wrapError(ctx, "inspect executor "+string(id), err)
}

// List returns the runner's containers. It inspects each of them, because the engine's list lacks the start time.
func (d *Driver) List(ctx context.Context) ([]msg.Container, error) {
	found, err := d.containers(ctx)
	if err != nil {
		return nil, wrapError(ctx, "list executors", err)
	}
	var list []msg.Container
	for _, c := range found {
		executor, err := d.Inspect(ctx, msg.ExecutorID(c.Labels[executorLabel]))
		if errors.Is(err, msg.ErrNoExecutor) { // removed meanwhile
			continue
		}
		if err != nil {
			return nil, wrapError(ctx, "list executors", err)
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
	default: // exited, removing, dead
		return msg.ContainerExited
	}
}
