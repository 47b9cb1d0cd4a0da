package actorrt

import (
	"math/rand/v2"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// Scheduler decides everything that the actors do not decide themselves. Production uses Live; a simulation implements it
// with one seeded stepper; a test that injects panics embeds Live and has a Point of its own.
type Scheduler interface {
	// Turn lets the actor at path work on its mailbox; all of fn is its turn, but for Yield and Await.
	Turn(path string, fn func())
	// Yield is called in a turn after each message that was dealt with: others may go first.
	Yield(path string, message any)
	// Point is called in a turn before and after each message to a Behavior. It may panic: the actor crashes there.
	Point(path string, message any)
	// Task starts blocking work; n is unique in the system and grows.
	Task(path string, n uint64, fn func())
	// Send runs fn, which posts to mailboxes. Called in turns, by tasks, timers and from outside.
	Send(fn func())
	// After runs fn as Send does, when d has passed. stop may come too late; the shell knows.
	After(path string, d time.Duration, fn func()) (stop func())
	// Await holds a turn until wait, which may block, has returned.
	Await(path string, wait func())
	// Float64 is chance, in [0,1).
	Float64() float64
}

// Live is the Scheduler of production: goroutines, the clock, and chance from the runtime.
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

// dispatcherAdapter ties one mailbox to the scheduler. It is an actor.Dispatcher and an actor.MailboxMiddleware: the former learns when
// a mailbox has work, the latter is the only place that Proto.Actor offers between two messages.
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
