package docker

import (
	"context"
	"io/fs"
	"path/filepath"
	"syscall"

	cerrdefs "github.com/containerd/errdefs"

	"runnerd/infra/driver"
	msg "runnerd/messages"
)

var _ driver.Census = (*Driver)(nil)

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

// Disk is how many bytes the executor has written, in its own file system and in what is mounted into it.
func (d *Driver) Disk(ctx context.Context, id msg.ExecutorID) (int64, error) {
	c, _, err := d.engine.ContainerInspectWithRaw(ctx, d.name(id), true)
	if err != nil {
		return 0, d.failed(ctx, "measure executor "+string(id), err)
	}
	var bytes int64
	if c.SizeRw != nil {
		bytes = *c.SizeRw
	}
	for _, m := range c.Mounts {
		if m.RW {
			bytes += below(m.Source)
		}
	}
	return bytes, nil
}

// below adds up what can be seen of a directory: a plugin may hide some of it, and change it meanwhile.
func below(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := entry.Info(); err == nil {
			bytes += info.Sys().(*syscall.Stat_t).Blocks * 512 // a file may have holes
		}
		return nil
	})
	return bytes
}
