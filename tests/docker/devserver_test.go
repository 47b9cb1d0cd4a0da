package docker

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"runnerd/tests/rig"
)

func TestEveryLineAboutTheDevelopmentServerCanBePasted(t *testing.T) {
	t.Parallel()
	if shop == nil {
		t.Skip("no Docker Engine answers")
	}
	text, err := os.ReadFile("../../docs/devserver.md")
	rig.Must(t, err)
	address := rig.FreeAddress(t)
	var said bytes.Buffer
	dev := exec.Command(shop.Runnerd, "dev", "--listen", address)
	dev.Dir, dev.Stdout, dev.Stderr = "../..", &said, &said
	rig.Must(t, dev.Start())
	ended := make(chan error, 1)
	go func() { ended <- dev.Wait() }()
	t.Cleanup(func() { _ = dev.Process.Kill() }) // where the last line has not ended it
	rig.Until(t, "a runner has registered", func() bool {
		out, err := exec.Command("curl", "-sS", "http://"+address+"/api/runners").Output()
		return err == nil && strings.Contains(string(out), "runner-")
	})

	var script strings.Builder
	script.WriteString("set -e\n")
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		script.WriteString(strings.ReplaceAll(block[1], "127.0.0.1:5516", address))
	}
	paste := exec.Command("sh", "-c", script.String())
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
	if err := <-ended; err != nil {
		t.Errorf("the runner was deleted, and dev ends with %v:\n%s", err, &said)
	}
}
