package spool_test

import (
	"os"
	"path/filepath"
	"testing"

	"runnerd/infra/rmtree/rmtreetest"
	msg "runnerd/messages"
)

func TestRemoveExecutorWithDeepDirectories(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	ok(t, s.CreateExecutor(msg.ExecutorRecord{ID: ex1}, nil))
	rmtreetest.Nest(t, filepath.Join(dir, "executors", string(ex1), "out"))
	rmtreetest.LimitDescriptors(t)
	ok(t, s.RemoveExecutor(ex1))
	remaining, err := os.ReadDir(filepath.Join(dir, "tmp"))
	ok(t, err)
	same(t, len(remaining), 0)
}
