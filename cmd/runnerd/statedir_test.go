package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const otherUser = 12345

func TestUnsafeStateDirIsRejected(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory to another user")
	}
	for _, row := range []struct {
		name   string
		change func(t *testing.T, parent, dir string)
		want   string // empty: it is accepted
	}{
		{"new, in a closed directory", func(t *testing.T, _, dir string) { must(t, os.Remove(dir)) }, ""},
		{"closed", func(*testing.T, string, string) {}, ""},
		{"readable by others", func(t *testing.T, _, dir string) { must(t, os.Chmod(dir, 0o755)) }, ""},
		{"writable by others", func(t *testing.T, _, dir string) { must(t, os.Chmod(dir, 0o777)) }, "other users can write to it (mode -rwxrwxrwx)"},
		{"writable by a group", func(t *testing.T, _, dir string) { must(t, os.Chmod(dir, 0o770)) }, "other users can write to it"},
		{"of another user", func(t *testing.T, _, dir string) { must(t, os.Chown(dir, otherUser, 0)) }, "it belongs to user 12345"},
		{"in another user's directory", func(t *testing.T, parent, _ string) { must(t, os.Chown(parent, otherUser, 0)) }, "above it belongs to user 12345"},
		{"in a shared directory", func(t *testing.T, parent, _ string) { must(t, os.Chmod(parent, 0o777)) }, "write to the directory"},
		{"in a shared directory with the sticky bit", func(t *testing.T, parent, _ string) { must(t, os.Chmod(parent, 0o777|os.ModeSticky)) }, ""},
		{"in a group's directory", func(t *testing.T, parent, _ string) {
			must(t, errors.Join(os.Chown(parent, 0, otherUser), os.Chmod(parent, 0o770)))
		}, "write to the directory"},
		{"new, in another user's directory", func(t *testing.T, parent, dir string) {
			must(t, errors.Join(os.Remove(dir), os.Chown(parent, otherUser, 0)))
		}, "above it belongs to user 12345"},
		{"another user's link", func(t *testing.T, _, dir string) {
			must(t, errors.Join(os.Rename(dir, dir+".real"), os.Symlink(dir+".real", dir), os.Lchown(dir, otherUser, 0)))
		}, "the symbolic link"},
		{"own link into another user's directory", func(t *testing.T, parent, dir string) {
			elsewhere := filepath.Join(filepath.Dir(parent), "elsewhere")
			must(t, errors.Join(os.Mkdir(elsewhere, 0o700), os.Rename(dir, filepath.Join(elsewhere, "real")), os.Symlink(filepath.Join(elsewhere, "real"), dir),
				os.Chown(elsewhere, otherUser, 0)))
		}, "above it belongs to user 12345"},
		{"a file", func(t *testing.T, _, dir string) { must(t, errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600))) }, "not a directory"},
	} {
		t.Run(row.name, func(t *testing.T) {
			parent := filepath.Join(t.TempDir(), "parent")
			dir := filepath.Join(parent, "state")
			must(t, os.MkdirAll(dir, 0o700))
			row.change(t, parent, dir)
			before := tree(t, filepath.Dir(parent))
			err := checkStateDir(dir)
			if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("error %v, want %q", err, row.want)
			}
			if diff := cmp.Diff(before, tree(t, filepath.Dir(parent))); diff != "" {
				t.Errorf("the check changed something (-before +after):\n%s", diff)
			}
		})
	}
}

// tree lists everything below dir with its mode.
func tree(t *testing.T, dir string) (all []string) {
	t.Helper()
	must(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			all = append(all, info.Mode().String()+" "+path)
		}
		return err
	}))
	return all
}

// The directory that another user created in the shared temporary directory was used, with that user's keys.
func TestStateNeverGoesToSharedDirectory(t *testing.T) {
	for _, row := range []struct {
		name, home string
		mode       os.FileMode
		code       int
		want       string
	}{
		{name: "no state directory is known", code: exitUsage, want: "set --state-dir to a directory that this user can write"},
		{name: "own state directory", home: "state", mode: 0o700, code: exitUsage, want: "no registration token is set"},
		{name: "shared state directory", home: "state", mode: 0o777, code: exitUsage, want: "write to the directory"},
	} {
		t.Run(row.name, func(t *testing.T) {
			base := t.TempDir()
			t.Setenv("TMPDIR", base)
			t.Setenv("HOME", "/")
			t.Setenv("XDG_STATE_HOME", "")
			must(t, os.Mkdir(filepath.Join(base, "runnerd"), 0o700))
			if row.home != "" {
				home := filepath.Join(base, row.home)
				must(t, errors.Join(os.Mkdir(home, 0o700), os.Chmod(home, row.mode)))
				t.Setenv("XDG_STATE_HOME", home)
			}
			before, output := tree(t, base), new(bytes.Buffer)
			code := execute(t.Context(), []string{"run", "--store-name=/dev/null/db/store.db", "--release-url=http://127.0.0.1:1"}, new(bytes.Buffer), output)
			if code != row.code || !strings.Contains(output.String(), row.want) {
				t.Errorf("exit code %d, output without %q: %s", code, row.want, output)
			}
			if strings.Contains(output.String(), filepath.Join(base, "runnerd")) {
				t.Errorf("the shared temporary directory was considered: %s", output)
			}
			if diff := cmp.Diff(before, tree(t, base)); diff != "" {
				t.Errorf("rejected settings changed something (-before +after):\n%s", diff)
			}
		})
	}
}

func TestStateDirIsClosedToOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	must(t, errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o755)))
	d := &daemon{config: RunConfig{Self: SelfConfig{StateDir: dir}}}
	must(t, d.createStateDir(t.Context()))
	info, err := os.Stat(dir)
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, want 0700", info.Mode())
	}
}
