package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"runnerd/infra/litter"
)

// What is left of a runner that the server has deleted: a note, so that whoever starts programs again does not register it anew. It
// is there from the first moment of the deletion, and the spool until the last: a start that finds both ends and removes what is left.

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
