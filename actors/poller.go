package actors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

const (
	reserveWait = 50 * time.Second
	// blockedReserveWait is the wait while the last job could not be stored: an answer without jobs makes the runner ready again.
	blockedReserveWait = 5 * time.Second
	// minReserveTime is the time below which an empty answer counts as an error: asking again at once would cause a busy loop.
	minReserveTime = time.Second
	// minReserveAge is the age below which a long poll is not cancelled. The server answers within that time if it has jobs, and the jobs
	// of a lost answer would wait until their lease expires.
	minReserveAge = time.Second
	// maxReserve is the API's limit for the number of jobs of a reserve.
	maxReserve = 1000
	// fetchTimeout bounds the fetch of an input. The lease of an offer is 60 s, and the job must be stored and confirmed within it.
	fetchTimeout = 45 * time.Second
)

var (
	errFetch   = errors.New("fetch the input")
	errTooSlow = fmt.Errorf("it did not arrive within %s: the offer's lease is about to expire", fetchTimeout)
)

// poller reserves jobs while there are free slots, one long poll at a time. It stores each job in the spool, confirms it, and hands it to
// the dispatcher. Scripts arrive over the event stream and are in the spool already. When the poller starts, it continues with the
// reserved and confirmed jobs in the spool.
type poller struct {
	release    Release
	spool      Spool
	keyring    Keyring
	dispatcher msg.Receiver[msg.ToDispatcher]
	runner     msg.Receiver[msg.ToRunner]

	open       bool
	requesting bool // FreeSlotsRequested or a reserve is in flight, or the next one is backing off
	polling    bool // a reserve is in flight
	poll       actorrt.Task
	polled     time.Time                       // when it was sent
	onDone     func()                          // to be called once nothing is in flight; nil: no caller waits
	pending    map[msg.ExecutionID]*pendingJob // reserved, not handed over yet
	uncounted  int                             // pending jobs when FreeSlotsRequested was sent: the answer may ignore them
	failures   int                             // of reserves, in a row
	backingOff bool                            // before the next reserve
	notBefore  time.Time                       // the backoff lasts at least until then, even if the intake is reopened meanwhile
	blocked    string                          // why jobs cannot be stored; empty: they can
	unstored   int                             // failures to store the jobs of an answer, in a row
	storeAfter time.Time                       // no job is reserved before, because the last one could not be stored
}

// pendingJob is a reserved job that was not handed to the dispatcher yet.
type pendingJob struct {
	job      msg.Job
	storing  bool // not in the spool yet
	paused   bool // a script, while the intake is closed
	failures int
}

func (p *poller) Start(c *actorrt.Ctx[msg.ToPoller]) {
	p.pending = map[msg.ExecutionID]*pendingJob{}
	for _, rec := range p.spool.Jobs() {
		switch rec.Stage {
		case msg.Reserved:
			p.proceed(c, rec.Job)
		case msg.Confirmed:
			p.dispatcher.Tell(msg.JobConfirmed{Job: rec.Job})
		case msg.HandedOut, msg.Ended, msg.Finished: // these belong to the executor or the reporter
		}
	}
}

func (p *poller) Receive(c *actorrt.Ctx[msg.ToPoller], m msg.ToPoller) {
	switch m := m.(type) {
	case msg.IntakeOpened:
		if !p.open && p.backingOff {
			c.After("reserve", max(0, time.Until(p.notBefore)), msg.ReserveDue{})
		}
		p.open = true
		p.resume(c)
		p.requestFreeSlots(c)
	case msg.IntakeClosed:
		p.open, p.onDone = false, m.Done
		p.cancelReserve(c)
	case msg.CancelReserveDue:
		if !p.open {
			p.cancelReserve(c)
		}
	case msg.FreeSlots:
		p.reserve(c, min(m.N-p.uncounted, maxReserve))
	case msg.JobsReserved:
		p.reserved(c, m)
	case msg.ScriptStored:
		c.SetSubject(string(m.Job.Execution))
		if rec, ok := p.spool.Job(m.Job.Execution); ok && rec.Stage == msg.Reserved && p.pending[m.Job.Execution] == nil {
			p.proceed(c, m.Job)
		}
	case msg.ReserveDue:
		p.requesting, p.backingOff = false, false
		p.requestFreeSlots(c)
	case msg.ConfirmDone:
		c.SetSubject(string(m.Job.Execution))
		p.confirmDone(c, m)
	case msg.ConfirmDue:
		c.SetSubject(string(m.Execution))
		if t := p.pending[m.Execution]; t != nil {
			p.confirm(c, t.job)
		}
	}
	if p.onDone != nil && p.nothingInFlight() {
		p.onDone()
		p.onDone = nil
	}
}

