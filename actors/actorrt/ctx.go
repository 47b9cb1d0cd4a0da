package actorrt

import "github.com/rs/zerolog"

// Ctx is what a Behavior works with. It belongs to the actor's turns; what a goroutine needs (Self, Log) is taken
// out of it first.
type Ctx[M any] struct{ s *host[M] }

// Self is the actor's own address.
func (c *Ctx[M]) Self() Ref[M] { return Ref[M]{c.s.node} }

// Log writes with the field actor.
func (c *Ctx[M]) Log() *zerolog.Logger { return &c.s.node.log }

// SetSubject names the job that the message in hand is about, for a Crash. It holds for this message, and for the tasks and
// timers that are started in its turn, and for the messages that these deliver.
func (c *Ctx[M]) SetSubject(subject string) { c.s.subject = subject }

// WithSubject is About for the time of fn.
func (c *Ctx[M]) WithSubject(subject string, fn func()) {
	history := c.s.subject
	c.s.subject = subject
	fn()
	c.s.subject = history
}

// Jitter is in [0,1).
func (c *Ctx[M]) Jitter() float64 { return c.s.node.sys.scheduler.Float64() }

// StopSelf stops the actor after the message in hand; what waits in the mailbox is discarded.
func (c *Ctx[M]) StopSelf() { c.s.node.stop() }

// StopChild stops a child after its message in hand; ChildDown follows. Nothing happens if there is none of that name.
func (c *Ctx[M]) StopChild(name string) {
	if child := c.s.node.childNamed(name); child != nil {
		child.stop()
	}
}
