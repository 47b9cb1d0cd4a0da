package tests

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestFaultsTableNamesExistingTests(t *testing.T) {
	table, err := os.ReadFile("../docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test[A-Z]\\w+)`").FindAllStringSubmatch(string(table), -1)
	if len(named) < 50 {
		t.Fatalf("only %d tests found in docs/faults.md: its format has changed", len(named))
	}
	existing := testNames(t)
	for _, name := range named {
		if !existing[name[1]] {
			t.Errorf("docs/faults.md names a missing test: %s", name[1])
		}
	}
}

// testNames returns the names of all tests of the program.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	found, declared := map[string]bool{}, regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, name := range declared.FindAllStringSubmatch(string(text), -1) {
			found[name[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
