package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
)

func TestExecReportsOutcomeDespiteRunnerFailure(t *testing.T) {
	server, err := startServer(ServerConfig{Listen: "127.0.0.1:0", Token: "t"}, nil, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.close(); err != nil {
			t.Error(err)
		}
	}()
	id, err := server.Submit(devserver.TaskRequest{Image: "plugin", TaskType: "sample.Hello"})
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("the network cannot be removed")
	var output bytes.Buffer
	if err := reportTask(server, id, &output, failed); err != nil || output.Len() > 0 {
		t.Errorf("before the task ended: %q, %v", &output, err)
	}
	if err := server.Abort(id, "enough"); err != nil {
		t.Fatal(err)
	}
	taskErr := reportTask(server, id, &output, failed)
	if exit, is := errors.AsType[exitError](taskErr); !is || exit.code != exitNoResult || !strings.Contains(output.String(), "aborted after") ||
		!strings.Contains(output.String(), "note: type sample.Hello is not defined") {
		t.Errorf("after the task ended: %q, %v", &output, taskErr)
	}
}

func TestTaskErrorNamesTheOutcome(t *testing.T) {
	for outcome, want := range map[api.Outcome]string{
		api.OutcomeAborted:  "the task was aborted",
		api.OutcomeTimedOut: "the task timed out",
		api.OutcomeFailed:   "the task failed without a result",
	} {
		if err := taskError(devserver.TaskView{State: devserver.Failed, Outcome: outcome}); err.Error() != want {
			t.Errorf("%s: %v", outcome, err)
		}
	}
}

func TestExecCleansUpWhenItsOutputIsClosed(t *testing.T) {
	t.Parallel()
	plugin, temporary := filepath.Join(t.TempDir(), "plugin"), t.TempDir()
	must(t, os.WriteFile(plugin, []byte("#!/bin/sh\nwhile echo at work; do sleep 0.1; done\n"), 0o700))
	p := exec.Command("runnerd", "exec", "--driver=process", "--type=sample.Endless", plugin)
	p.Env = append(os.Environ(), "TMPDIR="+temporary)
	output := new(bytes.Buffer)
	p.Stderr = output
	out, err := p.StdoutPipe()
	must(t, err)
	must(t, p.Start())
	_, err = io.ReadFull(out, make([]byte, 1))
	must(t, err)
	must(t, out.Close())
	_ = p.Wait() // the exit code is checked
	if code := p.ProcessState.ExitCode(); code != exitNoResult || !strings.Contains(output.String(), "the task was aborted") {
		t.Errorf("got %v:\n%s", p.ProcessState, output)
	}
	files, err := os.ReadDir(temporary)
	must(t, err)
	if len(files) > 0 {
		t.Errorf("remaining files: %v", files)
	}
}

func TestExecKeepsExitCode1ForPluginFailure(t *testing.T) {
	file := filepath.Join(t.TempDir(), "types.yaml")
	must(t, os.WriteFile(file, []byte("types: [a]"), 0o600))
	for name, c := range map[string]struct {
		args     []string
		code     int
		wantText string
	}{
		"no temporary directory": {[]string{}, exitNoResult, "create a temporary state directory"},
		"invalid definitions":    {[]string{"--type-definitions=" + file}, exitUsage, file},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "none"))
			output := new(bytes.Buffer)
			args := append([]string{"exec", "--driver=process", "--type=a.B", "plugin"}, c.args...)
			if code := execute(t.Context(), args, io.Discard, output); code != c.code || !strings.Contains(output.String(), c.wantText) {
				t.Errorf("exit code %d: %s", code, output)
			}
		})
	}
}

func TestExecPropertyIsTextOrJSON(t *testing.T) {
	c := execCommand{Set: map[string]string{"plain": "7", "empty": "", "list": `["a"]`, "text": `"[INFO] hello"`}}
	got, err := c.request()
	must(t, err)
	want := map[string]any{"plain": "7", "empty": "", "list": []any{"a"}, "text": "[INFO] hello"}
	if diff := cmp.Diff(want, got.Properties); diff != "" {
		t.Error(diff)
	}
	c.Set = map[string]string{"text": "[INFO] hello"}
	if _, err := c.request(); err == nil || !strings.Contains(err.Error(), `--set 'text="[INFO] hello"'`) {
		t.Errorf("got error %v", err)
	}
}
