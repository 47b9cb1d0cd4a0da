package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// What is left of a runner that the server has deleted: a note, so that whoever starts programs again does not register it anew.

func (d *daemon) note() string { return filepath.Join(d.config.Self.StateDir, "deleted") }

// refuseDeleted is the first step of a start.
func (d *daemon) refuseDeleted(context.Context) error {
	text, err := os.ReadFile(d.note())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("see whether the server has deleted this runner: %w", err)
	}
	if err := os.RemoveAll(d.spoolDir()); err != nil { // it may have been killed in between
		return fmt.Errorf("remove what the deleted runner has kept: %w", err)
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
	text := fmt.Sprintf("the server deleted this runner at %s, and all that it had on this machine is removed", time.Now().UTC().Format(time.RFC3339))
	if err := os.WriteFile(d.note(), []byte(text), 0o600); err != nil {
		return fmt.Errorf("note that the server has deleted this runner: %w", err)
	}
	if err := os.RemoveAll(d.spoolDir()); err != nil {
		return fmt.Errorf("remove what the deleted runner has kept: %w", err)
	}
	d.log.Warn().Str("note", d.note()).Msg(text)
	return nil
}
