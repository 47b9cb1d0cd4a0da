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

func TestADirectoryCostsWhatItsFilesTakeAndEachOfThemSomething(t *testing.T) {
	for name, c := range map[string]struct {
		put         func(dir string) error
		least, most int64
	}{
		"one of a mebibyte": {func(dir string) error { return os.WriteFile(filepath.Join(dir, "f"), make([]byte, 1<<20), 0o600) }, 1 << 20, 2 << 20},
		"one that is a hole": {func(dir string) error {
			if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
				return err
			}
			return os.Truncate(filepath.Join(dir, "f"), 1<<40)
		}, leastFile, 1 << 20},
		"many that are empty": {func(dir string) error {
			for n := range 2500 {
				if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(n)), nil, 0o600); err != nil {
					return err
				}
			}
			return nil
		}, 2500 * leastFile, 4000 * leastFile},
		"too deep to look": {func(dir string) error { return os.MkdirAll(filepath.Join(dir, strings.Repeat("d/", 200)), 0o700) }, leastFile, 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := c.put(dir); err != nil {
				t.Fatal(err)
			}
			if got := below(t.Context(), dir, 0); got < c.least || got > c.most {
				t.Errorf("it costs %d bytes, want %d to %d", got, c.least, c.most)
			}
		})
	}
}

func TestDirectoriesThatAreTooDeepToLookIntoTakeNoDescriptors(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, strings.Repeat("d/", deepest-1))
	for n := range 100 {
		if err := os.MkdirAll(filepath.Join(at, strconv.Itoa(n)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which closes what is forgotten
	open := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := open()
	below(t.Context(), dir, 0)
	if after := open(); after > before+10 {
		t.Errorf("%d descriptors are open, and %d were", after, before)
	}
}

// What was a directory when it was listed may be a pipe now, whose opening would wait for a writer, or lead somewhere else.
func TestWhatIsNoDirectoryAnyMoreIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.Symlink(dir, link)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{pipe, link} {
		if got := below(t.Context(), name, 0); got != 0 {
			t.Errorf("in %s there are %d bytes", name, got)
		}
	}
}
