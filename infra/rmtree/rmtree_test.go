package rmtree_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"runnerd/infra/rmtree"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// limitDescriptors limits the process to 50 descriptors.
func limitDescriptors(t *testing.T) {
	t.Helper()
	var before syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before))
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 50, Max: before.Max}))
	t.Cleanup(func() { must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before)) })
}

func open(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	must(t, err)
	t.Cleanup(func() { must(t, root.Close()) })
	return root
}

// nest creates nested directories, each with a file, an empty directory and a small tree beside it.
func nest(t *testing.T, dir string, levels int) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	must(t, err)
	for range levels {
		must(t, root.WriteFile("file", nil, 0o600))
		must(t, root.Mkdir("empty", 0o700))
		must(t, root.MkdirAll("other/in/it", 0o700))
		must(t, root.Mkdir("deeper", 0o700))
		next, err := root.OpenRoot("deeper")
		must(t, errors.Join(err, root.Close()))
		root = next
	}
	must(t, root.Close())
}

func TestNestedDirectoriesNeedFewDescriptors(t *testing.T) {
	dir := t.TempDir()
	nest(t, dir, 2000)
	for _, taken := range []string{".rmtree-1", ".rmtree-3"} { // names that a plugin may choose as well
		must(t, os.MkdirAll(filepath.Join(dir, taken, "in"), 0o700))
	}
	must(t, os.WriteFile(filepath.Join(dir, ".rmtree-2"), nil, 0o600))
	limitDescriptors(t)
	must(t, rmtree.Empty(open(t, dir)))
	remaining, err := os.ReadDir(dir)
	must(t, err)
	if len(remaining) > 0 {
		t.Errorf("remaining: %v", remaining)
	}
}

func TestRemoveDeletesOnlyTheNamedEntry(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	for _, name := range []string{filepath.Join(outside, "file"), filepath.Join(dir, "file"), filepath.Join(dir, "stays")} {
		must(t, os.WriteFile(name, nil, 0o600))
	}
	must(t, os.Mkdir(filepath.Join(dir, "full"), 0o700))
	nest(t, filepath.Join(dir, "full"), 3)
	for _, link := range []string{"link", "full/link", "full/deeper/link"} {
		must(t, os.Symlink(outside, filepath.Join(dir, link)))
	}
	root := open(t, dir)
	for _, name := range []string{"file", "full", "link", "full", "nothing"} {
		must(t, rmtree.Remove(root, name))
	}
	for _, name := range []string{filepath.Join(outside, "file"), filepath.Join(dir, "stays")} {
		_, err := os.Lstat(name)
		must(t, err)
	}
	remaining, err := os.ReadDir(dir)
	must(t, err)
	if len(remaining) != 1 {
		t.Errorf("remaining: %v", remaining)
	}
}

func TestUnremovableEntriesBlockNoOthers(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may remove all")
	}
	dir := t.TempDir()
	for n := range 10 {
		must(t, os.MkdirAll(filepath.Join(dir, strconv.Itoa(n), "a", "b", "c"), 0o700))
	}
	closed := filepath.Join(dir, "5", "a", "b")
	must(t, os.Chmod(closed, 0o500))
	if err := rmtree.Empty(open(t, dir)); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("empty returns %v", err)
	}
	remaining, err := os.ReadDir(dir)
	must(t, err)
	if len(remaining) != 1 {
		t.Errorf("remaining: %v", remaining)
	}
	must(t, filepath.WalkDir(dir, func(name string, _ fs.DirEntry, _ error) error { return os.Chmod(name, 0o700) }))
}
