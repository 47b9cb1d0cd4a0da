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

// writer is an actor whose goroutine does not end with it.
type writer struct{ goesOn <-chan struct{} }

func (w writer) Start(c *actorrt.Ctx[msg.ToRunner]) {
	c.Go("write", func(context.Context) msg.ToRunner { <-w.goesOn; return nil })
}

func (writer) Receive(*actorrt.Ctx[msg.ToRunner], msg.ToRunner) {}

func TestTheSpoolStaysLockedWhileSomethingMayWriteToIt(t *testing.T) {
	for name, row := range map[string]struct {
		actors   bool  // have not ended
		commands error // of the end of commands
		kept     bool
	}{
		"all has ended":                 {},
		"a goroutine of an actor works": {actors: true, kept: true},
		"a command works":               {commands: context.DeadlineExceeded, kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				d := &daemon{deleted: make(chan struct{})}
				d.config.Self.StateDir = dir
				must(t, d.openSpool(t.Context()))
				d.commands.stop, d.commands.ended = func() {}, make(chan error, 1)
				d.commands.ended <- row.commands
				works, system := make(chan struct{}), actorrt.NewSystem(actorrt.Options{})
				root, err := actorrt.SpawnRoot(system, actorrt.Spec[msg.ToRunner]{Name: "root", New: func() actorrt.Behavior[msg.ToRunner] { return writer{works} }})
				must(t, err)
				d.tree.Store(&planted{root, system})
				if !row.actors {
					close(works)
				}
				synctest.Wait() // until it works
				if err := d.stopActors(); (err != nil) != row.actors {
					t.Errorf("the actors end with %v", err)
				}
				if err := d.close(); errors.Is(err, errStillWrites) != row.kept {
					t.Errorf("it ends with %v", err)
				}
				next := &daemon{config: d.config}
				_, held := errors.AsType[*spool.HeldError](next.openSpool(t.Context()))
				if held != row.kept {
					t.Errorf("the spool is kept from the next runner: %v, want %v", held, row.kept)
				}
				if row.actors {
					close(works)
				}
				must(t, errors.Join(system.Stop(t.Context()), map[bool]*daemon{true: d, false: next}[held].spool.Close()))
			})
		})
	}
}
