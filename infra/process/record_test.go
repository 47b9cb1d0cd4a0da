package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestARecordThatCannotBeReadSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	damaged := filepath.Join(dir, "ex1")
	if err := os.Mkdir(damaged, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(damaged, "spec.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New(Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "remove "+damaged) {
		t.Errorf("it does not say how to go on: %v", err)
	}
}
