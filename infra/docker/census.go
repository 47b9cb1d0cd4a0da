package docker

import (
	"context"
	"os"
	"path/filepath"
	"syscall"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"runnerd/infra/driver"
	msg "runnerd/messages"
)

var _ driver.Census = (*Driver)(nil)

// Processes counts those that run in the executor; none in one that has ended.
func (d *Driver) Processes(ctx context.Context, id msg.ExecutorID) (int, error) {
	var top container.TopResponse
	containerID, err := d.containerID(ctx, id)
	if err == nil {
		top, err = d.engine.ContainerTop(ctx, containerID, []string{"-eo", "pid"})
	}
	if cerrdefs.IsConflict(err) { // it does not run
		return 0, nil
	}
	if err == nil && len(top.Titles) == 0 {
		err = errNotEngine
	}
	if err != nil {
		return 0, d.failedFor(ctx, "count the processes of executor "+string(id), id, err)
	}
	return len(top.Processes), nil
}

// Disk is how many bytes the executor has written, in its own file system and in what is mounted into it.
func (d *Driver) Disk(ctx context.Context, id msg.ExecutorID) (int64, error) {
	var c container.InspectResponse
	containerID, err := d.containerID(ctx, id)
	if err == nil {
		c, _, err = d.engine.ContainerInspectWithRaw(ctx, containerID, true)
	}
	if err == nil && (c.ContainerJSONBase == nil || c.ID != containerID) {
		err = errNotEngine
	}
	if err != nil {
		return 0, d.failedFor(ctx, "measure executor "+string(id), id, err)
	}
	var bytes int64
	if c.SizeRw != nil {
		bytes = *c.SizeRw
	}
	for _, m := range c.Mounts {
		if m.RW {
			bytes += below(ctx, m.Source, 0)
		}
	}
	return bytes, nil
}

// A plugin decides what is in its directories: however many files, however deep.
const (
	leastFile = 1 << 10 // what a file costs that holds nothing
	deepest   = 64      // directories in one another that are looked into
	atOnce    = 1000    // names of a directory in memory
)

// below adds up what can be seen of a directory, which may change meanwhile, until ctx ends.
func below(ctx context.Context, dir string, depth int) (bytes int64) {
	if depth == deepest {
		return 0
	}
	d, err := os.OpenFile(dir, syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0) // the plugin may have put something else in its place
	if err != nil {
		return 0
	}
	defer d.Close()
	for ctx.Err() == nil {
		entries, err := d.ReadDir(atOnce)
		for _, entry := range entries {
			if info, err := entry.Info(); err == nil { // its blocks: a file may have holes
				bytes += max(leastFile, info.Sys().(*syscall.Stat_t).Blocks*512)
			}
			if entry.IsDir() {
				bytes += below(ctx, filepath.Join(dir, entry.Name()), depth+1)
			}
		}
		if err != nil {
			break
		}
	}
	return bytes
}
