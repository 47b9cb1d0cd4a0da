package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"runnerd/infra/control"
	"runnerd/spool"
)

// A runner that hangs accepts the connection and does not answer.
func TestStatusOfHungRunnerShowsItsSpool(t *testing.T) {
	dir := t.TempDir()
	files, err := spool.Dir(filepath.Join(dir, "spool"))
	must(t, err)
	s, err := spool.Open(files, spool.Options{})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	listener, err := control.Listen(dir)
	must(t, err)
	defer listener.Close()
	stdout, stderr := new(bytes.Buffer), new(bytes.Buffer)
	if code := execute(t.Context(), []string{"status", "--state-dir=" + dir}, stdout, stderr); code != exitNoRunner {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"No runner answers. This is the content of its spool.", "0 waiting, 0 running"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("no %q in %s", want, stdout)
		}
	}
	if !strings.Contains(stderr.String(), "deadline exceeded") {
		t.Errorf("stderr: %s", stderr)
	}
}
