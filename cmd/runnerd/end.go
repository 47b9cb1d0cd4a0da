package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"runnerd/infra/systemd"
	msg "runnerd/messages"
)

// How the runner serves, and how it ends.

// serve runs until ctx ends and what was begun is done, or something gives up.
func (d *daemon) serve(ctx context.Context) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	group, serving := errgroup.WithContext(serving)
	group.Go(func() error { return d.gateway.Serve(serving) })
	// Executors are served: that is what others may wait for. An engine or a server that is away is waited for while it serves, and
	// a manager that took the start for failed would only end that.
	d.noted(systemd.Ready())
	group.Go(func() error {
		defer stop()
		return d.await(ctx, serving)
	})
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, d.stopActors())
}

// await returns when the gateway is to end.
func (d *daemon) await(ctx, serving context.Context) error {
	select {
	case err := <-d.tree.Load().system.Fatal():
		return fmt.Errorf("the runner gives up: %w", err)
	case <-serving.Done():
		return context.Cause(serving)
	case <-d.deleted:
		d.tearDown(serving)
		return nil
	case <-ctx.Done():
	case <-d.commands.wanted:
	}
	if d.config.Self.OnExit != "detach" {
		return d.drain(serving, nil)
	}
	if ctx.Err() != nil {
		return d.detach()
	}
	return d.drain(serving, ctx.Done())
}

// drain returns when nothing runs any more, or it is time to leave.
func (d *daemon) drain(serving context.Context, leave <-chan struct{}) error {
	tree := d.tree.Load()
	drained := make(chan struct{})
	tree.root.Tell(msg.Drain{Done: func() { close(drained) }})
	select {
	case <-drained:
		close(d.commands.drained)
		d.noted(systemd.Stopping()) // not before: a drain takes longer than managers let a stop last
		d.tearDown(serving)
		return nil
	case <-d.deleted:
		d.tearDown(serving)
		return nil
	case err := <-tree.system.Fatal():
		return fmt.Errorf("the runner gives up: %w", err)
	case <-serving.Done():
		return context.Cause(serving)
	case <-leave:
		return d.detach()
	}
}

// tearDown is the last thing, and its failure none of the runner's: who is started anew for it would do no better.
func (d *daemon) tearDown(ctx context.Context) {
	if err := d.engine.TearDown(ctx); err != nil {
		d.log.Warn().Err(err).Msg("something of this runner is left in the engine")
	}
}

// jobsArrive is how long a job that the server has just offered may take into the spool before the actors end.
const jobsArrive = 3 * time.Second

// detach leaves the executors to the next start. The dispatcher gives out nothing any more, and the actors end after the gateway, which
// sends its executors away and takes the results that are on their way.
func (d *daemon) detach() error {
	d.noted(systemd.Stopping())
	leaving := make(chan struct{})
	d.tree.Load().root.Tell(msg.Detach{Ready: sync.OnceFunc(func() { close(leaving) })})
	select {
	case <-leaving:
	case <-time.After(jobsArrive): // what is not in the spool by then is offered again
	}
	d.health.waitsFor("the runner has detached: its executors go on, and wait for its next start")
	d.log.Info().Int("executors", len(d.spool.Executors())).Msg("detached; the next start takes over the executors that go on")
	return nil
}

// actorsEnd is how long the end of all actors may take.
const actorsEnd = 30 * time.Second

func (d *daemon) stopActors() error {
	ctx, cancel := context.WithTimeout(context.Background(), actorsEnd)
	defer cancel()
	err := d.tree.Load().system.Stop(ctx)
	d.stillWrites = err != nil
	return err
}

var errStillWrites = errors.New("not all that writes to the spool has ended: its lock is kept until the process ends")

// closeSpool comes when nobody writes to it any more. Where that is not known the lock must not be released: another runner would
// begin, and both would write.
func (d *daemon) closeSpool() error {
	switch {
	case d.spool == nil:
		return nil
	case d.stillWrites:
		return errStillWrites
	}
	err := d.spool.Close()
	if d.isDeleted() {
		err = errors.Join(err, d.forget())
	}
	return err
}

func (d *daemon) close() error {
	var errs []error
	if d.commands.stop != nil {
		d.commands.stop()
		err := <-d.commands.ended
		d.stillWrites = d.stillWrites || err != nil // a command may be at it
		errs = append(errs, err)
	}
	if d.health.stop != nil {
		d.health.stop()
		errs = append(errs, <-d.health.ended)
	}
	if d.engine != nil {
		errs = append(errs, d.engine.Close())
	}
	return errors.Join(append(errs, d.closeSpool())...)
}
