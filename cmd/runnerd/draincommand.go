package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"runnerd/infra/control"
)

type drainCommand struct {
	stateFlags `embed:""`
}

// Run asks the runner to drain, and waits until it has exited.
func (c drainCommand) Run(ctx context.Context, out io.Writer) error {
	client := control.NewClient(c.dir())
	err := control.Drain(ctx, client, func(p drainProgress) {
		fmt.Fprintf(out, "%s  jobs: %d waiting, %d running, %d unreported; executors: %d\n", time.Now().Format(time.TimeOnly), p.Waiting, p.Running, p.Unreported, p.Executors)
	})
	switch {
	case errors.Is(err, control.ErrNoRunner):
		return exitError{fmt.Errorf("%w: nothing to drain", err), exitNoRunner}
	case ctx.Err() != nil:
		return errors.New("the runner continues to drain; 'runnerd status' shows its progress")
	case err != nil:
		return err
	}
	fmt.Fprintln(out, "Drained.")
	return waitForExit(ctx, client)
}

// waitForExit waits until the runner has exited, which takes seconds.
func waitForExit(ctx context.Context, client *control.Client) error {
	ctx, cancel := context.WithTimeoutCause(ctx, actorStopTimeout, errors.New("the runner is drained but has not exited: see its log"))
	defer cancel()
	for ticker := time.NewTicker(50 * time.Millisecond); ; {
		if err := client.Status(ctx, new(statusDocument)); errors.Is(err, control.ErrNoRunner) {
			ticker.Stop()
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
