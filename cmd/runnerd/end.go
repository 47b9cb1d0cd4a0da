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

// serve runs until ctx ends and the runner is drained or detached, or until something fails.
func (d *daemon) serve(ctx context.Context) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	group, serving := errgroup.WithContext(serving)
	group.Go(func() error { return d.gateway.Serve(serving) })
	// READY=1 means that executors are served. It does not wait for recovery or the registration: a service manager that declared the
	// start failed and killed the process would fix nothing.
	d.logNotifyError(systemd.Ready())
	group.Go(func() error {
		defer stop()
		return d.waitForEnd(ctx, serving)
	})
	err := group.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, d.stopActors())
}

// waitForEnd returns when the gateway may stop.
func (d *daemon) waitForEnd(ctx, serving context.Context) error {
	select {
	case err := <-d.tree.Load().system.Fatal():
		return fmt.Errorf("the runner failed: %w", err)
	case <-serving.Done():
		return context.Cause(serving)
	case <-d.deleted:
		d.tearDown(serving)
		return nil
	case <-ctx.Done():
	case <-d.commands.drainRequested:
	}
	if d.config.Self.OnExit != "detach" {
		return d.drain(serving, nil)
	}
	if ctx.Err() != nil {
		return d.detach()
	}
	return d.drain(serving, ctx.Done())
}

// drain returns when no job runs, or when detach is closed and the runner has detached.
func (d *daemon) drain(serving context.Context, detach <-chan struct{}) error {
	tree := d.tree.Load()
	drained := make(chan struct{})
	tree.root.Tell(msg.Drain{Done: func() { close(drained) }})
	select {
	case <-drained:
		close(d.commands.drained)
		d.logNotifyError(systemd.Stopping()) // only now, because a drain may take longer than a service manager allows a stop to take
		d.tearDown(serving)
		return nil
	case <-d.deleted:
		d.tearDown(serving)
		return nil
	case err := <-tree.system.Fatal():
		return fmt.Errorf("the runner failed: %w", err)
	case <-serving.Done():
		return context.Cause(serving)
	case <-detach:
		return d.detach()
	}
}

// tearDown runs last. Its failures are only logged, because a restart would not help.
func (d *daemon) tearDown(ctx context.Context) {
	if err := d.engine.TearDown(ctx); err != nil {
		d.log.Warn().Err(err).Msg("could not remove the runner's Docker network")
	}
}

// detachTimeout is how long a detach waits for the actors to store the jobs that the server has just offered.
const detachTimeout = 3 * time.Second

// detach leaves the executors to the next start. The dispatcher stops handing out jobs. The actors stop after the gateway, which tells
// waiting executors to poll again later and receives the results that are already being sent.
func (d *daemon) detach() error {
	d.logNotifyError(systemd.Stopping())
	ready := make(chan struct{})
	d.tree.Load().root.Tell(msg.Detach{Ready: sync.OnceFunc(func() { close(ready) })})
	select {
	case <-ready:
	case <-time.After(detachTimeout): // the server offers the other jobs again
	}
	d.health.setNotReady("detached: executors keep running until the next start takes them over")
	d.log.Info().Int("executors", len(d.spool.Executors())).Msg("detached; the next start takes over the running executors")
	return nil
}

// actorStopTimeout is how long all actors together may take to stop.
const actorStopTimeout = 30 * time.Second

func (d *daemon) stopActors() error {
	ctx, cancel := context.WithTimeout(context.Background(), actorStopTimeout)
	defer cancel()
	err := d.tree.Load().system.Stop(ctx)
	d.writersRunning = err != nil
	return err
}

var errWritersRunning = errors.New("something may still write to the spool; it stays locked until the process ends")

// closeSpool releases the spool's lock, unless something may still write to the spool: another runner would start, and both would
// write.
func (d *daemon) closeSpool() error {
	switch {
	case d.spool == nil:
		return nil
	case d.writersRunning:
		return errWritersRunning
	}
	err := d.spool.Close()
	if d.isDeleted() {
		err = errors.Join(err, d.removeData())
	}
	return err
}

func (d *daemon) close() error {
	var errs []error
	if d.commands.stop != nil {
		d.commands.stop()
		err := <-d.commands.done
		d.writersRunning = d.writersRunning || err != nil // a command may still be writing
		errs = append(errs, err)
	}
	if d.health.stop != nil {
		d.health.stop()
		errs = append(errs, <-d.health.done)
	}
	if d.engine != nil {
		errs = append(errs, d.engine.Close())
	}
	return errors.Join(append(errs, d.closeSpool())...)
}
