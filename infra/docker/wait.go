package docker

import (
	"context"
	"errors"
	"fmt"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	msg "runnerd/messages"
)

// Wait returns how the executor ended.
//
// The engine's condition "not-running" holds for a container that was never started; "next-exit" misses one that has ended.
// So the next exit is asked for first, and only then the state is looked at: an end is in the one or in the other. A container
// that is removed before it was started has no exit: for it the removal is waited for too.
func (d *Driver) Wait(ctx context.Context, id msg.ExecutorID) (msg.Exit, error) {
	step := "wait for executor " + string(id)
	asking, stop := context.WithCancel(ctx)
	exits := d.ask(asking, id, container.WaitConditionNextExit)
	defer func() { stop(); exits.drain() }()

	c, err := d.engine.ContainerInspect(ctx, d.name(id))
	if err != nil {
		return msg.Exit{}, d.failed(ctx, step, err)
	}
	if stateOf(c.State.Status) == msg.ContainerExited {
		return exitOf(c.State), nil
	}
	var removals answer
	if stateOf(c.State.Status) == msg.ContainerCreated {
		removals = d.ask(asking, id, container.WaitConditionRemoved)
		defer func() { stop(); removals.drain() }()
	}
	select {
	case end := <-exits:
		return d.ended(ctx, step, id, end)
	case end := <-removals:
		if end.err == nil {
			end.err = msg.ErrNoExecutor
		}
		return msg.Exit{}, d.failed(ctx, step, end.err)
	}
}

// ended looks how it ended; of a container that is gone meanwhile its exit code is known.
func (d *Driver) ended(ctx context.Context, step string, id msg.ExecutorID, end end) (msg.Exit, error) {
	if end.err != nil {
		return msg.Exit{}, d.failed(ctx, step, end.err)
	}
	c, err := d.engine.ContainerInspect(ctx, d.name(id))
	switch {
	case cerrdefs.IsNotFound(err):
		return msg.Exit{Code: end.code, At: time.Now()}, nil
	case err != nil:
		return msg.Exit{}, d.failed(ctx, step, err)
	default:
		return exitOf(c.State), nil
	}
}

func exitOf(s *container.State) msg.Exit {
	at, err := time.Parse(time.RFC3339Nano, s.FinishedAt)
	if err != nil {
		at = time.Now()
	}
	return msg.Exit{Code: s.ExitCode, OOM: s.OOMKilled, At: at}
}

type end struct {
	code int
	err  error
}

// answer is one end, and then closed. A nil answer never comes.
type answer chan end

func (a answer) drain() {
	for range a {
	}
}

// ask returns once the engine has noted that we wait.
func (d *Driver) ask(ctx context.Context, id msg.ExecutorID, until container.WaitCondition) answer {
	results, errs := d.engine.ContainerWait(ctx, d.name(id), until)
	a := make(answer, 1)
	go func() {
		defer close(a)
		select {
		case r := <-results:
			a <- endOf(r)
		case err := <-errs:
			a <- end{err: err}
		}
	}()
	return a
}

func endOf(r container.WaitResponse) end {
	if r.Error != nil && r.Error.Message != "" {
		return end{err: errors.New(r.Error.Message)}
	}
	return end{code: int(r.StatusCode)}
}

// await waits for until, whatever the state.
func (d *Driver) await(ctx context.Context, id msg.ExecutorID, until container.WaitCondition) (int, error) {
	end := <-d.ask(ctx, id, until)
	if end.err != nil {
		return 0, fmt.Errorf("wait until %s: %w", until, end.err)
	}
	return end.code, nil
}
