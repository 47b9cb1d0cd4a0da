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
	// minReserveTime is an empty answer that cannot have been held: asking again at once would be a busy loop.
	minReserveTime = time.Second
	// minReserveAge is when a reserve for which there are jobs has been answered. One that is hung up before may have been answered just
	// then, and its jobs wait until their lease has run out.
	minReserveAge = time.Second
	// maxReserve is how many jobs the API lets a reserve ask for.
	maxReserve = 1000
)

// poller asks for jobs while there is room, one long poll at a time, puts each into the spool, confirms it, and hands it
// executorDone; scripts come to it from the control channel, stored. What is reserved and not handed out is its own: when it starts it
// goes on with all of that in the spool.
type poller struct {
	release    Release
	spool      Spool
	keyring    Keyring
	dispatcher msg.Receiver[msg.ToDispatcher]
	runner     msg.Receiver[msg.ToRunner]

	open       bool
	requesting bool // FreeSlotsRequested is out, or a reserve, or the wait before the next
	polling    bool // a reserve is out
	poll       actorrt.Task
	polled     time.Time                       // describeStage it was sent
	onSettled  func()                          // to be called once nothing is on its way; nil: nobody waits for that
	pending    map[msg.ExecutionID]*pendingJob // reserved, not handed over yet
	uncounted  int                             // pending when FreeSlotsRequested was sent: the answer may not count them
	failures   int                             // reserves in a row
	backingOff bool                            // before the next one
	// notBefore is how long that wait is at least, though the intake be opened anew meanwhile.
	notBefore time.Time
}

// pendingJob is a job on its way from the offer to the dispatcher.
type pendingJob struct {
	job      msg.Job
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
		case msg.HandedOut, msg.Ended, msg.Finished: // the executor's, or the reporter's
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
		p.open, p.onSettled = false, m.Settled
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
	if p.onSettled != nil && p.isSettled() {
		p.onSettled()
		p.onSettled = nil
	}
}

// isSettled: nothing is on its way. What is paused is in the spool.
func (p *poller) isSettled() bool {
	for _, t := range p.pending {
		if !t.paused {
			return false
		}
	}
	return !p.polling
}

// proceed confirms a job that is in the spool; a script waits while the intake is closed.
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
	if p.open && !p.requesting {
		p.requesting, p.uncounted = true, len(p.pending)
		p.dispatcher.Tell(msg.FreeSlotsRequested{To: c.Self()})
	}
}

func (p *poller) reserve(c *actorrt.Ctx[msg.ToPoller], max int) {
	if !p.open || max <= 0 { // what is pending takes the room: its end asks again
		p.requesting = false
		if len(p.pending) < p.uncounted { // it has come meanwhile, and the next answer counts what was handed over
			p.requestFreeSlots(c)
		}
		return
	}
	p.polling, p.polled = true, time.Now()
	release, spool := p.release, p.spool
	p.poll = c.Go("reserve", func(ctx context.Context) msg.ToPoller {
		if err := spool.CheckSpace(); err != nil {
			return msg.JobsReserved{Err: err}
		}
		began := time.Now()
		offers, err := release.Reserve(ctx, max, reserveWait)
		if err == nil && len(offers) == 0 && time.Since(began) < minReserveTime {
			err = errAnsweredTooSoon
		}
		return msg.JobsReserved{Offers: offers, Err: err}
	})
}

var errAnsweredTooSoon = errors.New("reserve: the server answers an empty long poll at once")

// cancelReserve ends the long poll, which else could bring jobs for most of a minute.
func (p *poller) cancelReserve(c *actorrt.Ctx[msg.ToPoller]) {
	if !p.polling {
		return
	}
	if left := minReserveAge - time.Since(p.polled); left > 0 {
		c.After("hang up", left, msg.CancelReserveDue{})
		return
	}
	p.poll.Cancel()
	p.polling, p.requesting = false, false
}

