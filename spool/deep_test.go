package spool_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	msg "runnerd/messages"
)

func TestAnExecutorIsRemovedHoweverDeepItsDirectoriesAre(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	ok(t, s.CreateExecutor(msg.ExecutorRecord{ID: ex1}, nil))
	at, err := os.OpenRoot(filepath.Join(dir, "executors", string(ex1), "out"))
	ok(t, err)
	for range 2000 {
		ok(t, at.Mkdir("deeper", 0o700))
		next, err := at.OpenRoot("deeper")
		ok(t, errors.Join(err, at.Close()))
		at = next
	}
	ok(t, at.Close())
	var before syscall.Rlimit
	ok(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before))
	ok(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 200, Max: before.Max}))
	defer func() { ok(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before)) }()
	ok(t, s.RemoveExecutor(ex1))
	left, err := os.ReadDir(filepath.Join(dir, "tmp"))
	ok(t, err)
	same(t, len(left), 0)
}
