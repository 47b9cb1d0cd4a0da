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

// Containers are found by label, and then by the engine's id. Both are stable, while the name can change (docker rename).

// containerID returns the engine's id of an executor's container.
func (d *Driver) containerID(ctx context.Context, id msg.ExecutorID) (string, error) {
	if known := d.cachedID(id); known != "" {
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

// byName returns the id of a container that was not in the list, because an empty list may come from a proxy and proves nothing.
func (d *Driver) byName(ctx context.Context, id msg.ExecutorID) (string, error) {
	c, err := d.inspectRef(ctx, d.name(id))
	if err != nil {
		return "", err
	}
	if !d.owns(c.Config.Labels) || c.Config.Labels[executorLabel] != string(id) {
		return "", fmt.Errorf("container %s is not this runner's; remove or rename it", d.name(id))
	}
	d.cacheID(id, c.ID)
	return c.ID, nil
}

// containers lists this runner's containers and caches their ids. It returns one container per executor, the oldest: an image
// committed from a container inherits its labels, and so does every container run from that image.
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
			return nil, errNotFromEngine
		}
		d.cacheID(msg.ExecutorID(c.Labels[executorLabel]), c.ID)
	}
	return found, nil
}

// inspect inspects an executor's container. It returns msg.ErrNoExecutor only if the engine itself says that there is none.
func (d *Driver) inspect(ctx context.Context, id msg.ExecutorID) (container.InspectResponse, error) {
	containerID, err := d.containerID(ctx, id)
	if err != nil {
		return container.InspectResponse{}, err
	}
	c, err := d.inspectRef(ctx, containerID)
	if errors.Is(err, msg.ErrNoExecutor) {
		d.uncacheID(id)
	}
	if err == nil && c.ID != containerID {
		err = errNotFromEngine
	}
	return c, err
}

// errNotFromEngine is the error for a successful response that does not match the request.
var errNotFromEngine = errors.New("the response is not from the Docker Engine; check for a proxy between runnerd and the engine (DOCKER_HOST)")

// inspectRef inspects the container ref, an id or a name. It returns msg.ErrNoExecutor only for the engine's own message about
// ref: any other 404 comes from something in front of the engine.
func (d *Driver) inspectRef(ctx context.Context, ref string) (container.InspectResponse, error) {
	c, err := d.engine.ContainerInspect(ctx, ref)
	switch {
	case cerrdefs.IsNotFound(err) && strings.HasSuffix(err.Error(), "No such container: "+ref):
		return c, fmt.Errorf("%w: %w", msg.ErrNoExecutor, err)
	case err != nil:
		return c, err
	case c.ContainerJSONBase == nil || c.State == nil || c.Config == nil:
		return c, errNotFromEngine
	}
	return c, nil
}

// containerOf converts the result of inspect.
func containerOf(id msg.ExecutorID, c container.InspectResponse) (msg.Container, error) {
	started, err := timeOf(c.State.StartedAt)
	if err != nil {
		return msg.Container{}, fmt.Errorf("read when it was started: %w", err)
	}
	return msg.Container{ID: id, State: stateOf(c.State.Status), Image: msg.ImageID(c.Image), StartedAt: started}, nil
}

// timeOf parses the engine's timestamps. The year 1 means "not yet" and gives the zero time.
func timeOf(stamp string) (time.Time, error) { return time.Parse(time.RFC3339Nano, stamp) }

func (d *Driver) owns(labels map[string]string) bool { return labels[runnerLabel] == d.runner }

func (d *Driver) cachedID(id msg.ExecutorID) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ids[id]
}

func (d *Driver) cacheID(id msg.ExecutorID, containerID string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ids[id] = containerID
}

func (d *Driver) uncacheID(id msg.ExecutorID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.ids, id)
}
