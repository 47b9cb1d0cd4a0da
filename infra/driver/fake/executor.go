package fake

import (
	"context"
	"fmt"
	"slices"
	"time"

	"runnerd/infra/driver"
	msg "runnerd/messages"
)

// batchMax is the maximum number of entries in a batch of Logs.
const batchMax = 64

// executor is one executor of the engine. It uses the engine's lock, so that all events have one order.
type executor struct {
	engine  *Driver
	spec    msg.ExecutorSpec
	program Program

	// guarded by engine.mu
	state   msg.ContainerState
	removed bool
	started time.Time  // of the newest process
	starts  int        // processes so far
	exits   []msg.Exit // of the processes, in order
	log     []msg.LogEntry
	signals []msg.Signal
	disk    int64
	forked  int           // processes started by the program
	changed chan struct{} // closed and replaced to wake waits: after output, a signal, an exit or the removal
	kill    context.CancelCauseFunc
}

func newExecutor(d *Driver, spec msg.ExecutorSpec, p Program) *executor {
	return &executor{
		engine: d, spec: spec, program: p, state: msg.ContainerCreated, changed: make(chan struct{}), kill: func(error) {},
	}
}

func (e *executor) start() {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	if e.state == msg.ContainerCreated && !e.removed {
		e.startLocked()
	}
}

func (e *executor) restart() {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	if e.removed {
		return
	}
	e.endLocked(msg.Exit{Code: codeOf(msg.SIGKILL)})
	e.signals, e.forked = nil, 0
	e.startLocked()
	e.change()
}

func (e *executor) startLocked() {
	now := time.Now().Round(0)
	if !now.After(e.started) { // virtual time stands still between two starts
		now = e.started.Add(1)
	}
	e.state, e.started = msg.ContainerRunning, now
	e.starts++
	process := e.starts
	e.engine.recordEvent(Started, e.spec.ID)
	var ctx context.Context
	ctx, e.kill = context.WithCancelCause(context.Background())
	e.engine.programs.Add(1)
	e.engine.scheduler.Go("program of "+string(e.spec.ID), func() {
		defer e.engine.programs.Done()
		e.run(ctx, process)
	})
}

func (e *executor) run(ctx context.Context, process int) {
	w := &Process{Spec: e.spec, executor: e, number: process}
	for _, line := range e.program.Prints {
		w.Print(line + "\n")
	}
	run := e.program.Run
	if run == nil {
		run = e.program.wait
	}
	exit := msg.Exit{Code: run(ctx, w)}
	if e.program.OOM && exit.Code == codeOf(msg.SIGKILL) {
		exit.OOM = true
	}
	e.engine.scheduler.Do("exit", func() { e.returned(process, exit) })
}

// returned records the exit of a program, unless it was killed before.
func (e *executor) returned(process int, exit msg.Exit) {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	if process == e.starts {
		e.endLocked(exit)
	}
}

// wait runs a program without a Run function.
func (p Program) wait(ctx context.Context, w *Process) (code int) {
	end := time.Now().Add(p.RunFor)
	_ = w.Until(ctx, "run", func() (bool, time.Time) {
		switch s := w.Signal(); {
		case s != "":
			code = codeOf(s)
		case p.RunFor == 0:
			return false, time.Time{}
		case time.Now().Before(end):
			return false, end
		case p.OOM:
			code = codeOf(msg.SIGKILL)
		default:
			code = p.ExitCode
		}
		return true, time.Time{}
	})
	return code
}

func codeOf(s msg.Signal) int {
	return 128 + map[msg.Signal]int{msg.SIGABRT: 6, msg.SIGKILL: 9, msg.SIGTERM: 15}[s]
}

// end ends the running process, if any.
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
	for i := range e.log[e.readableAt(exit.At):] { // the engine reports an exit after it has read the rest of the output
		e.log[len(e.log)-1-i].Time = exit.At.Round(0)
	}
	e.state, e.exits = msg.ContainerExited, append(e.exits, exit)
	e.engine.recordEvent(Died, e.spec.ID)
	e.kill(fmt.Errorf("executor %s has ended", e.spec.ID))
	e.change()
}

func (e *executor) change() {
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *executor) wake() {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	e.change()
}

func (e *executor) print(process int, text string) bool {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	if e.state != msg.ContainerRunning || process != e.starts {
		return false
	}
	stamp := time.Now()
	if e.engine.LogDelay != nil {
		stamp = stamp.Add(e.engine.LogDelay())
	}
	if n := len(e.log); n > 0 && stamp.Before(e.log[n-1].Time) {
		stamp = e.log[n-1].Time
	}
	e.log = append(e.log, msg.LogEntry{Time: stamp.Round(0), Text: []byte(text)})
	e.change()
	return true
}

