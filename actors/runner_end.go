package actors

import (
	"sync"
	"time"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

// How the runner ends: drained, or left, with its executors going on.

// reportTimeout bounds how long a drain waits for the server to take what is done; the next start sends the rest.
const reportTimeout = 30 * time.Second

// shutdown is how far the end has come.
type shutdown struct {
	onStopped  func()    // not nil: draining
	drainEnds  time.Time // zero: the pool is not drained yet
	asked      int       // how often the reporter was asked to say when all is reported
	reported   bool      // so it has said, of the newest of these
	ended      bool      // the drain, and that was said
	onDetached func()    // not nil: about to leave
}

func (f *shutdown) ending() bool { return f.onStopped != nil || f.onDetached != nil }

// drain ends in an orderly way: nothing new, what runs is finished and reported.
func (r *runner) drain(c *actorrt.Ctx[msg.ToRunner], done func()) {
	if r.onStopped != nil {
		return
	}
	r.onStopped = sync.OnceFunc(done) // the server may delete a runner that has drained
	c.Log().Info().Msg("draining: no new jobs; running ones are finished first")
	r.intake()
	r.drainDispatcher(c)
}

// removeMember: nothing new is taken or handed out, and what there is goes on without the runner.
func (r *runner) detach(ready func()) {
	r.onDetached = ready
	r.dispatcher.Tell(msg.DispatchClosed{})
	r.intake()
}

func (r *runner) drainDispatcher(c *actorrt.Ctx[msg.ToRunner]) {
	r.drainEnds = time.Time{}
	self := c.Self()
	order := msg.DrainDispatch{Done: func() { self.Tell(msg.PoolDrained{}) }}
	if r.deleted {
		order.Abort = "the server has deleted the runner"
	}
	r.dispatcher.Tell(order)
}

// poolDrained comes again from a dispatcher that was told of the drain again.
func (r *runner) poolDrained(c *actorrt.Ctx[msg.ToRunner]) {
	r.asked++
	r.reported, r.drainEnds = false, time.Now().Add(reportTimeout)
	self, asked := c.Self(), r.asked
	r.reporter.Tell(msg.DrainReports{Done: func() { self.Tell(msg.ReportsDone{Asked: asked}) }})
	c.After("reports", reportTimeout, msg.DrainDue{})
}

// endDrain ends the drain once all that it waits for has come. A deleted runner that has lost its session reports nothing more.
func (r *runner) endDrain(c *actorrt.Ctx[msg.ToRunner]) {
	switch {
	case r.ended || r.drainEnds.IsZero():
		return
	case r.deleted && (!r.recorded || r.registering):
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
	r.onStopped()
}

func (r *runner) unreported() (n int) {
	for _, job := range r.Spool.Jobs() {
		if job.Stage >= msg.Ended {
			n++
		}
	}
	return n
}
