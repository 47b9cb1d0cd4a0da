package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
	"runnerd/spool"
)

// writer is an actor whose goroutine outlives it until release is closed.
type writer struct{ release <-chan struct{} }

func (w writer) Start(c *actorrt.Ctx[msg.ToRunner]) {
	c.Go("write", func(context.Context) msg.ToRunner { <-w.release; return nil })
}

func (writer) Receive(*actorrt.Ctx[msg.ToRunner], msg.ToRunner) {}

func TestSpoolStaysLockedWhileWritersMayRun(t *testing.T) {
	for name, row := range map[string]struct {
		actors   bool  // whether a goroutine of an actor runs on
		commands error // of stopping the control socket
		locked   bool
	}{
		"everything has ended":         {},
		"a goroutine of an actor runs": {actors: true, locked: true},
		"a command runs":               {commands: context.DeadlineExceeded, locked: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				d := &daemon{deleted: make(chan struct{})}
				d.config.Self.StateDir = dir
				must(t, d.openSpool(t.Context()))
				d.commands.stop, d.commands.done = func() {}, make(chan error, 1)
				d.commands.done <- row.commands
				release, system := make(chan struct{}), actorrt.NewSystem(actorrt.Options{})
				root, err := actorrt.SpawnRoot(system, actorrt.Spec[msg.ToRunner]{Name: "root", New: func() actorrt.Behavior[msg.ToRunner] { return writer{release} }})
				must(t, err)
				d.tree.Store(&actorTree{root, system})
				if !row.actors {
					close(release)
				}
				synctest.Wait() // until the goroutine runs or has ended
				if err := d.stopActors(); (err != nil) != row.actors {
					t.Errorf("stopActors: %v", err)
				}
				if err := d.close(); errors.Is(err, errWritersRunning) != row.locked {
					t.Errorf("close: %v", err)
				}
				next := &daemon{config: d.config}
				_, held := errors.AsType[*spool.HeldError](next.openSpool(t.Context()))
				if held != row.locked {
					t.Errorf("spool is locked: %v, want %v", held, row.locked)
				}
				if row.actors {
					close(release)
				}
				must(t, errors.Join(system.Stop(t.Context()), map[bool]*daemon{true: d, false: next}[held].spool.Close()))
			})
		})
	}
}
