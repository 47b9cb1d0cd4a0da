package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"runnerd/infra/litter"
	"runnerd/infra/release"
	msg "runnerd/messages"
	"runnerd/spool"
)

// What is left of a runner that the server has deleted: a note, so that whoever starts programs again does not register it anew. It
// is there from the first moment of the deletion, and the spool until the last: a start that finds both goes on with it.

func (d *daemon) note() string { return filepath.Join(d.config.Self.StateDir, "deleted") }

// remains is where the spool goes first, which must never be found half.
func (d *daemon) remains() string { return filepath.Join(d.config.Self.StateDir, "spool.deleted") }

// meetDeleted is the first step of a start.
func (d *daemon) meetDeleted(context.Context) error {
	if err := removeAll(d.remains()); err != nil {
		return fmt.Errorf("remove what the deleted runner has kept: %w", err)
	}
	text, err := os.ReadFile(d.note())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("see whether the server has deleted this runner: %w", err)
	}
	if _, err := os.Stat(d.spoolDir()); !errors.Is(err, fs.ErrNotExist) {
		d.condemned = true
		return nil
	}
	return exitError{fmt.Errorf("%s; to register a new one remove %s", text, d.note()), exitUsage}
}

func (d *daemon) isDeleted() bool {
	select {
	case <-d.deleted:
		return true
	default:
		return false
	}
}

// forget removes what the runner has kept: keys, jobs, configuration.
func (d *daemon) forget() error {
	err := os.Rename(d.spoolDir(), d.remains())
	if err == nil {
		err = removeAll(d.remains())
	}
	if err != nil {
		return fmt.Errorf("remove what the deleted runner has kept: %w", err)
	}
	text, err := os.ReadFile(d.note())
	d.log.Warn().Str("note", d.note()).Msg(string(text))
	return err
}

// removeAll is os.RemoveAll, whatever plugins have left there.
func removeAll(name string) error {
	root, err := os.OpenRoot(filepath.Dir(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return errors.Join(litter.Remove(root, filepath.Base(name)), root.Close())
}

// session is what session.json has. It is as secret as the keys beside it, and goes with them.
type session struct{ RunnerID, AccessToken string }

func (k configKeeper) KeepSession(runnerID string, token msg.Secret) error {
	text, err := json.Marshal(session{runnerID, string(token)})
	if err != nil {
		return err
	}
	return k.spool.Save(spool.Session, text)
}

// resume goes on with the session in which the runner was taking its leave; false: it had not come so far.
func (d *daemon) resume(c *release.Client) bool {
	var kept session
	text, found := d.spool.Load(spool.Session)
	if !d.condemned || !found || json.Unmarshal(text, &kept) != nil || kept.RunnerID == "" {
		return false
	}
	c.Resume(kept.RunnerID, msg.Secret(kept.AccessToken))
	return true
}

// NoteDeletion is durable on return. No crash leaves half of the note.
func (k configKeeper) NoteDeletion() error {
	if err := k.KeepSession("", ""); err != nil { // there may be that of a deletion whose note somebody took away
		return err
	}
	text := fmt.Sprintf("the server deleted this runner at %s, and all that it has on this machine is being removed", time.Now().UTC().Format(time.RFC3339))
	temp := k.note + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(temp, k.note), syncDir(filepath.Dir(k.note)))
}

func syncDir(name string) error {
	dir, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
