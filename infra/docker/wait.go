package docker

import (
	"context"
	"errors"
	"fmt"

	"github.com/docker/docker/api/types/container"

	msg "runnerd/messages"
)

// Wait returns the executor's exit.
//
// The engine's condition "not-running" holds for a container that was never started, and "next-exit" misses an exit that has
// already happened. Wait therefore first starts to wait for the next exit and then reads the state, so that one of the two shows
// the exit.
// The wait also ends when the container is removed.
func (d *Driver) Wait(ctx context.Context, id msg.ExecutorID) (msg.Exit, error) {
	step := "wait for executor " + string(id)
	containerID, err := d.containerID(ctx, id)
	if err != nil {
		return msg.Exit{}, wrapError(ctx, step, err)
	}
	waitCtx, stop := context.WithCancel(ctx)
	next := d.startWait(waitCtx, containerID, container.WaitConditionNextExit)
	defer func() {
		stop()
		<-next // closed in any case
	}()

	before, err := d.inspect(ctx, id)
	if err != nil {
		return msg.Exit{}, wrapError(ctx, step, err)
	}
	if stateOf(before.State.Status) == msg.ContainerExited {
		return exitOf(step, before.State)
	}
	if err := <-next; err != nil {
		return msg.Exit{}, d.wrapErrorFor(ctx, step, id, err)
	}
	after, err := d.inspect(ctx, id)
	switch {
	case err != nil:
		return msg.Exit{}, wrapError(ctx, step, err)
	case restarted(before.State, after.State):
		return exitBeforeRestart(step, after.State)
	case stateOf(after.State.Status) != msg.ContainerExited:
		return msg.Exit{}, fmt.Errorf("%s: its end was reported, but its state is %s: %w", step, after.State.Status, errNotFromEngine)
	}
	return exitOf(step, after.State)
}

// restarted reports whether the container was started again between two inspections.
func restarted(before, after *container.State) bool {
	return stateOf(before.Status) == msg.ContainerRunning && before.StartedAt != after.StartedAt
}

// exitBeforeRestart returns the exit of the process that ran before a restart. Its exit code is unknown (-1), because the engine may
// read the code only after the restart, when it is the new process's or 0. Its time is known until the new process ends.
func exitBeforeRestart(step string, now *container.State) (msg.Exit, error) {
	started, err := timeOf(now.StartedAt)
	if err != nil {
		return msg.Exit{}, fmt.Errorf("%s: read when it was started again: %w", step, err)
	}
	finished, err := timeOf(now.FinishedAt)
	if err != nil {
		return msg.Exit{}, fmt.Errorf("%s: read the time of its end: %w", step, err)
	}
	if finished.After(started) {
		finished = started
	}
	return msg.Exit{Code: -1, At: finished}, nil
}

// exitOf returns the exit in a container's state. It returns msg.ErrNoExecutor for a container that is being removed and never
// ran, for which the engine says that it finished in the year 1.
func exitOf(step string, s *container.State) (msg.Exit, error) {
	at, err := timeOf(s.FinishedAt)
	if err != nil {
		return msg.Exit{}, fmt.Errorf("%s: read the time of its end: %w", step, err)
	}
	if at.IsZero() {
		return msg.Exit{}, fmt.Errorf("%s: it is %s and never ran: %w", step, s.Status, msg.ErrNoExecutor)
	}
	return msg.Exit{Code: s.ExitCode, OOM: s.OOMKilled, At: at}, nil
}

// startWait starts to wait for a condition of the container and returns once the engine has registered the wait. The channel gets
// the error of the wait and is then closed.
func (d *Driver) startWait(ctx context.Context, containerID string, until container.WaitCondition) <-chan error {
	results, errs := d.engine.ContainerWait(ctx, containerID, until)
	answer := make(chan error, 1)
	go func() {
		defer close(answer)
		select { // the client always sends on one of the two, even when the context ends
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
