package simulation

import (
	"context"
	"fmt"
	"slices"
	"testing/synctest"
	"time"

	"runnerd/actors/actorrt"
)

// life is one process of the runner, and its scheduler.
type life struct {
	*stepper
	ctx    context.Context
	cancel context.CancelFunc
	killed chan struct{}
	exits  bool                           // asked to end in order
	point  func(path string, message any) // may panic
}

var _ actorrt.Scheduler = (*life)(nil)

func (s *stepper) newLife(point func(string, any)) *life {
	l := &life{stepper: s, killed: make(chan struct{}), point: point}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// crashes may let the actor of a task panic, between what the task does and what becomes of that.
func (l *life) crashes(task *role) {
	if l != nil {
		l.point(task.path, nil)
	}
}

// kill is kill -9: nothing of the life goes on, nothing of it is delivered.
func (l *life) kill() {
	close(l.killed)
	l.cancel()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.actors {
		if r.life == l && !r.waits {
			panic(fmt.Sprintf("%s#%d outlives its process", r.path, r.n))
		}
	}
	mine := func(d *deed) bool { return d.life == l }
	l.asked = slices.DeleteFunc(l.asked, mine)
	l.timers = slices.DeleteFunc(l.timers, mine)
	l.ready = slices.DeleteFunc(l.ready, mine)
}

func (l *life) isOver() bool {
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

func (l *life) Turn(path string, fn func()) {
	l.ask(&deed{path: path, what: "turn", life: l, do: func() { l.start(role{path: path, life: l, turn: true}, fn) }})
}

// park holds the turn until its step comes again.
func (l *life) park(path string, arm func(*deed)) {
	again := make(chan struct{})
	l.mu.Lock()
	me := l.at
	l.at = 0
	l.mu.Unlock()
	arm(&deed{path: path, what: "turn", life: l, do: func() {
		l.mu.Lock()
		l.at = me
		l.mu.Unlock()
		close(again)
	}})
	l.block(again)
}

func (l *life) Yield(path string, message any) {
	l.park(path, l.ask)
}

func (l *life) Point(path string, message any) {
	l.trace.message(path, message)
	l.point(path, message)
}

func (l *life) Task(path string, n uint64, fn func()) {
	l.ask(&deed{path: path, n: n, what: "task", life: l, do: func() { l.start(role{path: path, n: n, life: l}, fn) }})
}

func (l *life) Await(path string, wait func()) {
	l.park(path, func(d *deed) {
		l.start(role{path: path, life: l, waits: true}, func() {
			wait()
			l.ask(d)
		})
	})
}

func (l *life) After(path string, d time.Duration, fn func()) func() {
	l.armed++
	timer := &deed{path: path, n: l.armed, what: "timer", life: l, when: time.Now().Add(max(d, 1)), do: fn}
	l.ask(timer)
	return func() { l.drop(timer) }
}

func (l *life) Float64() float64 { return l.rng.Float64() }

func (l *life) Send(fn func()) {
	if l.isOver() {
		return
	}
	if r := l.me(); r != nil {
		l.ask(&deed{path: r.path, n: r.n, seq: r.seq, what: "send", life: l, do: fn})
	} else {
		fn()
	}
}
