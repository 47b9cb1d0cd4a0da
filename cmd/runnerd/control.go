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

// commandServer serves the control socket, from when the spool is open until the actors have stopped.
type commandServer struct {
	stop context.CancelFunc // nil: not open
	done chan error         // gets one error after stop

	drainRequested chan struct{} // closed by requestDrain
	requestDrain   func()
	drained        chan struct{} // closed when no job runs
}

func newCommandServer() commandServer {
	requested := make(chan struct{})
	return commandServer{drainRequested: requested, requestDrain: sync.OnceFunc(func() { close(requested) }), drained: make(chan struct{})}
}

// actorTree is the started tree of actors.
type actorTree struct {
	root   actorrt.Ref[msg.ToRunner]
	system *actorrt.System
}

// openCommands runs after the spool is locked, and before the steps that may wait.
func (d *daemon) openCommands(ctx context.Context) error {
	listener, err := control.Listen(d.config.Self.StateDir)
	if err != nil { // jobs run without it
		d.log.Error().Err(err).Msg("could not open the control socket: runnerd commands do not reach this runner")
		return nil
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.commands.stop, d.commands.done = stop, make(chan error, 1)
	go func() {
		d.commands.done <- control.Serve(serving, listener, control.Commands{
			Status:  func(ctx context.Context) any { return d.status(ctx) },
			Drain:   d.drainByCommand,
			Resend:  d.resend,
			Discard: d.discard,
		})
	}()
	return nil
}

// drainProgress counts what a drain waits for.
type drainProgress struct {
	Waiting    int `json:"waiting"`    // jobs that are not handed out
	Running    int `json:"running"`    // jobs that are handed out
	Executors  int `json:"executors"`  // existing ones
	Unreported int `json:"unreported"` // ended jobs whose ending the server has not accepted
}

// progressInterval is the minimum time between two progress lines: a thousand reports take a few lines.
const progressInterval = 200 * time.Millisecond

// drainByCommand requests a drain, and reports its progress until it is done.
func (d *daemon) drainByCommand(ctx context.Context, report func(any)) error {
	d.log.Info().Msg("drain requested by command")
	d.commands.requestDrain()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var changed <-chan struct{}
	for last := (drainProgress{-1, -1, -1, -1}); ; {
		select {
		case <-d.commands.drained:
			return nil
		case <-ctx.Done():
			select {
			case <-d.commands.drained: // ctx ended because the drain is complete
				return nil
			default:
			}
			if d.isDeleted() {
				return errors.New("the server deleted the runner during the drain; running jobs were aborted")
			}
			return errors.New("the runner exits without draining: it was told to detach, or it failed (see its log)")
		case <-changed:
			changed = nil
			timer.Reset(progressInterval)
		case <-timer.C:
			changed = d.spool.Changed()
			if now := d.drainProgress(); now != last {
				last = now
				report(now)
			}
		}
	}
}

func (d *daemon) drainProgress() drainProgress {
	var now statusDocument
	now.addJobs(d.spool.Jobs())
	return drainProgress{Waiting: now.Spool.Waiting, Running: now.Spool.Running, Executors: len(d.spool.Executors()), Unreported: now.Spool.Unreported}
}

func (d *daemon) resend(_ context.Context, location string) error {
	id, err := d.spool.Resend(location)
	if err != nil {
		return err
	}
	d.log.Info().Str("execution", string(id)).Msg("sending a rejected job again by command")
	d.notifySpoolChange(id)
	return nil
}

func (d *daemon) discard(_ context.Context, location string) error {
	id, err := d.spool.Discard(location)
	if err != nil {
		return err
	}
	d.log.Warn().Str("location", location).Str("execution", string(id)).Msg("discarded a spool entry by command")
	d.notifySpoolChange(id)
	return nil
}

// notifySpoolChange tells the actors that a command changed a job in the spool. Actors that start later read the spool anyway.
func (d *daemon) notifySpoolChange(id msg.ExecutionID) {
	if tree := d.tree.Load(); tree != nil && id != "" {
		tree.root.Tell(msg.SpoolChanged{Execution: id})
	}
}

// askRunner sends a question to the runner actor, and fails if it does not answer within a second.
func askRunner[R any](ctx context.Context, d *daemon, question func(reply func(R)) msg.ToRunner) (answer R, err error) {
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
