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

// patience is how long a test waits for what must happen; never part of what is asserted.
const patience = 90 * time.Second

// TestMain lets tests start the program as a process of its own: it is this binary, under the name runnerd, in PATH.
func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"runnerd": main}) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestACommandThatOnlyLooksEndsWithWhoeverReadsIt(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	must(t, err)
	must(t, reader.Close())
	said := new(bytes.Buffer)
	p := exec.Command("runnerd", "version")
	p.Stdout, p.Stderr = writer, said
	_ = p.Run() // its end tells
	must(t, writer.Close())
	if how, is := p.ProcessState.Sys().(syscall.WaitStatus); !is || how.Signal() != syscall.SIGPIPE || said.Len() > 0 {
		t.Errorf("it ends as %v, and says %q", p.ProcessState, said)
	}
}
