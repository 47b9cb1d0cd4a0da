package actors

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

// outage is the state of the reporter while the server is unavailable. Jobs do not retry independently then: the reporter makes one
// attempt at a time as a probe, with the oldest job, then the next, until one is answered, and then sends all at once. So a long outage
// costs both sides no more than a short one, and the first result arrives within a second of the server's return.
//
// The job whose failed attempt began the outage also backs off on its own: if the server fails for that job only, it delays the others
// by no more than one probe.
type outage struct {
	probes     int          // since the outage began; zero: there is none
	mayProbe   bool         // the next probe is due
	probed     []*jobReport // were used for a probe, and wait for the server
	lastAnswer time.Time    // the server's last answer to any job
}

const probeTimer = "probe"

// probeBackoff keeps probes at most a second apart, jitter included.
var probeBackoff = backoff{min: 100 * time.Millisecond, max: 750 * time.Millisecond, jitter: 0.3}

// noResponse marks the error of a request to which the server did not respond. Other errors that are no refusals are local ones.
type noResponse struct{ error }

func (u noResponse) Unwrap() error { return u.error }

// wrapNoResponse marks the error of a request, unless it is a refusal.
func wrapNoResponse(err error) error {
	if _, ok := asRefusal(err); ok || err == nil {
		return err
	}
	return noResponse{err}
}

// isUnavailable reports whether an error is about the server and not about the request: any request would fail.
func isUnavailable(err error) bool {
	if _, ok := errors.AsType[noResponse](err); ok {
		return true
	}
	r, ok := asRefusal(err)
	return ok && (r.Unavailable() || r.Unregistered())
}

// isAnswer reports whether the server has accepted or refused what was sent.
func isAnswer(m msg.Sent) bool {
	_, refused := asRefusal(m.Err)
	return !isLocal(m.What) && (m.Err == nil || refused && !isUnavailable(m.Err))
}

func older(a, b *jobReport) int {
	return cmp.Or(a.added.Compare(b.added), cmp.Compare(a.id, b.id))
}

// allowsAttempt reports whether an attempt may be made now.
func (o *outage) allowsAttempt() bool { return o.probes == 0 || o.mayProbe }

// serverUnavailable handles an attempt that failed because the server is unavailable. It begins an outage, or ends a probe.
func (r *reporter) serverUnavailable(c *actorrt.Ctx[msg.ToReporter], e *jobReport, m msg.Sent) {
	if isUnregistered(m.Err) { // sent at every probe, so that the runner cuts its backoff short and registers
		r.runner.Tell(msg.RegistrationLost{Op: m.What})
	}
	wait := probeBackoff.afterError(m.Err, r.outage.probes+1, c.Jitter())
	switch {
	case e.began.Before(r.outage.lastAnswer): // it had begun before the server answered again
		r.backOff(c, e, m)
	case r.outage.probes > 0:
		e.probed = true
		r.outage.probed = append(r.outage.probed, e)
		c.Log().Debug().Err(m.Err).Str("execution", string(e.id)).Dur("retry", wait).Msg("server still unavailable")
		c.After(probeTimer, wait, msg.ProbeDue{})
	default:
		r.outage.probes, r.outage.mayProbe = 1, false
		r.backOff(c, e, m)
		c.Log().Warn().Err(m.Err).Int("waiting", len(r.jobs)).Msg("server unavailable: reports wait in the spool")
		c.After(probeTimer, wait, msg.ProbeDue{})
	}
}

// probe allows one attempt.
func (r *reporter) probe(c *actorrt.Ctx[msg.ToReporter]) {
	if r.outage.probes == 0 {
		return
	}
	r.outage.probes++
	r.outage.mayProbe = true
	c.After(probeTimer, probeBackoff.after(r.outage.probes, c.Jitter()), msg.ProbeDue{}) // in case that attempt hangs
	if len(r.queue) == 0 {
		r.requeueProbed()
	}
	if len(r.queue) == 0 {
		r.wakeOldest(c)
	}
}

// serverAvailable ends an outage.
func (r *reporter) serverAvailable(c *actorrt.Ctx[msg.ToReporter]) {
	r.outage.lastAnswer = time.Now()
	if r.outage.probes == 0 {
		return
	}
	c.Log().Info().Int("waiting", len(r.jobs)).Msg("server available again")
	c.Cancel(probeTimer)
	r.outage.probes = 0
	r.requeueProbed()
}

// requeueProbed puts the probed jobs back into the queue, sorted by age.
func (r *reporter) requeueProbed() {
	for _, e := range r.outage.probed {
		e.probed, e.queued = false, true
	}
	r.queue = append(r.queue, r.outage.probed...)
	r.outage.probed = nil
	slices.SortFunc(r.queue, older)
}

// wakeOldest ends the backoff of the oldest job. It provides a probe when the queue is empty.
func (r *reporter) wakeOldest(c *actorrt.Ctx[msg.ToReporter]) {
	var oldest *jobReport
	for _, e := range r.jobs {
		if e.backingOff && (oldest == nil || older(e, oldest) < 0) {
			oldest = e
		}
	}
	if oldest != nil {
		r.wake(c, oldest)
	}
}

// wake ends a job's backoff.
func (r *reporter) wake(c *actorrt.Ctx[msg.ToReporter], e *jobReport) {
	c.Cancel(sendTimer(e.id))
	e.backingOff = false
	r.refresh(c, e.id)
}
