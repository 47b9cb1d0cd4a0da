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

// Run asks the runner to drain, and stays until it has ended.
func (c drainCommand) Run(ctx context.Context, out io.Writer) error {
	client := control.NewClient(c.dir())
	err := control.Drain(ctx, client, func(p drainProgress) {
		fmt.Fprintf(out, "%s  %d jobs wait, %d run, %d are to be reported; %d executors\n", time.Now().Format(time.TimeOnly), p.Waiting, p.Running, p.Unreported, p.Executors)
	})
	switch {
	case errors.Is(err, control.ErrNoRunner):
		return exitError{fmt.Errorf("%w: there is nothing to drain", err), exitNoRunner}
	case ctx.Err() != nil:
		return errors.New("the drain goes on; 'runnerd status' shows how far it is")
	case err != nil:
		return err
	}
	fmt.Fprintln(out, "Drained.")
	return gone(ctx, client)
}

// gone waits for the end of the runner, which takes seconds.
func gone(ctx context.Context, client *control.Client) error {
	ctx, cancel := context.WithTimeoutCause(ctx, actorsEnd, errors.New("the runner is drained and has not ended: see its log"))
	defer cancel()
	for look := time.NewTicker(50 * time.Millisecond); ; {
		if err := client.Status(ctx, new(statusDocument)); errors.Is(err, control.ErrNoRunner) {
			look.Stop()
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
