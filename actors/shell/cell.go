package shell

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/rs/zerolog"
)

// cell is the part of an actor that others may touch: senders, its parent, its goroutines, and who looks at the tree.
type cell struct {
	// fixed before the first turn
	sys     *System
	parent  *cell
	name    string
	path    string
	log     zerolog.Logger
	mailbox actor.Mailbox
	pid     *actor.PID
	ctx     context.Context
	cancel  context.CancelCauseFunc

	over  chan struct{} // closed when the actor takes no more messages
	gone  chan struct{} // closed when its children and goroutines have ended too
	crash *Crash        // written before over is closed

	phase atomic.Int32
	busy  atomic.Pointer[busy]

	mu      sync.Mutex
	kids    map[string]*cell
	past    map[string]past   // of kids that crashed
	running map[uint64]string // the goroutines of the actor, by number: their names
	idle    chan struct{}     // closed when running becomes empty; nil while nobody waits
}

type busy struct {
	message string
	since   time.Time
}

// past is what is remembered of a name over its crashes, until an actor of that name stops in order.
type past struct {
	crashes int
	last    string
	at      time.Time
}

func newCell(parent *cell, name string) *cell {
	sys := parent.sys
	c := &cell{sys: sys, parent: parent, name: name, path: name, over: make(chan struct{}), gone: make(chan struct{})}
	if parent != sys.top {
		c.path = parent.path + "/" + name
	}
	c.log = sys.log.With().Str("actor", c.path).Logger()
	c.ctx, c.cancel = context.WithCancelCause(sys.base)
	c.mailbox = actor.Unbounded(c.seat())()
	return c
}

func (c *cell) seat() seat { return seat{c.sys.scheduler, c.path} }

// post puts a parcel into the mailbox, unless the actor is over.
func (c *cell) post(p any) {
	if !c.isOver() {
		c.sys.scheduler.Send(func() { c.sys.proto.Root.Send(c.pid, p) })
	}
}

func (c *cell) isOver() bool {
	select {
	case <-c.over:
		return true
	default:
		return false
	}
}

// stop is repeatable and harmless after the end.
func (c *cell) stop() { c.sys.scheduler.Send(func() { c.sys.proto.Root.Stop(c.pid) }) }

// ending says why the actor is over; only after over.
func (c *cell) ending() error {
	if c.crash != nil {
		return fmt.Errorf("%w: %w", ErrCrashed, c.crash)
	}
	return ErrStopped
}

// adopt enters a child, false if the name is taken.
func (c *cell) adopt(kid *cell) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kids[kid.name] != nil {
		return false
	}
	if c.kids == nil {
		c.kids = map[string]*cell{}
	}
	c.kids[kid.name] = kid
	return true
}

// bury takes out a child that is gone, and remembers its crash.
func (c *cell) bury(kid *cell) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.kids, kid.name)
	if kid.crash == nil {
		delete(c.past, kid.name)
		return
	}
	if c.past == nil {
		c.past = map[string]past{}
	}
	c.past[kid.name] = past{c.past[kid.name].crashes + 1, kid.crash.Error(), kid.crash.At}
}

func (c *cell) kid(name string) *cell {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kids[name]
}

// living returns the children by name.
func (c *cell) living() []*cell {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.SortedFunc(maps.Values(c.kids), func(a, b *cell) int { return cmp.Compare(a.name, b.name) })
}

func (c *cell) before(name string) past {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.past[name]
}

func (c *cell) kidByPID(pid *actor.PID) *cell {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, kid := range c.kids {
		if kid.pid.Equal(pid) {
			return kid
		}
	}
	return nil
}

// enter and leave count a goroutine of the actor, and of all at the top.
func (c *cell) enter(n uint64, name string) {
	if top := c.sys.top; c != top {
		top.enter(n, c.path+" "+name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == nil {
		c.running = map[uint64]string{}
	}
	c.running[n] = name
}

func (c *cell) leave(n uint64) {
	if top := c.sys.top; c != top {
		defer top.leave(n)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if delete(c.running, n); len(c.running) == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

// tasks are the names of the goroutines that run.
func (c *cell) tasks() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Values(c.running))
}

// quiet is closed when no goroutine of the actor runs. The newest who asks is told.
func (c *cell) quiet() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := make(chan struct{})
	if len(c.running) == 0 {
		close(idle)
	} else {
		c.idle = idle
	}
	return idle
}
