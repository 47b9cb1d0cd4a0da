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

func TestAKilledRunnersChildProcessEndsAndItsJobFails(t *testing.T) {
	m := newManager(t)
	plugin, pipe := filepath.Join(t.TempDir(), "plugin"), filepath.Join(t.TempDir(), "pipe")
	must(t, os.WriteFile(plugin, []byte("#!/bin/sh\necho at work\nsleep 1000 >"+pipe+"\n"), 0o700))
	must(t, syscall.Mkfifo(pipe, 0o600))
	image := "--process-image=plugin=" + plugin
	killed := m.start(image)
	id, err := m.server.Submit(devserver.TaskRequest{Image: "plugin", TaskType: "sample.Endless"})
	must(t, err)
	held, err := os.Open(pipe) // which returns once it is open for writing
	must(t, err)
	defer held.Close()
	m.hears("READY=1")
	must(t, killed.Process.Kill())
	_ = killed.Wait() // it was killed

	next := m.start(image, "--on-exit=detach")
	_, err = held.Read(make([]byte, 1)) // which returns once nothing of the job has it open
	if err != io.EOF {
		t.Errorf("its child goes on: %v", err)
	}
	view, err := m.server.WaitLog(t.Context(), id)
	must(t, err)
	if view.Outcome != api.OutcomeFailed || !strings.Contains(view.Message, "the runner was restarted while the job ran in a child process") {
		t.Errorf("its job is %s: %s", view.State, view.Message)
	}
	for left := []os.DirEntry{nil}; len(left) > 0; time.Sleep(10 * time.Millisecond) {
		left, err = os.ReadDir(filepath.Join(m.state, "processes"))
		must(t, err)
	}
	m.hears("READY=1")
	must(t, next.Process.Signal(syscall.SIGTERM))
	m.hears("STOPPING=1")
	must(t, next.Wait())
	if said := next.Stderr.(*output).String(); !strings.Contains(said, "child processes end with the runner") {
		t.Errorf("it does not warn: %s", said)
	}
}
