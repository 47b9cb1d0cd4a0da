package docker

import (
	"context"
	"fmt"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	msg "runnerd/messages"
)

// Create makes the container. One of that name is the same executor, made by a call whose answer was lost.
func (d *Driver) Create(ctx context.Context, spec msg.ExecutorSpec) error {
	step := "create executor " + string(spec.ID)
	_, err := d.engine.ContainerCreate(ctx, d.config(spec), d.hostConfig(spec), nil, nil, d.name(spec.ID))
	switch {
	case err == nil:
		return nil
	case cerrdefs.IsConflict(err):
		return d.adopt(ctx, step, spec.ID)
	case cerrdefs.IsNotFound(err) && ctx.Err() == nil:
		return fmt.Errorf("%s: %w: %s was here and is not any more: %w", step, msg.ErrNoImage, spec.Image, err)
	default:
		return d.failed(ctx, step, err)
	}
}

func (d *Driver) adopt(ctx context.Context, step string, id msg.ExecutorID) error {
	c, err := d.engine.ContainerInspect(ctx, d.name(id))
	if err != nil {
		return d.failed(ctx, step, err)
	}
	if c.Config.Labels[runnerLabel] != d.runner || c.Config.Labels[executorLabel] != string(id) {
		return fmt.Errorf("%s: a container %s that is not this runner's has its name; remove or rename that one", step, d.name(id))
	}
	return nil
}

// Start starts the container, unless it was before: the engine would run one that has ended a second time.
func (d *Driver) Start(ctx context.Context, id msg.ExecutorID) error {
	step := "start executor " + string(id)
	s, err := d.inspect(ctx, id)
	if err != nil {
		return d.failed(ctx, step, err)
	}
	if stateOf(s.Status) != msg.ContainerCreated {
		return nil
	}
	err = d.engine.ContainerStart(ctx, d.name(id), container.StartOptions{})
	if err == nil {
		return nil
	}
	if cerrdefs.IsNotFound(err) && ctx.Err() == nil {
		return d.notStarted(ctx, step, id, err)
	}
	return d.failed(ctx, step, err)
}

// notStarted tells what the engine did not find: the container, or something that it needs.
func (d *Driver) notStarted(ctx context.Context, step string, id msg.ExecutorID, cause error) error {
	if _, err := d.inspect(ctx, id); err != nil {
		return d.failed(ctx, step, err)
	}
	return fmt.Errorf("%s: its container is there, but not what it needs (if it is the network %s, restart the runner): %w",
		step, d.network(), cause)
}

// Signal sends s to process 1 of the container.
func (d *Driver) Signal(ctx context.Context, id msg.ExecutorID, s msg.Signal) error {
	err := d.engine.ContainerKill(ctx, d.name(id), string(s))
	if err == nil || cerrdefs.IsConflict(err) { // it does not run
		return nil
	}
	return d.failed(ctx, fmt.Sprintf("send %s to executor %s", s, id), err)
}

// Remove takes the container away, with the anonymous volumes of its image. It is gone on return.
func (d *Driver) Remove(ctx context.Context, id msg.ExecutorID) error {
	err := d.engine.ContainerRemove(ctx, d.name(id), container.RemoveOptions{Force: true, RemoveVolumes: true})
	if cerrdefs.IsConflict(err) { // somebody else is at it
		err = <-d.ask(ctx, id, container.WaitConditionRemoved)
	}
	if err == nil || cerrdefs.IsNotFound(err) {
		return nil
	}
	return d.failed(ctx, "remove executor "+string(id), err)
}

// List returns the containers with the runner's label.
func (d *Driver) List(ctx context.Context) ([]msg.Container, error) {
	found, err := d.engine.ContainerList(ctx, container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", runnerLabel+"="+d.runner), filters.Arg("label", executorLabel)),
	})
	if err != nil {
		return nil, d.failed(ctx, "list executors", err)
	}
	var list []msg.Container
	for _, c := range found {
		list = append(list, msg.Container{
			ID: msg.ExecutorID(c.Labels[executorLabel]), State: stateOf(c.State), Image: msg.ImageID(c.ImageID),
		})
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
