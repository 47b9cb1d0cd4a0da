package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/container"

	msg "runnerd/messages"
)

// Wait returns how the executor ended.
//
// The engine's condition "not-running" holds for a container that was never started; "next-exit" misses one that has ended.
// So the next exit is asked for first, and only then the state is looked at: an end is in the one or in the other. The engine
// answers too when it removes the container.
func (d *Driver) Wait(ctx context.Context, id msg.ExecutorID) (msg.Exit, error) {
	step := "wait for executor " + string(id)
	asking, stop := context.WithCancel(ctx)
	next := d.ask(asking, id, container.WaitConditionNextExit)
	defer func() {
		stop()
		<-next // closed, whoever took the answer
	}()

	s, err := d.inspect(ctx, id)
	if err == nil && stateOf(s.Status) != msg.ContainerExited {
		if err = <-next; err == nil {
			s, err = d.inspect(ctx, id)
		}
	}
	if err != nil {
		return msg.Exit{}, d.failed(ctx, step, err)
	}
	exit, err := exitOf(s)
	if err != nil {
		return msg.Exit{}, fmt.Errorf("%s: %w", step, err)
	}
	return exit, nil
}

func (d *Driver) inspect(ctx context.Context, id msg.ExecutorID) (*container.State, error) {
	c, err := d.engine.ContainerInspect(ctx, d.name(id))
	if err != nil {
		return nil, err
	}
	return c.State, nil
}

// exitOf is msg.ErrNoExecutor for a container that is being removed and never ran: the engine says that it finished in the
// year 1.
func exitOf(s *container.State) (msg.Exit, error) {
	at, err := time.Parse(time.RFC3339Nano, s.FinishedAt)
	if err != nil {
		return msg.Exit{}, fmt.Errorf("read the time of its end: %w", err)
	}
	if at.IsZero() {
		return msg.Exit{}, fmt.Errorf("it is %s and never ran: %w", s.Status, msg.ErrNoExecutor)
	}
	return msg.Exit{Code: s.ExitCode, OOM: s.OOMKilled, At: at}, nil
}

// ask waits until the container is so. It returns once the engine has noted that we wait; the channel gives one answer, and
// then is closed.
func (d *Driver) ask(ctx context.Context, id msg.ExecutorID, until container.WaitCondition) <-chan error {
	results, errs := d.engine.ContainerWait(ctx, d.name(id), until)
	answer := make(chan error, 1)
	go func() {
		defer close(answer)
		select { // the client sends on one of the two, also when the context ends
		case r := <-results:
			if r.Error != nil && r.Error.Message != "" {
				answer <- errors.New(r.Error.Message)
			}
		case err := <-errs:
			answer <- err
		}
	}()
	return answer
}
