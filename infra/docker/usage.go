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

var _ driver.UsageReader = (*Driver)(nil)

// Processes returns the number of processes in the executor: 0 if it has exited.
func (d *Driver) Processes(ctx context.Context, id msg.ExecutorID) (int, error) {
	var top container.TopResponse
	containerID, err := d.containerID(ctx, id)
	if err == nil {
		top, err = d.engine.ContainerTop(ctx, containerID, []string{"-eo", "pid"})
	}
	if cerrdefs.IsConflict(err) { // conflict: not running
		return 0, nil
	}
	if err == nil && len(top.Titles) == 0 {
		err = errNotFromEngine
	}
	if err != nil {
		return 0, d.wrapErrorFor(ctx, "count the processes of executor "+string(id), id, err)
	}
	return len(top.Processes), nil
}

// Disk returns the number of bytes that the executor has written to its own file system and to its writable mounts.
func (d *Driver) Disk(ctx context.Context, id msg.ExecutorID) (int64, error) {
	var c container.InspectResponse
	containerID, err := d.containerID(ctx, id)
	if err == nil {
		c, _, err = d.engine.ContainerInspectWithRaw(ctx, containerID, true)
	}
	if err == nil && (c.ContainerJSONBase == nil || c.ID != containerID) {
		err = errNotFromEngine
	}
	if err != nil {
		return 0, d.wrapErrorFor(ctx, "measure executor "+string(id), id, err)
	}
	var bytes int64
	if c.SizeRw != nil {
		bytes = *c.SizeRw
	}
	for _, m := range c.Mounts {
		if m.RW {
			bytes += diskUsage(ctx, m.Source, 0)
		}
	}
	return bytes, nil
}

// A plugin controls the content of its directories, so their number of files and their depth are unbounded.
const (
	minFileCost  = 1 << 10 // bytes counted for an empty file
	maxDepth     = 64      // levels of nested directories that are read
	readDirBatch = 1000    // directory entries held in memory
)

// diskUsage returns the disk usage of a directory in bytes. The directory may change meanwhile. It stops when ctx ends.
func diskUsage(ctx context.Context, dir string, depth int) (bytes int64) {
	if depth == maxDepth {
		return 0
	}
	d, err := os.OpenFile(dir, syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0) // the plugin may have replaced the directory
	if err != nil {
		return 0
	}
	defer d.Close()
	for ctx.Err() == nil {
		entries, err := d.ReadDir(readDirBatch)
		for _, entry := range entries {
			if info, err := entry.Info(); err == nil { // blocks, not size: a file may be sparse
				bytes += max(minFileCost, info.Sys().(*syscall.Stat_t).Blocks*512)
			}
			if entry.IsDir() {
				bytes += diskUsage(ctx, filepath.Join(dir, entry.Name()), depth+1)
			}
		}
		if err != nil {
			break
		}
	}
	return bytes
}
