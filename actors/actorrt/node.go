package actorrt

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

// node is the part of an actor that is shared with senders, its parent, its goroutines, and Tree.
type node struct {
	// fixed before the first turn
	sys     *System
	parent  *node
	name    string
	path    string
	log     zerolog.Logger
	mailbox actor.Mailbox
	pid     *actor.PID
	ctx     context.Context
	cancel  context.CancelCauseFunc

	ended   chan struct{} // closed when the actor takes no more messages
	stopped chan struct{} // closed when its children and goroutines have ended too
	crash   *Crash        // written before ended is closed

	state atomic.Int32
	busy  atomic.Pointer[busy]

	mu       sync.Mutex
	children map[string]*node
	crashes  map[string]crashHistory // of children that crashed
	running  map[uint64]string       // names of the actor's goroutines, by number
	idle     chan struct{}           // closed when running becomes empty; nil while no caller waits
}

type busy struct {
	message string
	since   time.Time
}

// crashHistory counts the consecutive crashes of actors with the same name. An actor that stops without a crash resets it.
type crashHistory struct {
	crashes int
	last    string
	at      time.Time
}

func newNode(parent *node, name string) *node {
	sys := parent.sys
	c := &node{sys: sys, parent: parent, name: name, path: name, ended: make(chan struct{}), stopped: make(chan struct{})}
	if parent != sys.top {
		c.path = parent.path + "/" + name
	}
	c.log = sys.log.With().Str("actor", c.path).Logger()
	c.ctx, c.cancel = context.WithCancelCause(sys.base)
	c.mailbox = actor.Unbounded(c.adapter())()
	return c
}

func (c *node) adapter() dispatcherAdapter { return dispatcherAdapter{c.sys.scheduler, c.path} }

// post puts an envelope into the mailbox, unless the actor has ended.
func (c *node) post(envelope any) {
	if !c.hasEnded() {
		c.sys.scheduler.Send(func() { c.sys.proto.Root.Send(c.pid, envelope) })
	}
}

func (c *node) hasEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// stop stops the actor. It does nothing if the actor has already stopped.
func (c *node) stop() { c.sys.scheduler.Send(func() { c.sys.proto.Root.Stop(c.pid) }) }

// endReason returns why the actor has ended. Call it only after ended is closed.
func (c *node) endReason() error {
	if c.crash != nil {
		return fmt.Errorf("%w: %w", ErrCrashed, c.crash)
	}
	return ErrStopped
}

// addChild adds a child, and returns false if the name is taken.
func (c *node) addChild(child *node) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.children[child.name] != nil {
		return false
	}
	if c.children == nil {
		c.children = map[string]*node{}
	}
	c.children[child.name] = child
	return true
}

// removeChild removes a child that has ended, and remembers its crash.
func (c *node) removeChild(child *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.children, child.name)
	if child.crash == nil {
		delete(c.crashes, child.name)
		return
	}
	if c.crashes == nil {
		c.crashes = map[string]crashHistory{}
	}
	c.crashes[child.name] = crashHistory{c.crashes[child.name].crashes + 1, child.crash.Error(), child.crash.At}
}

func (c *node) childNamed(name string) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.children[name]
}

// liveChildren returns the children, sorted by name.
func (c *node) liveChildren() []*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.SortedFunc(maps.Values(c.children), func(a, b *node) int { return cmp.Compare(a.name, b.name) })
}

func (c *node) history(name string) crashHistory {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.crashes[name]
}

func (c *node) childByPID(pid *actor.PID) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, child := range c.children {
		if child.pid.Equal(pid) {
			return child
		}
	}
	return nil
}

// taskStarted and taskEnded track a goroutine, both in its actor and in the top node.
func (c *node) taskStarted(n uint64, name string) {
	if top := c.sys.top; c != top {
		top.taskStarted(n, c.path+" "+name)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == nil {
		c.running = map[uint64]string{}
	}
	c.running[n] = name
}

func (c *node) taskEnded(n uint64) {
	if top := c.sys.top; c != top {
		defer top.taskEnded(n)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if delete(c.running, n); len(c.running) == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

// tasks returns the names of the running goroutines.
func (c *node) tasks() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Values(c.running))
}

// whenIdle returns a channel that is closed when no goroutine of the actor runs. Only the newest such channel is closed.
func (c *node) whenIdle() <-chan struct{} {
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
