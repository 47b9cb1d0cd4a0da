package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
)

func TestKilledRunnersChildProcessEndsAndJobFails(t *testing.T) {
	m := newManager(t)
	plugin, pipe := filepath.Join(t.TempDir(), "plugin"), filepath.Join(t.TempDir(), "pipe")
	must(t, os.WriteFile(plugin, []byte("#!/bin/sh\necho at work\nsleep 1000 >"+pipe+"\n"), 0o700))
	must(t, syscall.Mkfifo(pipe, 0o600))
	image := "--process-image=plugin=" + plugin
	killed := m.start(image)
	id, err := m.server.Submit(devserver.TaskRequest{Image: "plugin", TaskType: "sample.Endless"})
	must(t, err)
	held, err := os.Open(pipe) // returns when the child has opened it
	must(t, err)
	defer held.Close()
	m.waitForNotice("READY=1")
	must(t, killed.Process.Kill())
	_ = killed.Wait() // it was killed

	next := m.start(image, "--on-exit=detach")
	_, err = held.Read(make([]byte, 1)) // returns when no process has it open
	if err != io.EOF {
		t.Errorf("the child still runs: %v", err)
	}
	view, err := m.server.WaitLog(t.Context(), id)
	must(t, err)
	if view.Outcome != api.OutcomeFailed || !strings.Contains(view.Message, "the runner was restarted while the job ran in a child process") {
		t.Errorf("the job is %s: %s", view.State, view.Message)
	}
	for files := []os.DirEntry{nil}; len(files) > 0; time.Sleep(10 * time.Millisecond) {
		files, err = os.ReadDir(filepath.Join(m.state, "processes"))
		must(t, err)
	}
	m.waitForNotice("READY=1")
	must(t, next.Process.Signal(syscall.SIGTERM))
	m.waitForNotice("STOPPING=1")
	must(t, next.Wait())
	if output := next.Stderr.(*syncBuffer).String(); !strings.Contains(output, "child processes end with the runner") {
		t.Errorf("there is no warning: %s", output)
	}
}