// readableAt returns the number of entries that the engine has read by that time. The caller holds the lock.
func (e *executor) readableAt(now time.Time) int {
	n := len(e.log)
	for n > 0 && e.log[n-1].Time.After(now) {
		n--
	}
	return n
}

func (e *executor) signal(s msg.Signal) {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	switch {
	case s == msg.SIGKILL:
		e.endLocked(msg.Exit{Code: codeOf(s)})
	case e.state == msg.ContainerRunning && !e.program.IgnoresStop && len(e.signals) < 16: // more are lost
		e.signals = append(e.signals, s)
		e.change()
	}
}

func (e *executor) nextSignal(process int) (s msg.Signal) {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	if len(e.signals) > 0 && process == e.starts {
		s, e.signals = e.signals[0], e.signals[1:]
	}
	return s
}

// remove marks the executor as removed. It is called once.
func (e *executor) remove() {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	e.endLocked(msg.Exit{Code: codeOf(msg.SIGKILL)})
	e.removed = true
	e.engine.recordEvent(Removed, e.spec.ID)
	e.change()
}

func (e *executor) container() msg.Container {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	return msg.Container{ID: e.spec.ID, State: e.state, Image: e.spec.Image, StartedAt: e.started}
}

func (e *executor) wait(ctx context.Context) (exit msg.Exit, err error) {
	process := 0 // the process whose exit is returned
	waitErr := e.engine.scheduler.Until(ctx, Wait, func() (done bool, _ <-chan struct{}, _ time.Time) {
		now := e.snapshot(0)
		if process == 0 {
			process = max(now.starts, 1)
		}
		if done = len(now.exits) >= process; done {
			exit = now.exits[process-1]
		} else {
			err = e.waitError(now)
		}
		return done || err != nil, now.changed, time.Time{}
	})
	if err == nil {
		err = waitErr
	}
	if err != nil {
		return msg.Exit{}, fmt.Errorf("wait for executor %s: %w", e.spec.ID, err)
	}
	return exit, nil
}

func (e *executor) logs(ctx context.Context, from *driver.Cursor, emit func([]msg.LogEntry) error) error {
	for read := 0; ; {
		log, err := e.nextEntries(ctx, read)
		if err != nil {
			return fmt.Errorf("read log of executor %s: %w", e.spec.ID, err)
		}
		if len(log) == 0 {
			return nil
		}
		read += len(log)
		if batch := skipTo(from, log); len(batch) > 0 {
			if err := emit(batch); err != nil {
				return err
			}
		}
	}
}

// nextEntries waits for entries. It returns none after the last entry of a program that has exited.
func (e *executor) nextEntries(ctx context.Context, read int) (log []msg.LogEntry, err error) {
	waitErr := e.engine.scheduler.Until(ctx, Logs, func() (bool, <-chan struct{}, time.Time) {
		now := e.snapshot(read)
		log = now.log
		done := len(log) > 0 || now.state == msg.ContainerExited
		if !done {
			err = e.waitError(now)
		}
		return done || err != nil, now.changed, now.nextEntryAt
	})
	if err == nil {
		err = waitErr
	}
	return log, err
}

func skipTo(from *driver.Cursor, log []msg.LogEntry) (batch []msg.LogEntry) {
	for _, entry := range log {
		if entry, ok := from.Next(entry); ok {
			batch = append(batch, entry)
		}
	}
	return batch
}

// snapshot is an executor at one moment.
type snapshot struct {
	state       msg.ContainerState
	removed     bool
	starts      int
	exits       []msg.Exit
	log         []msg.LogEntry // the next batch
	nextEntryAt time.Time      // when the engine reads the next entry; zero: no entry is unread
	changed     <-chan struct{}
}

func (e *executor) snapshot(read int) snapshot {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	readable := e.readableAt(time.Now())
	end := min(readable, read+batchMax)
	now := snapshot{e.state, e.removed, e.starts, e.exits, nil, time.Time{}, e.changed}
	now.log = slices.Clone(e.log[min(read, end):end])
	if readable < len(e.log) {
		now.nextEntryAt = e.log[readable].Time
	}
	return now
}

// waitError returns the error that ends a wait, or nil if the wait goes on.
func (e *executor) waitError(now snapshot) error {
	if now.removed {
		return msg.ErrNoExecutor
	}
	return e.engine.downErr()
}

func (e *executor) processes() int {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	if e.state != msg.ContainerRunning {
		return 0
	}
	return 1 + e.forked
}

func (e *executor) filled() int64 {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	return e.disk
}
