package simulation

import (
	"context"
	"fmt"
	"slices"
	"testing/synctest"
	"time"

	"runnerd/actors/actorrt"
)

// process is one process of the runner. It implements actorrt.Scheduler for the actors of this process.
type process struct {
	*scheduler
	ctx     context.Context
	cancel  context.CancelFunc
	killed  chan struct{}
	exiting bool                           // an orderly exit has begun
	onPoint func(path string, message any) // may panic
}

var _ actorrt.Scheduler = (*process)(nil)

func (s *scheduler) newProcess(point func(string, any)) *process {
	l := &process{scheduler: s, killed: make(chan struct{}), onPoint: point}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// taskPoint calls onPoint in a task, which may panic between an action and the use of its outcome.
func (l *process) taskPoint(task *routine) {
	if l != nil {
		l.onPoint(task.path, nil)
	}
}

// kill simulates kill -9: the process's goroutines end, and its requested actions are dropped.
func (l *process) kill() {
	close(l.killed)
	l.cancel()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.routines {
		if r.process == l && !r.mayOutlive {
			panic(fmt.Sprintf("%s#%d outlives its process", r.path, r.n))
		}
	}
	isOwn := func(d *action) bool { return d.process == l }
	l.requested = slices.DeleteFunc(l.requested, isOwn)
	l.timers = slices.DeleteFunc(l.timers, isOwn)
	l.ready = slices.DeleteFunc(l.ready, isOwn)
}

func (l *process) isKilled() bool {
	if l == nil {
		return false
	}
	select {
	case <-l.killed:
		return true
	default:
		return false
	}
}

func (l *process) Turn(path string, fn func()) {
	l.enqueue(&action{path: path, what: "turn", process: l, do: func() { l.start(routine{path: path, process: l, turn: true}, fn) }})
}

// park suspends the calling turn. It passes arm an action, which arm must enqueue and which continues the turn.
func (l *process) park(path string, arm func(*action)) {
	again := make(chan struct{})
	l.mu.Lock()
	me := l.current
	l.current = 0
	l.mu.Unlock()
	arm(&action{path: path, what: "turn", process: l, do: func() {
		l.mu.Lock()
		l.current = me
		l.mu.Unlock()
		close(again)
	}})
	l.block(again)
}

func (l *process) Yield(path string, message any) {
	l.park(path, l.enqueue)
}

func (l *process) Point(path string, message any) {
	l.trace.message(path, message)
	l.onPoint(path, message)
}

func (l *process) Task(path string, n uint64, fn func()) {
	l.enqueue(&action{path: path, n: n, what: "task", process: l, do: func() { l.start(routine{path: path, n: n, process: l}, fn) }})
}

func (l *process) Await(path string, wait func()) {
	l.park(path, func(d *action) {
		l.start(routine{path: path, process: l, mayOutlive: true}, func() {
			wait()
			l.enqueue(d)
		})
	})
}

func (l *process) After(path string, d time.Duration, fn func()) func() {
	l.timerCount++
	timer := &action{path: path, n: l.timerCount, what: "timer", process: l, when: time.Now().Add(max(d, 1)), do: fn}
	l.enqueue(timer)
	return func() { l.cancelTimer(timer) }
}

func (l *process) Float64() float64 { return l.rng.Float64() }

func (l *process) Send(fn func()) {
	if l.isKilled() {
		return
	}
	if r := l.caller(); r != nil {
		l.enqueue(&action{path: r.path, n: r.n, seq: r.seq, what: "send", process: l, do: fn})
	} else {
		fn()
	}
}