func (p *poller) reserved(c *actorrt.Ctx[msg.ToPoller], m msg.JobsReserved) {
	p.polling = false
	for _, offer := range m.Offers {
		if p.knows(offer.Execution) {
			continue
		}
		p.pending[offer.Execution] = &pendingJob{job: offer.Job}
		p.accept(c, offer)
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
	if isUnregistered(m.Err) || isFinal(m.Err) { // the registration that follows opens the intake
		p.notBefore = time.Now().Add(wait)
		p.runner.Tell(msg.SessionLost{Op: "reserve"})
	}
	c.Log().Warn().Err(m.Err).Int("attempt", p.failures).Dur("retry", wait).Msg("jobs are not reserved")
	c.After("reserve", wait, msg.ReserveDue{})
}

// knows: a job that is offered once more must not be dropped for what the server says to the second confirm.
func (p *poller) knows(id msg.ExecutionID) bool {
	rec, _ := p.spool.Job(id)
	return p.pending[id] != nil || rec.Stage > msg.Reserved
}

// takeWaiting makes the offer durable, and only then confirms it.
func (p *poller) accept(c *actorrt.Ctx[msg.ToPoller], offer msg.Offer) {
	release, spool, keyring := p.release, p.spool, p.keyring
	key, input := offer.SessionKey, offer.Input
	c.SetSubject(string(offer.Execution))
	c.Go("take "+string(offer.Execution), func(ctx context.Context) msg.ToPoller {
		if err := store(ctx, release, spool, offer); err != nil {
			return msg.ConfirmDone{Job: offer.Job, Err: err}
		}
		return confirm(ctx, release, spool, offer.Job)
	})
	// The hand-out needs the job's key, which takes long to open the first time: disk and server are waited for meanwhile, so
	// it comes second. Whether it opens is the executor's to say.
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
		if left := spool.Remove(job.Execution); left != nil {
			return msg.ConfirmDone{Job: job, Stored: true, Err: left} // not the refusal: both are tried again
		}
	}
	return msg.ConfirmDone{Job: job, Stored: true, Err: err}
}

func (p *poller) confirmDone(c *actorrt.Ctx[msg.ToPoller], m msg.ConfirmDone) {
	t := p.pending[m.Job.Execution]
	if t == nil {
		return
	}
	log := c.Log().With().Str("job", string(m.Job.Execution)).Str("id", string(m.Job.ID)).Logger()
	if m.Err != nil && m.Stored && !isFinal(m.Err) { // nobody knows whose it is: ask for as long as it takes
		t.failures++
		if isUnregistered(m.Err) {
			p.runner.Tell(msg.SessionLost{Op: "confirm"})
		}
		wait := towardsServer.afterError(m.Err, t.failures, c.Jitter())
		log.Warn().Err(m.Err).Int("attempt", t.failures).Dur("retry", wait).Msg("job is not confirmed")
		c.After("confirm "+string(m.Job.Execution), wait, msg.ConfirmDue{Execution: m.Job.Execution})
		return
	}
	delete(p.pending, m.Job.Execution)
	switch {
	case m.Err == nil:
		log.Info().Str("type", m.Job.TaskType).Str("image", m.Job.Image).Msg("job is ours")
		p.dispatcher.Tell(msg.JobConfirmed{Job: m.Job})
	case m.Stored:
		log.Info().Err(m.Err).Msg("job is not ours: dropped")
	case errors.Is(m.Err, msg.ErrAlreadyDone):
		log.Debug().Msg("offer of a job that is over: passed over")
	default: // its lease runs out, and the server offers it again
		log.Error().Err(m.Err).Msg("job is not taken")
	}
	p.requestFreeSlots(c)
}

// store makes an offer durable, with its input.
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
		return "", fmt.Errorf("fetch the input: %w", err)
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		return "", fmt.Errorf("fetch the input: %w", err)
	}
	return string(text), nil
}
