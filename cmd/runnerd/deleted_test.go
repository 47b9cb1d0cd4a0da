package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"runnerd/infra/litter/littertest"
	"runnerd/infra/release"
)

func TestTheNoteOfADeletionIsReplacedAndNeverHalfThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k := configKeeper{condemned(t).spool, filepath.Join(dir, "deleted")}
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

func TestASessionThatWasKeptIsResumedInItsOwnDeletionOnly(t *testing.T) {
	t.Parallel()
	d := condemned(t)
	var heard string
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		heard = r.URL.Path + " " + r.Header.Get("Authorization")
		out.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	resumed := func() bool {
		t.Helper()
		client, err := release.New(release.Options{URL: server.URL, Token: "registration"})
		must(t, err)
		if !d.resume(client) {
			return false
		}
		must(t, client.Unregister(t.Context()))
		return true
	}
	if resumed() {
		t.Error("nothing was kept, and that is resumed")
	}
	k := configKeeper{d.spool, d.note()}
	must(t, k.KeepSession("runner-1", "access"))
	if !resumed() || heard != "/api/v1/runners/runner-1 Bearer access" {
		t.Errorf("the server hears %q", heard)
	}
	about, err := os.Stat(filepath.Join(d.spoolDir(), "session.json"))
	must(t, err)
	if about.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v", about.Mode())
	}
	d.condemned = false // somebody took the note away
	if resumed() {
		t.Error("it is resumed, and the runner is not deleted")
	}
	must(t, k.NoteDeletion())
	d.condemned = true
	if resumed() {
		t.Error("that of another deletion is resumed")
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

// condemned is a daemon that has a spool, and was deleted before it started.
func condemned(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{condemned: true}
	d.config.Self.StateDir = t.TempDir()
	must(t, d.openSpool(t.Context()))
	t.Cleanup(func() { must(t, d.spool.Close()) })
	return d
}
