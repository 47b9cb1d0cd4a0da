package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"runnerd/infra/rmtree"
)

// A runner that the server has deleted leaves a tombstone, so that a service manager's restart does not register it again. The
// tombstone is written first and the spool removed last: a start that finds both finishes the deletion.

func (d *daemon) tombstone() string { return tombstonePath(d.config.Self.StateDir) }

func tombstonePath(stateDir string) string { return filepath.Join(stateDir, "deleted") }

// deletedError returns an error that says that the server deleted the runner, or an *fs.PathError if there is no readable tombstone at path.
func deletedError(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s; to register a new one, remove %s", text, path)
}

// trash is where the spool is moved before it is removed, because a start must never find a part of it.
func (d *daemon) trash() string { return filepath.Join(d.config.Self.StateDir, "spool.deleted") }

// checkDeletion is the first step of a start. It removes the trash of an earlier deletion, and fails if the runner was deleted. If the spool
// still exists, the deletion was interrupted: then the start continues, and the actors finish the deletion.
func (d *daemon) checkDeletion(context.Context) error {
	if err := removeAll(d.trash()); err != nil {
		return fmt.Errorf("remove the data of the deleted runner: %w", err)
	}
	err := deletedError(d.tombstone())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.As(err, new(*fs.PathError)):
		return fmt.Errorf("check whether the server deleted this runner: %w", err)
	}
	if _, err := os.Stat(d.spoolDir()); !errors.Is(err, fs.ErrNotExist) {
		d.deletionPending = true
		return nil
	}
	return exitError{err, exitUsage}
}

func (d *daemon) isDeleted() bool {
	select {
	case <-d.deleted:
		return true
	default:
		return false
	}
}

// removeData removes the keys, jobs and configuration of the runner.
func (d *daemon) removeData() error {
	err := os.Rename(d.spoolDir(), d.trash())
	if err == nil {
		err = removeAll(d.trash())
	}
	if err != nil {
		return fmt.Errorf("remove the data of the deleted runner: %w", err)
	}
	d.log.Warn().Str("tombstone", d.tombstone()).Msg("removed all data of this runner, which the server deleted")
	return nil
}

// removeAll is os.RemoveAll for directories of any depth, because plugins write there.
func removeAll(name string) error {
	root, err := os.OpenRoot(filepath.Dir(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return errors.Join(rmtree.Remove(root, filepath.Base(name)), root.Close())
}
