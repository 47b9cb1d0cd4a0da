// Package rmtreetest creates directory trees that are hard to remove.
package rmtreetest

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

// Nest creates nested directories in dir, deeper than the longest possible path.
func Nest(t *testing.T, dir string) {
	t.Helper()
	at, err := os.OpenRoot(dir)
	must(t, err)
	for range 2000 {
		must(t, at.Mkdir("deeper", 0o700))
		next, err := at.OpenRoot("deeper")
		must(t, errors.Join(err, at.Close()))
		at = next
	}
	must(t, at.Close())
}

// LimitDescriptors limits the process to 200 descriptors until the test ends.
func LimitDescriptors(t *testing.T) {
	t.Helper()
	var before syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before))
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 200, Max: before.Max}))
	t.Cleanup(func() { must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before)) })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
