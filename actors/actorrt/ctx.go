package actorrt

import "github.com/rs/zerolog"

// Ctx is the interface of a Behavior to its actor. It must be used in the actor's turns only; get what a goroutine needs (Self, Log)
// before starting it.
type Ctx[M any] struct{ host *host[M] }

// Self is the actor's own address.
func (c *Ctx[M]) Self() Ref[M] { return Ref[M]{c.host.node} }

// Log is the actor's logger, with the field actor.
func (c *Ctx[M]) Log() *zerolog.Logger { return &c.host.node.log }

// SetSubject sets the execution id that the current message is about, for a Crash. It applies to this message, to the tasks and
// timers started in its turn, and to the messages that these deliver.
func (c *Ctx[M]) SetSubject(subject string) { c.host.subject = subject }

// WithSubject sets the subject while fn runs.
func (c *Ctx[M]) WithSubject(subject string, fn func()) {
	previous := c.host.subject
	c.host.subject = subject
	fn()
	c.host.subject = previous
}

// Jitter returns a random number in [0,1).
func (c *Ctx[M]) Jitter() float64 { return c.host.node.sys.scheduler.Float64() }

// StopSelf stops the actor after the current message; the mailbox is discarded.
func (c *Ctx[M]) StopSelf() { c.host.node.stop() }

// StopChild stops a child after its current message; ChildDown follows. It does nothing if there is no child of that name.
func (c *Ctx[M]) StopChild(name string) {
	if child := c.host.node.childNamed(name); child != nil {
		child.stop()
	}
}
