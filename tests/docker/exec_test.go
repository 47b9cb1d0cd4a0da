package docker

import (
	"bytes"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"runnerd/tests/rig"
)

func TestExecRunsOneTaskAndItsExitCodeTellsWhatBecameOfIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"it completes": {[]string{"-t", "sample.Hello", "-s", "yourName=World"}, 0,
			[]string{"completed after", "greeting = Hello World", "comment: Hello World", "Finished executing command"}},
		"the plugin says that it failed": {[]string{"-t", "sample.Fail", "-s", "message=as asked"}, 1,
			[]string{"failed after", "as asked", "the plugin says that the task has failed"}},
		"a script": {[]string{"-t", "sample.Lookup", "-s", "prefix=Al"}, 0,
			[]string{`commandResponse = [{"label":"Alan","value":"alan"}]`, "Successfully"}},
		"a connection test that fails": {[]string{"-t", "sample.TestConnection", "-s", `server={"url": "http://127.0.0.1:9", "username": "admin", "password": "correct horse"}`}, 0,
			[]string{"connecting to http://127.0.0.1:9 as admin with ********", "completed after", `connection refused","success":false}`}},
		"there is no result": {[]string{"-t", "sample.Misbehave", "-s", "how=exit-without-result"}, 4,
			[]string{"exited with code 3 without a result", "there is no result: the task is failed"}},
		"a property that the type does not have": {[]string{"-t", "sample.Hello", "-s", "myName=World"}, 2,
			[]string{`no property "myName"`, "yourName"}},
		"a property that is no JSON": {[]string{"-t", "sample.Hello", "-s", "yourName={"}, 2, []string{"--set yourName", "is none"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := execute(t, append([]string{shop.Green}, c.args...))
			_ = p.Wait() // its code tells
			said := p.Stdout.(*bytes.Buffer).String()
			if code := p.ProcessState.ExitCode(); code != c.code {
				t.Errorf("it ends with code %d, want %d:\n%s", code, c.code, said)
			}
			for _, text := range c.says {
				if !strings.Contains(said, text) {
					t.Errorf("it does not say %q:\n%s", text, said)
				}
			}
		})
	}
}

func execute(t *testing.T, args []string) *exec.Cmd {
	t.Helper()
	if shop == nil {
		t.Skip("no Docker Engine answers")
	}
	p := exec.Command(shop.Runnerd, append([]string{"exec", "--type-definitions", "../../infra/sampleplugin/type-definitions.yaml"}, args...)...)
	said := new(bytes.Buffer)
	p.Stdout, p.Stderr = said, said
	rig.Must(t, p.Start())
	return p
}

func TestExecAbortsItsTaskWhenItIsInterrupted(t *testing.T) {
	t.Parallel()
	if shop == nil {
		t.Skip("no Docker Engine answers")
	}
	p := exec.Command(shop.Runnerd, "exec", "--type-definitions", "../../infra/sampleplugin/type-definitions.yaml",
		shop.Green, "-t", "sample.Slow", "-s", "steps=5000")
	out, err := p.StdoutPipe()
	rig.Must(t, err)
	rig.Must(t, p.Start())
	var said bytes.Buffer
	for piece := make([]byte, 4096); err == nil && !strings.Contains(said.String(), "step 2 of "); {
		var n int
		n, err = out.Read(piece)
		said.Write(piece[:n])
	}
	rig.Must(t, err)
	rig.Must(t, p.Process.Signal(syscall.SIGINT))
	_, err = io.Copy(&said, out)
	rig.Must(t, err)
	_ = p.Wait() // its code tells
	if code := p.ProcessState.ExitCode(); code != 4 || !strings.Contains(said.String(), "aborted after") {
		t.Errorf("it ends with code %d:\n%s", code, said.String())
	}
}
