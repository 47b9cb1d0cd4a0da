package actors

import (
	"sync"
	"time"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

// How the runner stops: it drains, or it detaches and leaves its executors running.

// reportTimeout bounds how long a drain waits for the reports; the next start sends the rest.
const reportTimeout = 30 * time.Second

// shutdown is the progress of a drain or a detach.
type shutdown struct {
	onStopped  func()    // not nil: draining
	drainEnds  time.Time // when the wait for the reports ends; zero: the pool is not drained yet
	drainRound int       // number of DrainReports sent
	reported   bool      // the newest of them was answered
	ended      bool      // the drain has ended
	onDetached func()    // not nil: detaching
}

func (f *shutdown) isEnding() bool { return f.onStopped != nil || f.onDetached != nil }

// drain stops the intake, finishes and reports the existing jobs, and then calls done.
func (r *runner) drain(c *actorrt.Ctx[msg.ToRunner], done func()) {
	if r.onStopped != nil {
		return
	}
	r.onStopped = sync.OnceFunc(done) // a deletion after the drain calls it again
	c.Log().Info().Msg("draining: taking no new jobs, finishing the running ones")
	r.intake()
	r.drainDispatcher(c)
}

// detach stops the intake and the dispatch. The executors continue without the runner.
func (r *runner) detach(ready func()) {
	r.onDetached = ready
	r.dispatcher.Tell(msg.CloseDispatch{})
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

// poolDrained waits for the reports. It is called again if the dispatcher was restarted or a deletion followed the drain.
func (r *runner) poolDrained(c *actorrt.Ctx[msg.ToRunner]) {
	r.drainRound++
	r.reported, r.drainEnds = false, time.Now().Add(reportTimeout)
	self, round := c.Self(), r.drainRound
	r.reporter.Tell(msg.DrainReports{Done: func() { self.Tell(msg.ReportsDone{Round: round}) }})
	c.After("reports", reportTimeout, msg.DrainDue{})
}

// endDrain ends the drain once nothing is left to wait for. A deleted runner that is not registered any more reports nothing.
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
	if n := r.unreported(); n > 0 {
		c.Log().Info().Int("unreported", n).Msg("drained; the next start sends the remaining reports")
	} else {
		c.Log().Info().Msg("drained; nothing left to report")
	}
	if r.deleted {
		r.unregister(c)
		return
	}
	r.onStopped()
}

// unreported returns the number of ended jobs of which something is still to be reported.
func (r *runner) unreported() (n int) {
	for _, job := range r.Spool.Jobs() {
		if job.Stage >= msg.Ended {
			n++
		}
	}
	return n
}
