package main

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// testTimeout is how long a test waits for an expected event. No test asserts it.
const testTimeout = 90 * time.Second

// TestMain puts this test binary into PATH as runnerd, so that tests can start the program as a process.
func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"runnerd": main}) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReadOnlyCommandEndsWithItsReader(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	must(t, err)
	must(t, reader.Close())
	output := new(bytes.Buffer)
	p := exec.Command("runnerd", "version")
	p.Stdout, p.Stderr = writer, output
	_ = p.Run() // the signal is checked
	must(t, writer.Close())
	if status, is := p.ProcessState.Sys().(syscall.WaitStatus); !is || status.Signal() != syscall.SIGPIPE || output.Len() > 0 {
		t.Errorf("got %v with output %q", p.ProcessState, output)
	}
}
