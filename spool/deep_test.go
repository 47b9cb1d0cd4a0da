package spool_test

import (
	"os"
	"path/filepath"
	"testing"

	"runnerd/infra/litter/littertest"
	msg "runnerd/messages"
)

func TestAnExecutorIsRemovedHoweverDeepItsDirectoriesAre(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	ok(t, s.CreateExecutor(msg.ExecutorRecord{ID: ex1}, nil))
	littertest.Nest(t, filepath.Join(dir, "executors", string(ex1), "out"))
	littertest.FewDescriptors(t)
	ok(t, s.RemoveExecutor(ex1))
	left, err := os.ReadDir(filepath.Join(dir, "tmp"))
	ok(t, err)
	same(t, len(left), 0)
}
