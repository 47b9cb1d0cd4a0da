package actors

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

// outage is how the reporter fares with a server that is away, which takes nothing of any job. So not every job knocks for
// itself: one attempt is made at a time, of the oldest, then of the next, until one is answered, and then all go at once. That
// keeps a day of it as cheap for both sides as a minute, and the first result is there within a second of the server's return.
//
// The job whose attempt began it waits alone besides: should it be the only one that the server fails at, it keeps no other for
// longer than one knock.
type outage struct {
	probes     int          // since it began; zero: there is none
	mayProbe   bool         // the next knock is due
	probed     []*jobReport // had their turn, and wait for the server
	lastAnswer time.Time    // the server's last answer to anything
}

const probeTimer = "knock"

// probeBackoff are never further apart than a second.
var probeBackoff = backoff{min: 100 * time.Millisecond, max: 750 * time.Millisecond, jitter: 0.3}

// noResponse is an error of a request that the server has not answered; others without an answer are of our own making.
type noResponse struct{ error }

func (u noResponse) Unwrap() error { return u.error }

// fromServer tells the errors of requests from our own.
func fromServer(err error) error {
	if _, ok := asRefusal(err); ok || err == nil {
		return err
	}
	return noResponse{err}
}

// isAway reports whether an error is about the server and not about what was sent: it would befall anything.
func isAway(err error) bool {
	if _, ok := errors.AsType[noResponse](err); ok {
		return true
	}
	r, ok := asRefusal(err)
	return ok && (r.Unavailable() || r.Unregistered())
}

// isAnswer reports whether the server has said yes or no to what was sent.
func isAnswer(m msg.Sent) bool {
	_, refused := asRefusal(m.Err)
	return !isLocal(m.What) && (m.Err == nil || refused && !isAway(m.Err))
}

func older(a, b *jobReport) int {
	return cmp.Or(a.added.Compare(b.added), cmp.Compare(a.id, b.id))
}

// allows reports whether an attempt may be made.
func (o *outage) allows() bool { return o.probes == 0 || o.mayProbe }

// serverIsAway puts a job whose attempt has met nobody aside.
func (r *reporter) serverIsAway(c *actorrt.Ctx[msg.ToReporter], e *jobReport, m msg.Sent) {
	if isUnregistered(m.Err) { // told at every knock: the runner then does not wait to register
		r.runner.Tell(msg.SessionLost{Op: m.What})
	}
	wait := probeBackoff.afterError(m.Err, r.outage.probes+1, c.Jitter())
	switch {
	case e.began.Before(r.outage.lastAnswer): // it had begun before the server was heard again
		r.delay(c, e, m)
	case r.outage.probes > 0:
		e.probed = true
		r.outage.probed = append(r.outage.probed, e)
		c.Log().Debug().Err(m.Err).Str("job", string(e.id)).Dur("retry", wait).Msg("the server is still away")
		c.After(probeTimer, wait, msg.ProbeDue{})
	default:
		r.outage.probes, r.outage.mayProbe = 1, false
		r.delay(c, e, m)
		c.Log().Warn().Err(m.Err).Int("waiting", len(r.jobs)).Msg("the server is away: what it is owed waits in the spool")
		c.After(probeTimer, wait, msg.ProbeDue{})
	}
}

// probe lets one attempt go.
func (r *reporter) probe(c *actorrt.Ctx[msg.ToReporter]) {
	if r.outage.probes == 0 {
		return
	}
	r.outage.probes++
	r.outage.mayProbe = true
	c.After(probeTimer, probeBackoff.after(r.outage.probes, c.Jitter()), msg.ProbeDue{}) // should that attempt hang
	if len(r.queue) == 0 {
		r.requeueProbed()
	}
	if len(r.queue) == 0 {
		r.wakeOldest(c)
	}
}

// serverIsBack ends an outage.
func (r *reporter) serverIsBack(c *actorrt.Ctx[msg.ToReporter]) {
	r.outage.lastAnswer = time.Now()
	if r.outage.probes == 0 {
		return
	}
	c.Log().Info().Int("waiting", len(r.jobs)).Msg("the server answers again")
	c.Cancel(probeTimer)
	r.outage.probes = 0
	r.requeueProbed()
}

// requeueProbed queues what waits for the server, each in its place by age.
func (r *reporter) requeueProbed() {
	for _, e := range r.outage.probed {
		e.probed, e.queued = false, true
	}
	r.queue = append(r.queue, r.outage.probed...)
	r.outage.probed = nil
	slices.SortFunc(r.queue, older)
}

// wakeOldest is for when all that is left to knock with waits alone.
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

// wake ends a wait.
func (r *reporter) wake(c *actorrt.Ctx[msg.ToReporter], e *jobReport) {
	c.Cancel(sendTimer(e.id))
	e.backingOff = false
	r.look(c, e.id)
}
