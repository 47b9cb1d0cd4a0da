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

func TestExecTellsATasksOutcomeThoughItsRunnerFailsAfterwardsAndNoOther(t *testing.T) {
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
	var said bytes.Buffer
	if err := tell(server, id, &said, failed); err != nil || said.Len() > 0 {
		t.Errorf("before the task has ended: %q, %v", &said, err)
	}
	if err := server.Abort(id, "enough"); err != nil {
		t.Fatal(err)
	}
	verdict := tell(server, id, &said, failed)
	if exit, is := errors.AsType[exitError](verdict); !is || exit.code != exitNoResult || !strings.Contains(said.String(), "aborted after") ||
		!strings.Contains(said.String(), "note: there is no definition of sample.Hello") {
		t.Errorf("afterwards: %q, %v", &said, verdict)
	}
}

func TestExecDeniesNoResultThatAStoppedTaskHasLeft(t *testing.T) {
	for outcome, want := range map[api.Outcome]string{
		api.OutcomeAborted:  "the task is aborted",
		api.OutcomeTimedOut: "the task ran longer than it may",
		api.OutcomeFailed:   "there is no result: the task is failed",
	} {
		if err := verdict(devserver.TaskView{State: devserver.Failed, Outcome: outcome}); err.Error() != want {
			t.Errorf("%s: %v", outcome, err)
		}
	}
}

func TestExecAbortsItsTaskAndLeavesNothingBehindWhenNobodyReadsItsOutput(t *testing.T) {
	t.Parallel()
	plugin, temporary := filepath.Join(t.TempDir(), "plugin"), t.TempDir()
	must(t, os.WriteFile(plugin, []byte("#!/bin/sh\nwhile echo at work; do sleep 0.1; done\n"), 0o700))
	p := exec.Command("runnerd", "exec", "--driver=process", "--type=sample.Endless", plugin)
	p.Env = append(os.Environ(), "TMPDIR="+temporary)
	said := new(bytes.Buffer)
	p.Stderr = said
	out, err := p.StdoutPipe()
	must(t, err)
	must(t, p.Start())
	_, err = io.ReadFull(out, make([]byte, 1))
	must(t, err)
	must(t, out.Close())
	_ = p.Wait() // its code tells
	if code := p.ProcessState.ExitCode(); code != exitNoResult || !strings.Contains(said.String(), "the task is aborted") {
		t.Errorf("it ends as %v:\n%s", p.ProcessState, said)
	}
	left, err := os.ReadDir(temporary)
	must(t, err)
	if len(left) > 0 {
		t.Errorf("it leaves %v", left)
	}
}

func TestOnlyThePluginsOwnWordIsExitCode1OfExec(t *testing.T) {
	file := filepath.Join(t.TempDir(), "types.yaml")
	must(t, os.WriteFile(file, []byte("types: [a]"), 0o600))
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"there is no room for its state": {[]string{}, exitNoResult, "make a state directory"},
		"the definitions are none":       {[]string{"--type-definitions=" + file}, exitUsage, file},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "none"))
			said := new(bytes.Buffer)
			args := append([]string{"exec", "--driver=process", "--type=a.B", "plugin"}, c.args...)
			if code := execute(t.Context(), args, io.Discard, said); code != c.code || !strings.Contains(said.String(), c.says) {
				t.Errorf("it ends with code %d: %s", code, said)
			}
		})
	}
}

func TestAPropertyIsATextOrJSON(t *testing.T) {
	c := execCommand{Set: map[string]string{"plain": "7", "empty": "", "list": `["a"]`, "text": `"[INFO] hello"`}}
	got, err := c.request()
	must(t, err)
	want := map[string]any{"plain": "7", "empty": "", "list": []any{"a"}, "text": "[INFO] hello"}
	if diff := cmp.Diff(want, got.Properties); diff != "" {
		t.Error(diff)
	}
	c.Set = map[string]string{"text": "[INFO] hello"}
	if _, err := c.request(); err == nil || !strings.Contains(err.Error(), `--set 'text="[INFO] hello"'`) {
		t.Errorf("it says %v", err)
	}
}
