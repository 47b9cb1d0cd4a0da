package actors

import (
	"sync"
	"time"

	"runnerd/actors/shell"
	msg "runnerd/messages"
)

// How the runner ends: drained, or left, with its executors going on.

// reportsWait bounds how long a drain waits for the server to take what is done; the next start sends the rest.
const reportsWait = 30 * time.Second

// farewell is how far the end has come.
type farewell struct {
	tellStopped func() // not nil: draining
	ended       bool   // the drain, and that was said
	drainEnds   time.Time
	tellLeft    func() // not nil: about to leave
}

func (f *farewell) ending() bool { return f.tellStopped != nil || f.tellLeft != nil }

// drain ends in an orderly way: nothing new, what runs is finished and reported.
func (r *runner) drain(c *shell.Ctx[msg.ToRunner], done func()) {
	if r.tellStopped != nil {
		return
	}
	r.tellStopped = sync.OnceFunc(done) // the server may delete a runner that has drained
	c.Log().Info().Msg("draining: no new jobs; running ones are finished first")
	r.intake()
	r.drainDispatcher(c)
}

// leave: nothing new is taken or handed out, and what there is goes on without the runner.
func (r *runner) leave(ready func()) {
	r.tellLeft = ready
	r.dispatcher.Tell(msg.DispatchClosed{})
	r.intake()
}

func (r *runner) drainDispatcher(c *shell.Ctx[msg.ToRunner]) {
	self := c.Self()
	order := msg.DrainDispatch{Done: func() { self.Tell(msg.PoolDrained{}) }}
	if r.deleted {
		order.Abort = "the server has deleted the runner"
	}
	r.dispatcher.Tell(order)
}

func (r *runner) checkReports(c *shell.Ctx[msg.ToRunner]) {
	self := c.Self()
	r.reporter.Tell(msg.BacklogWanted{Reply: func(n int) { self.Tell(msg.DrainChecked{Backlog: n}) }})
}

// reportsChecked ends the drain, once: a dispatcher that was told of it again has said again that its pool is drained.
func (r *runner) reportsChecked(c *shell.Ctx[msg.ToRunner], backlog int) {
	if r.ended {
		return
	}
	if r.deleted && r.registering || !r.HasSession && (backlog > 0 || r.deleted && !r.registered) && time.Now().Before(r.drainEnds) {
		c.After("reports", 100*time.Millisecond, msg.DrainDue{})
		return
	}
	r.ended = true
	c.Log().Info().Int("unreported", backlog).Msg("drained; what is unreported is in the spool and is sent by the next start")
	if r.deleted {
		r.unregister(c)
		return
	}
	r.tellStopped()
}
