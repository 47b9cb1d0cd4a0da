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

	"runnerd/infra/rmtree/rmtreetest"
	msg "runnerd/messages"
)

func TestRecordDeletionReplacesTombstoneAtomically(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k := configStore{newDeletedDaemon(t).spool, filepath.Join(dir, "deleted")}
	must(t, os.WriteFile(k.tombstone, []byte("the first one"), 0o600))
	first, err := os.Open(k.tombstone)
	must(t, err)
	must(t, k.RecordDeletion())
	text, err := io.ReadAll(first)
	must(t, errors.Join(err, first.Close()))
	if string(text) != "the first one" {
		t.Errorf("the open first tombstone changed to %q", text)
	}
	text, err = os.ReadFile(k.tombstone)
	must(t, err)
	if !strings.HasPrefix(string(text), "the server deleted this runner at ") {
		t.Errorf("the new tombstone is %q", text)
	}
	files, err := os.ReadDir(dir)
	must(t, err)
	if len(files) != 1 {
		t.Errorf("remaining files: %v", files)
	}
}

func TestStartRemovesDeeplyNestedTrash(t *testing.T) {
	t.Parallel()
	d := &daemon{}
	d.config.Self.StateDir = t.TempDir()
	must(t, os.Mkdir(d.trash(), 0o700))
	rmtreetest.Nest(t, d.trash())
	rmtreetest.LimitDescriptors(t)
	must(t, d.checkDeletion(t.Context()))
	if _, err := os.Stat(d.trash()); !os.IsNotExist(err) {
		t.Errorf("the trash still exists: %v", err)
	}
}

func TestDrainReportsDeletion(t *testing.T) {
	t.Parallel()
	d := newDeletedDaemon(t)
	d.commands, d.deleted = newCommandServer(), make(chan struct{})
	close(d.deleted)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.drainByCommand(ctx, func(any) {}); err == nil || !strings.Contains(err.Error(), "the server deleted the runner") {
		t.Errorf("got error %v", err)
	}
}

func TestDrainReportsEachChange(t *testing.T) {
	d := newDeletedDaemon(t)
	d.commands = newCommandServer()
	reports, done := make(chan drainProgress), make(chan error, 1)
	go func() {
		done <- d.drainByCommand(context.Background(), func(progress any) { reports <- progress.(drainProgress) })
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
		if got := <-reports; got != row.want {
			t.Fatalf("got %+v, want %+v", got, row.want)
		}
	}
	close(d.commands.drained)
	must(t, <-done)
}

// newDeletedDaemon returns a daemon with a spool and a pending deletion.
func newDeletedDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{deletionPending: true}
	d.config.Self.StateDir = t.TempDir()
	must(t, d.openSpool(t.Context()))
	t.Cleanup(func() { must(t, d.spool.Close()) })
	return d
}
