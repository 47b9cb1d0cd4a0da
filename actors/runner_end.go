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
	tellStopped func()    // not nil: draining
	drainEnds   time.Time // zero: the pool is not drained yet
	asked       int       // how often the reporter was asked to say when all is reported
	reported    bool      // so it has said, of the newest of these
	ended       bool      // the drain, and that was said
	tellLeft    func()    // not nil: about to leave
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
	r.drainEnds = time.Time{}
	self := c.Self()
	order := msg.DrainDispatch{Done: func() { self.Tell(msg.PoolDrained{}) }}
	if r.deleted {
		order.Abort = "the server has deleted the runner"
	}
	r.dispatcher.Tell(order)
}

// poolDrained comes again from a dispatcher that was told of the drain again.
func (r *runner) poolDrained(c *shell.Ctx[msg.ToRunner]) {
	r.asked++
	r.reported, r.drainEnds = false, time.Now().Add(reportsWait)
	self, asked := c.Self(), r.asked
	r.reporter.Tell(msg.ReportsWanted{Done: func() { self.Tell(msg.ReportsDone{Asked: asked}) }})
	c.After("reports", reportsWait, msg.DrainDue{})
}

// endDrain ends the drain once all that it waits for has come. A deleted runner that has lost its session reports nothing more.
func (r *runner) endDrain(c *shell.Ctx[msg.ToRunner]) {
	switch {
	case r.ended || r.drainEnds.IsZero():
		return
	case r.deleted && (!r.noted || r.registering):
		return
	case !r.reported && (r.registered || !r.deleted) && time.Now().Before(r.drainEnds):
		return
	}
	r.ended = true
	c.Log().Info().Int("unreported", r.unreported()).Msg("drained; what is unreported is in the spool and is sent by the next start")
	if r.deleted {
		r.unregister(c)
		return
	}
	r.tellStopped()
}

func (r *runner) unreported() (n int) {
	for _, job := range r.Spool.Jobs() {
		if job.Stage >= msg.Ended {
			n++
		}
	}
	return n
}
