package main

import (
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
