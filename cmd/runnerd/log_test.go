package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
)

// The dispatcher waited for the reader of the log, and SIGTERM had no effect.
func TestUnreadLogStopsNoJob(t *testing.T) {
	m := newManager(t)
	reader, writer, err := os.Pipe()
	must(t, err)
	defer reader.Close()
	_, err = unix.FcntlInt(writer.Fd(), unix.F_SETPIPE_SZ, 4096)
	must(t, err)
	plugin := filepath.Join(t.TempDir(), "plugin")
	must(t, os.WriteFile(plugin, []byte("#!/bin/sh\nexit 3\n"), 0o700))
	c := m.startWith(writer, "--process-image=plugin="+plugin, "--log-level=debug", "--log-format=json")
	must(t, writer.Close())
	for range 40 { // far more lines than the pipe takes
		id, err := m.server.Submit(devserver.TaskRequest{Image: "plugin", TaskType: "sample.Hello"})
		must(t, err)
		view, err := m.server.WaitLog(t.Context(), id)
		must(t, err)
		if view.Outcome != api.OutcomeFailed {
			t.Errorf("the job is %s: %s", view.Outcome, view.Message)
		}
	}
	must(t, c.Process.Signal(syscall.SIGTERM))
	must(t, c.Wait())
}
