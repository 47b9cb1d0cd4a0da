package docker

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"runnerd/tests/harness"
)

func TestExecRunsTaskAndReturnsItsExitCode(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args        []string
		code        int
		wantMessage []string
	}{
		"task completes": {[]string{"-t", "sample.Hello", "-s", "yourName=World"}, 0,
			[]string{"completed after", "greeting = Hello World", "comment: Hello World", "Finished executing command"}},
		"task fails": {[]string{"-t", "sample.Fail", "-s", "message=as asked"}, 1,
			[]string{"failed after", "as asked", "the plugin reported a failure"}},
		"script": {[]string{"-t", "sample.Lookup", "-s", "prefix=Al"}, 0,
			[]string{`commandResponse = [{"label":"Alan","value":"alan"}]`, "Successfully"}},
		"failing connection test": {[]string{"-t", "sample.TestConnection", "-s", `server={"url": "http://127.0.0.1:9", "username": "admin", "password": "correct horse"}`}, 0,
			[]string{"connecting to http://127.0.0.1:9 as admin with ********", "completed after", `connection refused","success":false}`}},
		"no result": {[]string{"-t", "sample.Misbehave", "-s", "how=exit-without-result"}, 4,
			[]string{"exited with code 3 without a result", "the task failed without a result"}},
		"unknown property": {[]string{"-t", "sample.Hello", "-s", "myName=World"}, 2,
			[]string{`no property "myName"`, "yourName"}},
		"property with invalid JSON": {[]string{"-t", "sample.Hello", "-s", "yourName={"}, 2, []string{"--set yourName", "is not valid"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := execute(t, append([]string{shared.Green}, c.args...))
			_ = p.Wait() // the exit code is checked below
			output := p.Stdout.(*bytes.Buffer).String()
			if code := p.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exec ends with code %d, want %d:\n%s", code, c.code, output)
			}
			for _, text := range c.wantMessage {
				if !strings.Contains(output, text) {
					t.Errorf("the output lacks %q:\n%s", text, output)
				}
			}
		})
	}
}

// execute starts runnerd exec with these arguments.
func execute(t *testing.T, args []string) *exec.Cmd {
	t.Helper()
	if shared == nil {
		t.Skip("no Docker Engine answers")
	}
	p := exec.Command(shared.Runnerd, append([]string{"exec", "--type-definitions", "../../infra/sampleplugin/type-definitions.yaml"}, args...)...)
	output := new(bytes.Buffer)
	p.Stdout, p.Stderr = output, output
	harness.Must(t, p.Start())
	return p
}

func TestInterruptedExecAbortsItsTask(t *testing.T) {
	t.Parallel()
	if shared == nil {
		t.Skip("no Docker Engine answers")
	}
	p := exec.Command(shared.Runnerd, "exec", "--type-definitions", "../../infra/sampleplugin/type-definitions.yaml",
		shared.Green, "-t", "sample.Slow", "-s", "steps=5000")
	var messages bytes.Buffer
	p.Stderr = &messages
	out, err := p.StdoutPipe()
	harness.Must(t, err)
	harness.Must(t, p.Start())
	var output bytes.Buffer
	for piece := make([]byte, 4096); err == nil && !strings.Contains(output.String(), "step 2 of "); {
		var n int
		n, err = out.Read(piece)
		output.Write(piece[:n])
	}
	harness.Must(t, err)
	harness.Must(t, p.Process.Signal(syscall.SIGINT))
	_, err = io.Copy(&output, out)
	harness.Must(t, err)
	_ = p.Wait() // the exit code is checked below
	if code := p.ProcessState.ExitCode(); code != 4 || !strings.Contains(output.String(), "aborted after") {
		t.Errorf("exec ends with code %d:\n%s", code, output.String())
	}
	if want := "aborting the task (Ctrl-C): its plugin has up to 40s to end"; !strings.Contains(messages.String(), want) {
		t.Errorf("exec does not say what it waits for: %s", &messages)
	}
}
