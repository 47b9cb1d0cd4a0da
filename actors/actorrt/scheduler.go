package actorrt

import (
	"math/rand/v2"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// Scheduler controls everything that the actors do not decide themselves. Production uses Live; a simulation implements it
// with a seeded stepper; a test that injects panics embeds Live and overrides Point.
type Scheduler interface {
	// Turn runs fn, in which the actor at path handles the messages in its mailbox one after another. Other actors may run during Yield
	// and Await.
	Turn(path string, fn func())
	// Yield is called by fn of Turn after each handled message, so that other actors may run first.
	Yield(path string, message any)
	// Point is called in a turn before and after each message to a Behavior. If it panics, the actor crashes.
	Point(path string, message any)
	// Task starts blocking work; n is unique in the system, and increases with each task.
	Task(path string, n uint64, fn func())
	// Send runs fn, which posts to mailboxes. It is called in turns, by tasks, by timers, and by other goroutines.
	Send(fn func())
	// After runs fn as Send does, after d. stop may be called too late; the runtime handles that.
	After(path string, d time.Duration, fn func()) (stop func())
	// Await suspends a turn until wait, which may block, has returned.
	Await(path string, wait func())
	// Float64 returns a random number in [0,1).
	Float64() float64
}

// Live is the Scheduler of production: goroutines, the real clock, and math/rand.
func Live() Scheduler { return live{} }

type live struct{}

func (live) Turn(_ string, fn func())           { go fn() }
func (live) Yield(string, any)                  {}
func (live) Point(string, any)                  {}
func (live) Task(_ string, _ uint64, fn func()) { go fn() }
func (live) Send(fn func())                     { fn() }
func (live) Await(_ string, wait func())        { wait() }
func (live) Float64() float64                   { return rand.Float64() }

func (live) After(_ string, d time.Duration, fn func()) func() {
	t := time.AfterFunc(d, fn)
	return func() { t.Stop() }
}

// dispatcherAdapter connects one mailbox to the scheduler. It is an actor.Dispatcher, which is called when the mailbox has work, and an
// actor.MailboxMiddleware, which is Proto.Actor's only hook between two messages.
type dispatcherAdapter struct {
	scheduler Scheduler
	path      string
}

func (s dispatcherAdapter) Schedule(fn func()) { s.scheduler.Turn(s.path, fn) }
func (s dispatcherAdapter) Throughput() int    { return 300 }

func (s dispatcherAdapter) MailboxStarted()   {}
func (s dispatcherAdapter) MessagePosted(any) {}
func (s dispatcherAdapter) MailboxEmpty()     {}
func (s dispatcherAdapter) MessageReceived(m any) {
	if p, ok := m.(interface{ content() any }); ok {
		m = p.content()
	}
	s.scheduler.Yield(s.path, m)
}

var (
	_ actor.Dispatcher        = dispatcherAdapter{}
	_ actor.MailboxMiddleware = dispatcherAdapter{}
)
