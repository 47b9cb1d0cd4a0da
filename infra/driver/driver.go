// Package driver is the contract of what runs executors: Driver, in the order of an executor's life. Ids are chosen before
// anything exists, everything created is marked, and verbs may be repeated: recovery is then a replay.
package driver

import (
	"context"

	msg "runnerd/messages"
)

// Driver runs executors, which outlive the runner unless the driver says otherwise (infra/process does). Every verb may be called from
// several goroutines; a context that ends makes it return the cause. An error says nothing about the executor unless it is
// msg.ErrNoExecutor, which a driver returns only if the engine itself says that it does not have this executor.
//
// A driver never starts an executor twice, but somebody else can (docker restart). That is the same executor with another
// process: Container.StartedAt differs. Each verb below says what it does then.
type Driver interface {
	// Ready is nil once the engine answers.
	Ready(context.Context) error
	// Pull makes the image available as policy says, once for however many wait. secret names a credential; empty: none.
	Pull(ctx context.Context, image string, policy msg.PullPolicy, secret string) (msg.ImageID, error)
	// Create makes the executor, stopped. Repeated for the same id it is the same executor.
	Create(context.Context, msg.ExecutorSpec) error
	// Start starts it. Repeated: no effect.
	Start(context.Context, msg.ExecutorID) error
	// Wait returns how it ended, also when that was before the call. msg.ErrNoExecutor: there is none. If the executor is
	// restarted, a Wait under way returns the end of the process that it waited for, with code -1 if the engine does not know
	// it any more; a Wait that begins after the restart waits for the new process, and the earlier end is not reported.
	Wait(context.Context, msg.ExecutorID) (msg.Exit, error)
	// Logs hands on its output from a position on, in order, entries in batches as they come, and returns nil when the
	// executor has ended and all of it was handed on. A batch without entries comes first, and says that it is being read.
	// The output of a restarted executor is one log: that of the new process follows, unless Logs had returned before.
	Logs(ctx context.Context, id msg.ExecutorID, from msg.Position, emit func([]msg.LogEntry) error) error
	// Signal sends a signal to process 1, after a restart to the new one. One that has ended: no effect.
	Signal(context.Context, msg.ExecutorID, msg.Signal) error
	// Remove takes it away, running or not. Repeated: no effect.
	Remove(context.Context, msg.ExecutorID) error
	// Inspect returns one executor. msg.ErrNoExecutor: there is none.
	Inspect(context.Context, msg.ExecutorID) (msg.Container, error)
	// List returns all executors of this runner, in any state, and nobody else's; a restarted one once. That an executor is
	// not in it does not prove that there is none, because the list may be the empty answer of a proxy: ask Inspect.
	List(context.Context) ([]msg.Container, error)
}

// Census is a Driver that sees into its executors.
type Census interface {
	// Processes counts those that run in the executor; none in one that has ended. It may be slow.
	Processes(context.Context, msg.ExecutorID) (int, error)
	// Disk is how many bytes it takes of the machine's disks, its image left out. It may be slow.
	Disk(context.Context, msg.ExecutorID) (int64, error)
}
