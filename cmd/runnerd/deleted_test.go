package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestTheNoteOfADeletionIsReplacedAndNeverHalfThere(t *testing.T) {
	dir := t.TempDir()
	k := configKeeper{note: filepath.Join(dir, "deleted")}
	must(t, os.WriteFile(k.note, []byte("the first note"), 0o600))
	first, err := os.Open(k.note)
	must(t, err)
	must(t, k.NoteDeletion())
	text, err := io.ReadAll(first)
	must(t, errors.Join(err, first.Close()))
	if string(text) != "the first note" {
		t.Errorf("while the second is written the first is %q", text)
	}
	text, err = os.ReadFile(k.note)
	must(t, err)
	if !strings.HasSuffix(string(text), " is being removed") {
		t.Errorf("it says %q", text)
	}
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) != 1 {
		t.Errorf("there are %v", left)
	}
}

func TestTheRemainsOfADeletedRunnerAreRemovedHoweverDeepTheyAre(t *testing.T) {
	d := &daemon{}
	d.config.Self.StateDir = t.TempDir()
	must(t, os.Mkdir(d.remains(), 0o700))
	at, err := os.OpenRoot(d.remains())
	must(t, err)
	for range 2000 {
		must(t, at.Mkdir("deeper", 0o700))
		next, err := at.OpenRoot("deeper")
		must(t, errors.Join(err, at.Close()))
		at = next
	}
	must(t, at.Close())
	var before syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before))
	must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 200, Max: before.Max}))
	defer func() { must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before)) }()
	must(t, d.meetDeleted(t.Context()))
	if _, err := os.Stat(d.remains()); !os.IsNotExist(err) {
		t.Errorf("they are still there: %v", err)
	}
}
