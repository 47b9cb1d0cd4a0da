package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	msg "runnerd/messages"
)

// How an executor's container is found: by its labels, and then by the engine's id. Both stay, while anybody can change the
// name (docker rename).

// containerID returns the engine's id of an executor's container.
func (d *Driver) containerID(ctx context.Context, id msg.ExecutorID) (string, error) {
	if known := d.known(id); known != "" {
		return known, nil
	}
	found, err := d.containers(ctx, filters.Arg("label", executorLabel+"="+string(id)))
	if err != nil {
		return "", fmt.Errorf("find its container by label: %w", err)
	}
	if len(found) == 0 {
		return d.byName(ctx, id)
	}
	return found[0].ID, nil
}

// byName asks for a container that no list has: an empty list may be a proxy's and proves nothing.
func (d *Driver) byName(ctx context.Context, id msg.ExecutorID) (string, error) {
	c, err := d.look(ctx, d.name(id))
	if err != nil {
		return "", err
	}
	if !d.owns(c.Config.Labels) || c.Config.Labels[executorLabel] != string(id) {
		return "", fmt.Errorf("a container %s that is not this runner's has its name; remove or rename that one", d.name(id))
	}
	d.remember(id, c.ID)
	return c.ID, nil
}

// containers lists and remembers this runner's containers, one per executor: the oldest, because an image committed from a
// container has its labels too, and gives them to whatever is run from it.
func (d *Driver) containers(ctx context.Context, also ...filters.KeyValuePair) ([]container.Summary, error) {
	mine := filters.NewArgs(append(also, filters.Arg("label", runnerLabel+"="+d.runner), filters.Arg("label", executorLabel))...)
	found, err := d.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: mine})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, func(a, b container.Summary) int {
		return cmp.Or(cmp.Compare(a.Labels[executorLabel], b.Labels[executorLabel]), cmp.Compare(a.Created, b.Created))
	})
	found = slices.CompactFunc(found, func(a, b container.Summary) bool {
		return a.Labels[executorLabel] == b.Labels[executorLabel]
	})
	for _, c := range found {
		if c.ID == "" || !d.owns(c.Labels) || c.Labels[executorLabel] == "" {
			return nil, errNotEngine
		}
		d.remember(msg.ExecutorID(c.Labels[executorLabel]), c.ID)
	}
	return found, nil
}

// inspect returns what the engine says about an executor's container. msg.ErrNoExecutor: the engine says that there is none.
func (d *Driver) inspect(ctx context.Context, id msg.ExecutorID) (container.InspectResponse, error) {
	containerID, err := d.containerID(ctx, id)
	if err != nil {
		return container.InspectResponse{}, err
	}
	c, err := d.look(ctx, containerID)
	if errors.Is(err, msg.ErrNoExecutor) {
		d.forget(id)
	}
	if err == nil && c.ID != containerID {
		err = errNotEngine
	}
	return c, err
}

// errNotEngine is an answer that reports success and is not about what was asked for.
var errNotEngine = errors.New("the answer is not the Docker Engine's; check what stands between runnerd and it (DOCKER_HOST)")

// look inspects the container that ref names. Its absence is only what the engine itself says about ref: any other 404 is an
// answer of something in front of it.
func (d *Driver) look(ctx context.Context, ref string) (container.InspectResponse, error) {
	c, err := d.engine.ContainerInspect(ctx, ref)
	switch {
	case cerrdefs.IsNotFound(err) && strings.HasSuffix(err.Error(), "No such container: "+ref):
		return c, fmt.Errorf("%w: %w", msg.ErrNoExecutor, err)
	case err != nil:
		return c, err
	case c.ContainerJSONBase == nil || c.State == nil || c.Config == nil:
		return c, errNotEngine
	}
	return c, nil
}

// containerOf is msg.Container for what inspect returned.
func containerOf(id msg.ExecutorID, c container.InspectResponse) (msg.Container, error) {
	started, err := timeOf(c.State.StartedAt)
	if err != nil {
		return msg.Container{}, fmt.Errorf("read when it was started: %w", err)
	}
	return msg.Container{ID: id, State: stateOf(c.State.Status), Image: msg.ImageID(c.Image), StartedAt: started}, nil
}

// timeOf is the zero time where the engine says the year 1: not yet.
func timeOf(stamp string) (time.Time, error) { return time.Parse(time.RFC3339Nano, stamp) }

func (d *Driver) owns(labels map[string]string) bool { return labels[runnerLabel] == d.runner }

func (d *Driver) known(id msg.ExecutorID) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ids[id]
}

func (d *Driver) remember(id msg.ExecutorID, containerID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ids[id] = containerID
}

func (d *Driver) forget(id msg.ExecutorID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.ids, id)
}
