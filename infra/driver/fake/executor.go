package fake

import (
	"context"
	"fmt"
	"sync"
	"time"

	"runnerd/infra/driver"
	msg "runnerd/messages"
)

// batchMax is how many entries Logs hands on at once, at most.
const batchMax = 64

// executor is one of the engine's. Its lock is the engine's: there is one order of everything.
type executor struct {
	engine   *Driver
	spec     msg.ExecutorSpec
	program  Program
	programs sync.WaitGroup

	// guarded by engine.mu
	state   msg.ContainerState
	gone    bool
	exit    msg.Exit
	log     []msg.LogEntry
	changed chan struct{} // closed and replaced with every change of the above
	signals chan msg.Signal
	kill    context.CancelCauseFunc
}

func newExecutor(d *Driver, spec msg.ExecutorSpec, p Program) *executor {
	return &executor{
		engine: d, spec: spec, program: p, state: msg.ContainerCreated,
		changed: make(chan struct{}), signals: make(chan msg.Signal, 16),
		kill: func(error) {},
	}
}

func (e *executor) start() {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	if e.state != msg.ContainerCreated || e.gone {
		return
	}
	e.state = msg.ContainerRunning
	e.engine.note(Started, e.spec.ID)
	var ctx context.Context
	ctx, e.kill = context.WithCancelCause(context.Background())
	e.programs.Go(func() { e.run(ctx) })
}

func (e *executor) run(ctx context.Context) {
	for _, line := range e.program.Prints {
		e.print(line + "\n")
	}
	if e.program.Run != nil {
		e.end(msg.Exit{Code: e.program.Run(ctx, &World{Spec: e.spec, Signals: e.signals, executor: e})})
		return
	}
	var finished <-chan time.Time
	if e.program.RunFor > 0 {
		finished = time.After(e.program.RunFor)
	}
	select {
	case <-ctx.Done():
	case s := <-e.signals:
		e.end(msg.Exit{Code: codeOf(s)})
	case <-finished:
		exit := msg.Exit{Code: e.program.ExitCode}
		if e.program.OOM {
			exit = msg.Exit{Code: codeOf(msg.SIGKILL), OOM: true}
		}
		e.end(exit)
	}
}

func codeOf(s msg.Signal) int {
	return 128 + map[msg.Signal]int{msg.SIGABRT: 6, msg.SIGKILL: 9, msg.SIGTERM: 15}[s]
}

// end is the program's last; only the first counts.
func (e *executor) end(exit msg.Exit) {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	e.endLocked(exit)
}

func (e *executor) endLocked(exit msg.Exit) {
	if e.state != msg.ContainerRunning {
		return
	}
	exit.At = time.Now()
	e.state, e.exit = msg.ContainerExited, exit
	e.engine.note(Died, e.spec.ID)
	e.kill(fmt.Errorf("executor %s has ended", e.spec.ID))
	e.change()
}

func (e *executor) change() {
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *executor) print(text string) {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	if e.state != msg.ContainerRunning {
		return
	}
	stamp := time.Now()
	if n := len(e.log); n > 0 && stamp.Before(e.log[n-1].Time) {
		stamp = e.log[n-1].Time
	}
	e.log = append(e.log, msg.LogEntry{Time: stamp.Round(0), Text: []byte(text)})
	e.change()
}

func (e *executor) signal(s msg.Signal) {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	switch {
	case s == msg.SIGKILL:
		e.endLocked(msg.Exit{Code: codeOf(s)})
	case e.state == msg.ContainerRunning && !e.program.IgnoresStop:
		select {
		case e.signals <- s:
		default: // as with real signals: a program that looks at none of them misses some
		}
	}
}

// remove is done once for an executor that the engine has.
func (e *executor) remove() {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	e.endLocked(msg.Exit{Code: codeOf(msg.SIGKILL)})
	e.gone = true
	e.engine.note(Removed, e.spec.ID)
	e.change()
}

func (e *executor) container() msg.Container {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	return msg.Container{ID: e.spec.ID, State: e.state, Image: e.spec.Image}
}

func (e *executor) wait(ctx context.Context) (msg.Exit, error) {
	for {
		now := e.look(0)
		if now.state == msg.ContainerExited {
			return now.exit, nil
		}
		if err := e.await(ctx, now); err != nil {
			return msg.Exit{}, fmt.Errorf("wait for executor %s: %w", e.spec.ID, err)
		}
	}
}

func (e *executor) logs(ctx context.Context, from *driver.Cursor, emit func([]msg.LogEntry) error) error {
	for read := 0; ; {
		now := e.look(read)
		if len(now.log) == 0 {
			if now.state == msg.ContainerExited {
				return nil
			}
			if err := e.await(ctx, now); err != nil {
				return fmt.Errorf("read log of executor %s: %w", e.spec.ID, err)
			}
			continue
		}
		read += len(now.log)
		if batch := behind(from, now.log); len(batch) > 0 {
			if err := emit(batch); err != nil {
				return err
			}
		}
	}
}

func behind(from *driver.Cursor, log []msg.LogEntry) (batch []msg.LogEntry) {
	for _, entry := range log {
		if entry, ok := from.Next(entry); ok {
			batch = append(batch, entry)
		}
	}
	return batch
}

// view is an executor at one moment.
type view struct {
	state   msg.ContainerState
	gone    bool
	exit    msg.Exit
	log     []msg.LogEntry // a batch of it
	changed <-chan struct{}
}

func (e *executor) look(read int) view {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	end := min(len(e.log), read+batchMax)
	return view{e.state, e.gone, e.exit, e.log[read:end:end], e.changed}
}

// await returns when the executor is not as it was, or never will be.
func (e *executor) await(ctx context.Context, was view) error {
	if was.gone {
		return msg.ErrNoExecutor
	}
	engine, down := e.engine.engine()
	if down != nil {
		return down
	}
	select {
	case <-was.changed:
	case <-engine:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
