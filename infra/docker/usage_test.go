package docker

import (
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestDiskUsageCountsBlocksAndEveryFile(t *testing.T) {
	for name, c := range map[string]struct {
		put         func(dir string) error
		least, most int64
	}{
		"file of a mebibyte": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "f"), make([]byte, 1<<20), 0o600) }, 1 << 20, 2 << 20},
		"sparse file": {func(dir string) error {
			if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
				return err
			}
			return os.Truncate(filepath.Join(dir, "f"), 1<<40)
		}, minFileCost, 1 << 20},
		"many empty files": {func(dir string) error {
			for n := range 2500 {
				if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(n)), nil, 0o600); err != nil {
					return err
				}
			}
			return nil
		}, 2500 * minFileCost, 4000 * minFileCost},
		"deeper than maxDepth": {func(dir string) error { return os.MkdirAll(filepath.Join(dir, strings.Repeat("d/", 200)), 0o700) }, minFileCost, 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := c.put(dir); err != nil {
				t.Fatal(err)
			}
			if got := diskUsage(t.Context(), dir, 0); got < c.least || got > c.most {
				t.Errorf("usage is %d bytes, want %d to %d", got, c.least, c.most)
			}
		})
	}
}

func TestTooDeepDirectoriesLeakNoDescriptors(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, strings.Repeat("d/", maxDepth-1))
	for n := range 100 {
		if err := os.MkdirAll(filepath.Join(at, strconv.Itoa(n)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection would close leaked descriptors
	open := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := open()
	diskUsage(t.Context(), dir, 0)
	if after := open(); after > before+10 {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}

// A listed directory may have been replaced by a pipe, which would block the open, or by a link.
func TestDiskUsageOpensOnlyDirectories(t *testing.T) {
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.Symlink(dir, link)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{pipe, link} {
		if got := diskUsage(t.Context(), name, 0); got != 0 {
			t.Errorf("%s has %d bytes", name, got)
		}
	}
}
