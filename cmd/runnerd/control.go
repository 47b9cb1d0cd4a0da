package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"runnerd/actors/actorrt"
	"runnerd/infra/control"
	msg "runnerd/messages"
)

// commandDoor is where the commands of people reach the runner, from when it has its spool until all is stopped.
type commandDoor struct {
	stop  context.CancelFunc // nil: not open
	ended chan error         // one, after stop

	wanted  chan struct{} // closed: drain
	want    func()
	drained chan struct{} // closed: nothing runs any more
}

func newCommandDoor() commandDoor {
	wanted := make(chan struct{})
	return commandDoor{wanted: wanted, want: sync.OnceFunc(func() { close(wanted) }), drained: make(chan struct{})}
}

// planted is the tree of actors, once there is one.
type planted struct {
	root   actorrt.Ref[msg.ToRunner]
	system *actorrt.System
}

// openCommands comes once the lock says that the directory is ours, and before all that may be waited for.
func (d *daemon) openCommands(ctx context.Context) error {
	listener, err := control.Listen(d.config.Self.StateDir)
	if err != nil { // jobs do not need it
		d.log.Error().Err(err).Msg("no command will reach this runner")
		return nil
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.commands.stop, d.commands.ended = stop, make(chan error, 1)
	go func() {
		d.commands.ended <- control.Serve(serving, listener, control.Program{
			Status:  func(ctx context.Context) any { return d.status(ctx) },
			Drain:   d.drainByCommand,
			Resend:  d.resend,
			Discard: d.discard,
		})
	}()
	return nil
}

// drainProgress is what a drain waits for.
type drainProgress struct {
	Waiting    int `json:"waiting"`    // jobs
	Running    int `json:"running"`    // jobs
	Executors  int `json:"executors"`  // that exist
	Unreported int `json:"unreported"` // jobs whose end the server has not accepted
}

// progressRest gathers changes that come close together: who asked is told of a thousand reports in a few lines.
const progressRest = 200 * time.Millisecond

func (d *daemon) drainByCommand(ctx context.Context, tell func(any)) error {
	d.log.Info().Msg("a command asks for a drain")
	d.commands.want()
	look := time.NewTimer(0)
	defer look.Stop()
	var changed <-chan struct{}
	for told := (drainProgress{-1, -1, -1, -1}); ; {
		select {
		case <-d.commands.drained:
			return nil
		case <-ctx.Done():
			select {
			case <-d.commands.drained: // with which this end began
				return nil
			default:
			}
			if d.isDeleted() {
				return errors.New("the server has deleted the runner meanwhile: jobs that ran were aborted")
			}
			return errors.New("the runner ends before it is drained: it was told to leave its executors, or gave up (its log says which)")
		case <-changed:
			changed = nil
			look.Reset(progressRest)
		case <-look.C:
			changed = d.spool.Changed()
			if now := d.drainProgress(); now != told {
				told = now
				tell(now)
			}
		}
	}
}

func (d *daemon) drainProgress() drainProgress {
	var now statusDocument
	now.count(d.spool.Jobs())
	return drainProgress{Waiting: now.Spool.Waiting, Running: now.Spool.Running, Executors: len(d.spool.Executors()), Unreported: now.Spool.Over}
}

func (d *daemon) resend(_ context.Context, place string) error {
	id, err := d.spool.Resend(place)
	if err != nil {
		return err
	}
	d.log.Info().Str("job", string(id)).Msg("a command has it sent once more")
	d.changed(id)
	return nil
}

func (d *daemon) discard(_ context.Context, place string) error {
	id, err := d.spool.Discard(place)
	if err != nil {
		return err
	}
	d.log.Warn().Str("place", place).Str("job", string(id)).Msg("a command has it discarded")
	d.changed(id)
	return nil
}

// changed tells the actors of what was changed behind their backs; those that start later look in the spool anyway.
func (d *daemon) changed(id msg.ExecutionID) {
	if tree := d.tree.Load(); tree != nil && id != "" {
		tree.root.Tell(msg.SpoolChanged{Execution: id})
	}
}

// ask asks the runner, which may be down or busy.
func ask[R any](ctx context.Context, d *daemon, question func(reply func(R)) msg.ToRunner) (answer R, err error) {
	tree := d.tree.Load()
	if tree == nil {
		return answer, errors.New("the runner is starting")
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if answer, err = actorrt.Ask(ctx, tree.root, question); err != nil {
		return answer, fmt.Errorf("the runner does not answer: %w", err)
	}
	return answer, nil
}
