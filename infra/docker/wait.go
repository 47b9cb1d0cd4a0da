package docker

import (
	"context"
	"errors"
	"fmt"

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
	containerID, err := d.containerID(ctx, id)
	if err != nil {
		return msg.Exit{}, failed(ctx, step, err)
	}
	asking, stop := context.WithCancel(ctx)
	next := d.ask(asking, containerID, container.WaitConditionNextExit)
	defer func() {
		stop()
		<-next // closed, whoever took the answer
	}()

	before, err := d.inspect(ctx, id)
	if err != nil {
		return msg.Exit{}, failed(ctx, step, err)
	}
	if stateOf(before.State.Status) == msg.ContainerExited {
		return told(step, before.State)
	}
	if err := <-next; err != nil {
		return msg.Exit{}, d.failedFor(ctx, step, id, err)
	}
	after, err := d.inspect(ctx, id)
	switch {
	case err != nil:
		return msg.Exit{}, failed(ctx, step, err)
	case restarted(before.State, after.State):
		return endBefore(step, after.State)
	case stateOf(after.State.Status) != msg.ContainerExited:
		return msg.Exit{}, fmt.Errorf("%s: it is said to have ended, and it is %s: %w", step, after.State.Status, errNotEngine)
	}
	return told(step, after.State)
}

// restarted is whether somebody has started it again: a start is its first one, or another.
func restarted(before, after *container.State) bool {
	return stateOf(before.Status) == msg.ContainerRunning && before.StartedAt != after.StartedAt
}

// endBefore is the end of the process before a restart. Its exit code is not known: the one with which the engine answers
// who waits is read after the restart, and is then the new process's or 0. Its time is known until the new process ends.
func endBefore(step string, now *container.State) (msg.Exit, error) {
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

// told is how it ended. msg.ErrNoExecutor for a container that is being removed and never ran: the engine says that it
// finished in the year 1.
func told(step string, s *container.State) (msg.Exit, error) {
	at, err := timeOf(s.FinishedAt)
	if err != nil {
		return msg.Exit{}, fmt.Errorf("%s: read the time of its end: %w", step, err)
	}
	if at.IsZero() {
		return msg.Exit{}, fmt.Errorf("%s: it is %s and never ran: %w", step, s.Status, msg.ErrNoExecutor)
	}
	return msg.Exit{Code: s.ExitCode, OOM: s.OOMKilled, At: at}, nil
}

// ask waits until the container is so. It returns once the engine has noted that we wait; the channel gives one answer, and
// then is closed.
func (d *Driver) ask(ctx context.Context, containerID string, until container.WaitCondition) <-chan error {
	results, errs := d.engine.ContainerWait(ctx, containerID, until)
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
