// Package driver defines Driver, the interface to an engine that runs executors. Its methods are in the order of an executor's life.
// The runner chooses ids in advance, everything created carries labels, and calls are idempotent, so that recovery is a replay.
package driver

import (
	"context"

	msg "runnerd/messages"
)

// Driver runs executors. They outlive the runner, except those of infra/process. All methods are safe for concurrent use and
// return the context's cause when the context ends. An error says nothing about the executor's state unless it is msg.ErrNoExecutor,
// which a driver returns only if the engine itself says that the executor does not exist.
//
// A driver never starts an executor twice, but others can (docker restart). The result is the same executor with a new process
// and another Container.StartedAt. The methods document what they do then.
type Driver interface {
	// Ready returns nil if the engine answers.
	Ready(context.Context) error
	// Pull makes the image available as policy says. Concurrent calls share one pull. secret names a credential; it may be empty.
	Pull(ctx context.Context, image string, policy msg.PullPolicy, secret string) (msg.ImageID, error)
	// Create creates the executor without starting it. It has no effect if an executor with this id exists.
	Create(context.Context, msg.ExecutorSpec) error
	// Start starts the executor. It has no effect on one that was started before.
	Start(context.Context, msg.ExecutorID) error
	// Wait waits for the executor's exit and returns it, even if it was before the call. It returns msg.ErrNoExecutor if the
	// executor does not exist. If the executor is restarted, a pending Wait returns the exit of the process that it waited for,
	// with code -1 if the engine no longer knows the code. A later Wait waits for the new process.
	Wait(context.Context, msg.ExecutorID) (msg.Exit, error)
	// Logs passes the executor's output after a position to emit, in order and in batches as it is written. It returns nil when
	// the executor has exited and all output was emitted. The first batch is empty and says that reading has begun.
	// A restarted executor has one log: the new process's output follows, unless Logs has returned before.
	Logs(ctx context.Context, id msg.ExecutorID, from msg.Position, emit func([]msg.LogEntry) error) error
	// Signal sends a signal to the current process 1. It has no effect on an executor that has exited.
	Signal(context.Context, msg.ExecutorID, msg.Signal) error
	// Remove removes the executor, running or not. It has no effect if the executor does not exist.
	Remove(context.Context, msg.ExecutorID) error
	// Inspect returns one executor. It returns msg.ErrNoExecutor if the executor does not exist.
	Inspect(context.Context, msg.ExecutorID) (msg.Container, error)
	// List returns this runner's executors in any state, each once. An executor that is missing may still exist, because an
	// empty list may come from a proxy: only Inspect can tell.
	List(context.Context) ([]msg.Container, error)
}

// UsageReader is implemented by drivers that can measure their executors.
type UsageReader interface {
	// Processes returns the number of processes in the executor: 0 if it has exited. It may be slow.
	Processes(context.Context, msg.ExecutorID) (int, error)
	// Disk returns the executor's disk usage in bytes, without its image. It may be slow.
	Disk(context.Context, msg.ExecutorID) (int64, error)
}
