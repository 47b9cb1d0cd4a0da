// Package mutants compiles tests with a deliberate bug in the program, for the tests that must find the bug.
package mutants

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Edit is a change of a source file: the file, a snippet that occurs in it exactly once, and the replacement.
type Edit [3]string

// Build compiles the tests of a package from sources with these edits, and returns the program's path. The paths of files and of the
// package are relative to root.
func Build(t testing.TB, root, pkg string, edits []Edit) (program string) {
	t.Helper()
	root, err := filepath.Abs(root)
	must(t, err)
	dir, sources := t.TempDir(), Apply(t, root, edits)
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for file, text := range sources {
		overlay.Replace[file] = filepath.Join(dir, fmt.Sprintf("%d-%s", len(overlay.Replace), filepath.Base(file)))
		must(t, os.WriteFile(overlay.Replace[file], []byte(text), 0o600))
	}
	text, err := json.Marshal(overlay)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "overlay.json"), text, 0o600))
	program = filepath.Join(dir, "mutant.test")
	// Most of the time goes into linking, so the program is linked without debug information.
	build := exec.Command("go", "test", "-c", "-ldflags", "-s -w", "-overlay", filepath.Join(dir, "overlay.json"), "-o", program, pkg)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// Apply returns the edited sources by file. It fails the test if a snippet does not occur exactly once.
func Apply(t testing.TB, root string, edits []Edit) map[string]string {
	t.Helper()
	sources := map[string]string{}
	for _, e := range edits {
		file := filepath.Join(root, e[0])
		if sources[file] == "" {
			text, err := os.ReadFile(file)
			must(t, err)
			sources[file] = string(text)
		}
		if n := strings.Count(sources[file], e[1]); n != 1 {
			t.Errorf("%s has %q %d times: adapt this bug", e[0], e[1], n)
		}
		sources[file] = strings.Replace(sources[file], e[1], e[2], 1)
	}
	return sources
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
