package docker

import (
	"context"

	cerrdefs "github.com/containerd/errdefs"

	msg "runnerd/messages"
)

// Processes counts those that run in the executor; none in one that has ended.
func (d *Driver) Processes(ctx context.Context, id msg.ExecutorID) (int, error) {
	top, err := d.engine.ContainerTop(ctx, d.name(id), []string{"-eo", "pid"})
	if cerrdefs.IsConflict(err) { // it does not run
		return 0, nil
	}
	if err != nil {
		return 0, d.failed(ctx, "count the processes of executor "+string(id), err)
	}
	return len(top.Processes), nil
}