// nothingInFlight reports whether no request is in flight. Paused scripts do not count: they are in the spool.
func (p *poller) nothingInFlight() bool {
	for _, t := range p.pending {
		if !t.paused {
			return false
		}
	}
	return !p.polling
}

// proceed confirms a job that is in the spool. A script waits while the intake is closed.
func (p *poller) proceed(c *actorrt.Ctx[msg.ToPoller], job msg.Job) {
	t := &pendingJob{job: job, paused: job.Kind == msg.Script && !p.open}
	p.pending[job.Execution] = t
	if !t.paused {
		p.confirm(c, job)
	}
}

func (p *poller) resume(c *actorrt.Ctx[msg.ToPoller]) {
	for _, rec := range p.spool.Jobs() {
		if t := p.pending[rec.Execution]; t != nil && t.paused {
			t.paused = false
			p.confirm(c, t.job)
		}
	}
}

func (p *poller) requestFreeSlots(c *actorrt.Ctx[msg.ToPoller]) {
	if !p.open || p.requesting {
		return
	}
	p.requesting = true
	if wait := time.Until(p.storeAfter); wait > 0 {
		p.backingOff, p.notBefore = true, p.storeAfter
		c.After("reserve", wait, msg.ReserveDue{})
		return
	}
	p.uncounted = len(p.pending)
	p.dispatcher.Tell(msg.FreeSlotsRequested{To: c.Self()})
}

func (p *poller) reserve(c *actorrt.Ctx[msg.ToPoller], max int) {
	if !p.open || max <= 0 { // pending jobs take the slots; each requests free slots again when it is done
		p.requesting = false
		if len(p.pending) < p.uncounted { // one was done meanwhile, so the next answer counts it
			p.requestFreeSlots(c)
		}
		return
	}
	p.polling, p.polled = true, time.Now()
	release, spool, wait := p.release, p.spool, reserveWait
	if p.blocked != "" {
		wait = blockedReserveWait
	}
	p.poll = c.Go("reserve", func(ctx context.Context) msg.ToPoller {
		if err := spool.CheckSpace(); err != nil {
			return msg.JobsReserved{NoSpace: true, Err: err}
		}
		began := time.Now()
		offers, err := release.Reserve(ctx, max, wait)
		if err == nil && len(offers) == 0 && time.Since(began) < minReserveTime {
			err = errAnsweredTooSoon
		}
		return msg.JobsReserved{Offers: offers, Err: err}
	})
}

var errAnsweredTooSoon = errors.New("reserve: server returned no jobs without waiting")

// cancelReserve cancels the long poll, which could otherwise return jobs for most of a minute.
func (p *poller) cancelReserve(c *actorrt.Ctx[msg.ToPoller]) {
	if !p.polling {
		return
	}
	if wait := minReserveAge - time.Since(p.polled); wait > 0 {
		c.After("cancel reserve", wait, msg.CancelReserveDue{})
		return
	}
	p.poll.Cancel()
	p.polling, p.requesting = false, false
}

func (p *poller) reserved(c *actorrt.Ctx[msg.ToPoller], m msg.JobsReserved) {
	p.polling = false
	for _, offer := range m.Offers {
		if p.isKnown(offer.Execution) {
			continue
		}
		p.pending[offer.Execution] = &pendingJob{job: offer.Job, storing: true}
		p.accept(c, offer)
	}
	switch {
	case m.NoSpace:
		p.setBlocked(m.Err.Error())
	case m.Err == nil && len(m.Offers) == 0:
		p.setBlocked("")
	}
	if m.Err == nil {
		p.requesting, p.failures = false, 0
		p.requestFreeSlots(c)
		return
	}
	p.failures++
	wait := towardsServer.afterError(m.Err, p.failures, c.Jitter())
	refusal, _ := asRefusal(m.Err)
	p.backingOff, p.notBefore = true, time.Now().Add(refusal.RetryAfter)
	if isUnregistered(m.Err) || isFinal(m.Err) { // the next registration opens the intake, and must not end the backoff
		p.notBefore = time.Now().Add(wait)
		p.runner.Tell(msg.RegistrationLost{Op: "reserve"})
	}
	c.Log().Warn().Err(m.Err).Int("attempt", p.failures).Dur("retry", wait).Msg("could not reserve jobs; will retry")
	c.After("reserve", wait, msg.ReserveDue{})
}

// isKnown reports whether the job was accepted already. A job that is offered again must not be confirmed again, because a refusal of the
// second confirm would drop it.
func (p *poller) isKnown(id msg.ExecutionID) bool {
	rec, _ := p.spool.Job(id)
	return p.pending[id] != nil || rec.Stage > msg.Reserved
}

