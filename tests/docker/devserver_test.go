package docker

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"runnerd/tests/harness"
)

func TestDevServerDocumentationCommandsRun(t *testing.T) {
	t.Parallel()
	if shared == nil {
		t.Skip("no Docker Engine answers")
	}
	text, err := os.ReadFile("../../docs/devserver.md")
	harness.Must(t, err)
	address := harness.FreeAddress(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.Timeout)
	t.Cleanup(cancel)
	var output bytes.Buffer
	dev := exec.Command(shared.Runnerd, "dev", "--listen", address)
	dev.Dir, dev.Stdout, dev.Stderr = "../..", &output, &output
	harness.Must(t, dev.Start())
	var failed error
	ended := make(chan struct{})
	go func() { failed = dev.Wait(); close(ended) }()
	t.Cleanup(func() { // stop dev, unless the last command has ended it
		_ = dev.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(harness.Timeout):
			_ = dev.Process.Kill()
			<-ended
		}
	})
	harness.WaitUntil(t, "a runner has registered", func() bool {
		out, err := exec.CommandContext(ctx, "curl", "-sS", "http://"+address+"/api/runners").Output()
		return err == nil && strings.Contains(string(out), "runner-")
	})

	var script strings.Builder
	script.WriteString("set -e\n")
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		script.WriteString(strings.ReplaceAll(block[1], "127.0.0.1:5516", address))
	}
	paste := exec.CommandContext(ctx, "sh", "-c", script.String())
	paste.WaitDelay = time.Second // the shell's children may keep the output open
	out, err := paste.CombinedOutput()
	answers := string(out)
	if err != nil {
		t.Fatalf("%v\n%s", err, answers)
	}
	for _, want := range []string{
		`"state":"aborted"`, `"abortReason":"we have seen enough"`, `"waits":"for a runner with the capabilities gpu"`,
		`"commandResponse":[{"label":"Ada","value":"ada"}`, `"op":"abort"`, "Hello World",
	} {
		if !strings.Contains(answers, want) {
			t.Errorf("no answer has %s:\n%.8000s", want, answers)
		}
	}
	select {
	case <-ended:
	case <-ctx.Done():
		t.Fatal("the runner was deleted, but dev does not exit")
	}
	if failed != nil {
		t.Errorf("the runner was deleted, but dev exited with %v:\n%s", failed, &output)
	}
}
