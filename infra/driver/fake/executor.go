package fake

import (
	"context"
	"fmt"
	"slices"
	"time"

	"runnerd/infra/driver"
	msg "runnerd/messages"
)

// batchMax is how many entries Logs hands on at once, at most.
const batchMax = 64

// executor is one of the engine's. Its lock is the engine's: there is one order of everything.
type executor struct {
	engine  *Driver
	spec    msg.ExecutorSpec
	program Program

	// guarded by engine.mu
	state   msg.ContainerState
	gone    bool
	started time.Time  // when its newest process was
	starts  int        // processes so far
	exits   []msg.Exit // theirs, in order
	log     []msg.LogEntry
	signals []msg.Signal
	disk    int64
	left    int           // processes that the program has left behind
	changed chan struct{} // closed and replaced with every change of the above
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
	if e.state == msg.ContainerCreated && !e.gone {
		e.startLocked()
	}
}

func (e *executor) restart() {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	if e.gone {
		return
	}
	e.endLocked(msg.Exit{Code: codeOf(msg.SIGKILL)})
	e.signals, e.left = nil, 0
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
	e.engine.note(Started, e.spec.ID)
	var ctx context.Context
	ctx, e.kill = context.WithCancelCause(context.Background())
	e.engine.programs.Add(1)
	e.engine.stage.Go("program of "+string(e.spec.ID), func() {
		defer e.engine.programs.Done()
		e.run(ctx, process)
	})
}

func (e *executor) run(ctx context.Context, process int) {
	w := &World{Spec: e.spec, executor: e, process: process}
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
	e.engine.stage.Do("exit", func() { e.returned(process, exit) })
}

// returned is the end of a program, unless it was killed before.
func (e *executor) returned(process int, exit msg.Exit) {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	if process == e.starts {
		e.endLocked(exit)
	}
}

// wait is what a program without a Run function does.
func (p Program) wait(ctx context.Context, w *World) (code int) {
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

// end ends what runs.
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
	for i := range e.log[e.read(exit.At):] { // the engine tells of an end when it has read the rest
		e.log[len(e.log)-1-i].Time = exit.At.Round(0)
	}
	e.state, e.exits = msg.ContainerExited, append(e.exits, exit)
	e.engine.note(Died, e.spec.ID)
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
	if e.engine.Lag != nil {
		stamp = stamp.Add(e.engine.Lag())
	}
	if n := len(e.log); n > 0 && stamp.Before(e.log[n-1].Time) {
		stamp = e.log[n-1].Time
	}
	e.log = append(e.log, msg.LogEntry{Time: stamp.Round(0), Text: []byte(text)})
	e.change()
	return true
}

// read is how many entries the engine has read at that time, and stamped. Its lock is held.
func (e *executor) read(now time.Time) int {
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
	case e.state == msg.ContainerRunning && !e.program.IgnoresStop && len(e.signals) < 16: // one that looks at none misses some
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
	return msg.Container{ID: e.spec.ID, State: e.state, Image: e.spec.Image, StartedAt: e.started}
}

func (e *executor) wait(ctx context.Context) (exit msg.Exit, err error) {
	process := 0 // whose end it is
	ended := e.engine.stage.Until(ctx, Wait, func() (over bool, _ <-chan struct{}, _ time.Time) {
		now := e.look(0)
		if process == 0 {
			process = max(now.starts, 1)
		}
		if over = len(now.exits) >= process; over {
			exit = now.exits[process-1]
		} else {
			err = e.lost(now)
		}
		return over || err != nil, now.changed, time.Time{}
	})
	if err == nil {
		err = ended
	}
	if err != nil {
		return msg.Exit{}, fmt.Errorf("wait for executor %s: %w", e.spec.ID, err)
	}
	return exit, nil
}

func (e *executor) logs(ctx context.Context, from *driver.Cursor, emit func([]msg.LogEntry) error) error {
	for read := 0; ; {
		log, err := e.more(ctx, read)
		if err != nil {
			return fmt.Errorf("read log of executor %s: %w", e.spec.ID, err)
		}
		if len(log) == 0 {
			return nil
		}
		read += len(log)
		if batch := behind(from, log); len(batch) > 0 {
			if err := emit(batch); err != nil {
				return err
			}
		}
	}
}

// more waits for entries; none: the program has ended, and these were all.
func (e *executor) more(ctx context.Context, read int) (log []msg.LogEntry, err error) {
	ended := e.engine.stage.Until(ctx, Logs, func() (bool, <-chan struct{}, time.Time) {
		now := e.look(read)
		log = now.log
		over := len(log) > 0 || now.state == msg.ContainerExited
		if !over {
			err = e.lost(now)
		}
		return over || err != nil, now.changed, now.more
	})
	if err == nil {
		err = ended
	}
	return log, err
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
	starts  int
	exits   []msg.Exit
	log     []msg.LogEntry // a batch of it
	more    time.Time      // when the engine reads the next entry; zero: there is none yet
	changed <-chan struct{}
}

func (e *executor) look(read int) view {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	there := e.read(time.Now())
	end := min(there, read+batchMax)
	now := view{e.state, e.gone, e.starts, e.exits, nil, time.Time{}, e.changed}
	now.log = slices.Clone(e.log[min(read, end):end])
	if there < len(e.log) {
		now.more = e.log[there].Time
	}
	return now
}

// lost says why it makes no sense to wait any longer.
func (e *executor) lost(now view) error {
	if now.gone {
		return msg.ErrNoExecutor
	}
	return e.engine.isDown()
}

func (e *executor) processes() int {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	if e.state != msg.ContainerRunning {
		return 0
	}
	return 1 + e.left
}

func (e *executor) filled() int64 {
	e.engine.mu.Lock()
	defer e.engine.mu.Unlock()
	return e.disk
}