// accept stores the offer, and confirms it only after that.
func (p *poller) accept(c *actorrt.Ctx[msg.ToPoller], offer msg.Offer) {
	release, spool, keyring := p.release, p.spool, p.keyring
	key, input := offer.SessionKey, offer.Input
	c.SetSubject(string(offer.Execution))
	c.Go("accept "+string(offer.Execution), func(ctx context.Context) msg.ToPoller {
		fetching, cancel := context.WithTimeoutCause(ctx, fetchTimeout, errTooSlow)
		defer cancel()
		if err := store(fetching, release, spool, offer); err != nil {
			return msg.ConfirmDone{Job: offer.Job, Err: err}
		}
		return confirm(ctx, release, spool, offer.Job)
	})
	// The hand-out needs the job's key, which takes long to open the first time. Opening it now overlaps with the waits for the disk and
	// the server. The executor handles the error.
	c.Go("open "+string(offer.Execution), func(context.Context) msg.ToPoller {
		_, _, _ = keyring.Open(key, input)
		return nil
	})
}

func (p *poller) confirm(c *actorrt.Ctx[msg.ToPoller], job msg.Job) {
	release, spool := p.release, p.spool
	c.Go("confirm "+string(job.Execution), func(ctx context.Context) msg.ToPoller {
		return confirm(ctx, release, spool, job)
	})
}

func confirm(ctx context.Context, release Release, spool Spool, job msg.Job) msg.ToPoller {
	err := release.Confirm(ctx, job.ID, job.Execution)
	switch {
	case err == nil:
		err = spool.Confirm(job.Execution)
	case isFinal(err):
		if removeErr := spool.Remove(job.Execution); removeErr != nil {
			return msg.ConfirmDone{Job: job, Stored: true, Err: removeErr} // not the refusal, so that confirm and removal are retried
		}
	}
	return msg.ConfirmDone{Job: job, Stored: true, Err: err}
}

func (p *poller) confirmDone(c *actorrt.Ctx[msg.ToPoller], m msg.ConfirmDone) {
	t := p.pending[m.Job.Execution]
	if t == nil {
		return
	}
	if t.storing && m.Stored {
		p.unstored = 0
		p.setBlocked("")
	}
	t.storing = false
	log := c.Log().With().Str("execution", string(m.Job.Execution)).Str("job", string(m.Job.ID)).Logger()
	if m.Err != nil && m.Stored && !isFinal(m.Err) { // the server may have assigned the job to this runner: repeat until it answers
		t.failures++
		if isUnregistered(m.Err) {
			p.runner.Tell(msg.RegistrationLost{Op: "confirm"})
		}
		wait := towardsServer.afterError(m.Err, t.failures, c.Jitter())
		log.Warn().Err(m.Err).Int("attempt", t.failures).Dur("retry", wait).Msg("could not confirm a job; will retry")
		c.After("confirm "+string(m.Job.Execution), wait, msg.ConfirmDue{Execution: m.Job.Execution})
		return
	}
	delete(p.pending, m.Job.Execution)
	switch {
	case m.Err == nil:
		log.Info().Str("type", m.Job.TaskType).Str("image", m.Job.Image).Msg("job confirmed")
		p.dispatcher.Tell(msg.JobConfirmed{Job: m.Job})
	case m.Stored:
		log.Info().Err(m.Err).Msg("server refused the confirm: job dropped")
	case errors.Is(m.Err, msg.ErrAlreadyDone):
		log.Debug().Msg("ignoring offer of a job that is already done")
	default: // its lease expires, and the server offers it again
		log.Error().Err(m.Err).Msg("could not store an offered job: the server will offer it again")
		p.notStored(m.Err, c.Jitter())
	}
	p.requestFreeSlots(c)
}

// notStored delays the next reserve, because every job that is not stored is withheld from other runners until its lease expires. The
// jobs of one answer count once.
func (p *poller) notStored(err error, jitter float64) {
	if now := time.Now(); !now.Before(p.storeAfter) {
		p.unstored++
		p.storeAfter = now.Add(towardsServer.after(p.unstored, jitter))
	}
	if !errors.Is(err, errFetch) { // a failed fetch is about its job only
		p.setBlocked("could not store a job: " + err.Error())
	}
}

// setBlocked reports a change of blocked to the runner.
func (p *poller) setBlocked(reason string) {
	if reason != p.blocked {
		p.blocked = reason
		p.runner.Tell(msg.IntakeBlocked{Reason: reason})
	}
}

// store adds an offer to the spool, with its input.
func store(ctx context.Context, release Release, spool Spool, offer msg.Offer) error {
	if offer.Input == "" && offer.InputURL != "" {
		input, err := fetchInput(ctx, release, offer.InputURL)
		if err != nil {
			return err
		}
		offer.Input = input
	}
	return spool.Add(offer)
}

func fetchInput(ctx context.Context, release Release, url string) (string, error) {
	body, err := release.FetchInput(ctx, url)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errFetch, err)
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errFetch, err)
	}
	return string(text), nil
}
