package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"runnerd/infra/litter/littertest"
	msg "runnerd/messages"
)

func TestTheNoteOfADeletionIsReplacedAndNeverHalfThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k := configStore{condemned(t).spool, filepath.Join(dir, "deleted")}
	must(t, os.WriteFile(k.note, []byte("the first note"), 0o600))
	first, err := os.Open(k.note)
	must(t, err)
	must(t, k.RecordDeletion())
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
	t.Parallel()
	d := &daemon{}
	d.config.Self.StateDir = t.TempDir()
	must(t, os.Mkdir(d.remains(), 0o700))
	littertest.Nest(t, d.remains())
	littertest.FewDescriptors(t)
	must(t, d.meetDeleted(t.Context()))
	if _, err := os.Stat(d.remains()); !os.IsNotExist(err) {
		t.Errorf("they are still there: %v", err)
	}
}

func TestADrainThatADeletionOvertakesSaysSo(t *testing.T) {
	t.Parallel()
	d := condemned(t)
	d.commands, d.deleted = newCommandDoor(), make(chan struct{})
	close(d.deleted)
	closing, end := context.WithCancel(t.Context())
	end()
	if err := d.drainByCommand(closing, func(any) {}); err == nil || !strings.Contains(err.Error(), "the server has deleted the runner") {
		t.Errorf("it says %v", err)
	}
}

func TestADrainIsToldOfEachChange(t *testing.T) {
	d := condemned(t)
	d.commands = newCommandDoor()
	told, ended := make(chan drainProgress), make(chan error, 1)
	go func() {
		ended <- d.drainByCommand(context.Background(), func(progress any) { told <- progress.(drainProgress) })
	}()
	offer := msg.Offer{Job: msg.Job{ID: "j", Execution: "e", Image: "i"}, SessionKey: []byte("key"), Input: "aW5wdXQ="}
	for _, row := range []struct {
		change func() error
		want   drainProgress
	}{
		{func() error { return nil }, drainProgress{}},
		{func() error { return d.spool.Add(offer) }, drainProgress{Waiting: 1}},
		{func() error { return d.spool.CreateExecutor(msg.ExecutorRecord{ID: "x"}, nil) }, drainProgress{Waiting: 1, Executors: 1}},
		{func() error { return d.spool.HandOut(msg.HandOut{Execution: "e", Executor: "x", From: time.Now()}) }, drainProgress{Running: 1, Executors: 1}},
		{func() error { _, err := d.spool.End("e", msg.Ending{Outcome: msg.Failed}); return err }, drainProgress{Unreported: 1, Executors: 1}},
		{func() error { return d.spool.RemoveExecutor("x") }, drainProgress{Unreported: 1}},
		{func() error { return d.spool.Remove("e") }, drainProgress{}},
	} {
		must(t, row.change())
		if got := <-told; got != row.want {
			t.Fatalf("told is %+v, want %+v", got, row.want)
		}
	}
	close(d.commands.drained)
	must(t, <-ended)
}

// condemned is a daemon that has a spool, and was deleted before it started.
func condemned(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{condemned: true}
	d.config.Self.StateDir = t.TempDir()
	must(t, d.openSpool(t.Context()))
	t.Cleanup(func() { must(t, d.spool.Close()) })
	return d
}
