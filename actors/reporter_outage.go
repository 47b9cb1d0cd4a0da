package actors

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"runnerd/actors/shell"
	msg "runnerd/messages"
)

// outage is how the reporter fares with a server that is away, which takes nothing of any job. So not every job knocks for
// itself: one attempt is made at a time, of the oldest, then of the next, until one is answered, and then all go at once. That
// keeps a day of it as cheap for both sides as a minute, and the first result is there within a second of the server's return.
//
// The job whose attempt began it waits alone besides: should it be the only one that the server fails at, it keeps no other for
// longer than one knock.
type outage struct {
	knocks int       // since it began; zero: there is none
	may    bool      // the next knock is due
	tried  []*errand // had their turn, and wait for the server
	heard  time.Time // the server's last answer to anything
}

const knocking = "knock"

// knocks are never further apart than a second.
var knocks = backoff{min: 100 * time.Millisecond, max: 750 * time.Millisecond, jitter: 0.3}

// unanswered is an error of a request that the server has not answered; others without an answer are of our own making.
type unanswered struct{ error }

func (u unanswered) Unwrap() error { return u.error }

// fromServer tells the errors of requests from our own.
func fromServer(err error) error {
	if _, ok := asRefusal(err); ok || err == nil {
		return err
	}
	return unanswered{err}
}

// isAway reports whether an error is about the server and not about what was sent: it would befall anything.
func isAway(err error) bool {
	if _, ok := errors.AsType[unanswered](err); ok {
		return true
	}
	r, ok := asRefusal(err)
	return ok && (r.Away() || r.Unregistered())
}

// isAnswer reports whether the server has said yes or no to what was sent.
func isAnswer(m msg.Sent) bool {
	_, refused := asRefusal(m.Err)
	return !isOurs(m.What) && (m.Err == nil || refused && !isAway(m.Err))
}

func older(a, b *errand) int {
	return cmp.Or(a.added.Compare(b.added), cmp.Compare(a.id, b.id))
}

// lets reports whether an attempt may be made.
func (o *outage) lets() bool { return o.knocks == 0 || o.may }

// serverIsAway puts a job whose attempt has met nobody aside.
func (r *reporter) serverIsAway(c *shell.Ctx[msg.ToReporter], e *errand, m msg.Sent) {
	if isUnregistered(m.Err) { // told at every knock: the runner then does not wait to register
		r.runner.Tell(msg.SessionLost{Op: m.What})
	}
	wait := knocks.afterError(m.Err, r.outage.knocks+1, c.Chance())
	switch {
	case e.began.Before(r.outage.heard): // it had begun before the server was heard again
		r.delay(c, e, m)
	case r.outage.knocks > 0:
		e.tried = true
		r.outage.tried = append(r.outage.tried, e)
		c.Log().Debug().Err(m.Err).Str("job", string(e.id)).Dur("retry", wait).Msg("the server is still away")
		c.After(knocking, wait, msg.KnockDue{})
	default:
		r.outage.knocks, r.outage.may = 1, false
		r.delay(c, e, m)
		c.Log().Warn().Err(m.Err).Int("waiting", len(r.jobs)).Msg("the server is away: what it is owed waits in the spool")
		c.After(knocking, wait, msg.KnockDue{})
	}
}

// knock lets one attempt go.
func (r *reporter) knock(c *shell.Ctx[msg.ToReporter]) {
	if r.outage.knocks == 0 {
		return
	}
	r.outage.knocks++
	r.outage.may = true
	c.After(knocking, knocks.after(r.outage.knocks, c.Chance()), msg.KnockDue{}) // should that attempt hang
	if len(r.queue) == 0 {
		r.takeUpTried()
	}
	if len(r.queue) == 0 {
		r.takeUpOldest(c)
	}
}

// serverIsBack ends an outage.
func (r *reporter) serverIsBack(c *shell.Ctx[msg.ToReporter]) {
	r.outage.heard = time.Now()
	if r.outage.knocks == 0 {
		return
	}
	c.Log().Info().Int("waiting", len(r.jobs)).Msg("the server answers again")
	c.Cancel(knocking)
	r.outage.knocks = 0
	r.takeUpTried()
}

// takeUpTried queues what waits for the server, each in its place by age.
func (r *reporter) takeUpTried() {
	for _, e := range r.outage.tried {
		e.tried, e.queued = false, true
	}
	r.queue = append(r.queue, r.outage.tried...)
	r.outage.tried = nil
	slices.SortFunc(r.queue, older)
}

// takeUpOldest is for when all that is left to knock with waits alone.
func (r *reporter) takeUpOldest(c *shell.Ctx[msg.ToReporter]) {
	var oldest *errand
	for _, e := range r.jobs {
		if e.waits && (oldest == nil || older(e, oldest) < 0) {
			oldest = e
		}
	}
	if oldest != nil {
		r.wake(c, oldest)
	}
}

// wake ends a wait.
func (r *reporter) wake(c *shell.Ctx[msg.ToReporter], e *errand) {
	c.Cancel(sendOf(e.id))
	e.waits = false
	r.look(c, e.id)
}
