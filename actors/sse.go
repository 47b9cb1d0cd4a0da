package actors

import (
	"context"
	"errors"
	"slices"
	"time"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

const (
	// silenceTimeout is how long nothing may come over the channel: the server pings every 10 s.
	silenceTimeout = 30 * time.Second
	// reopenTimeout is how long a channel that was silent, and is opened anew, may go without a word.
	reopenTimeout = 15 * time.Second
	// maxRemembered is how many commands are known that were heard already.
	maxRemembered = 256
	// scriptRetry is how long a script waits that could not be kept, for want of space or of its input.
	scriptRetry = 30 * time.Second
)

// sse keeps the channel open over which the server speaks, and hands on what it says. It understands none of it: that is the
// runner's. When the channel cannot be had back, nobody knows what the server has said since: the runner registers again.
type sse struct {
	release Release
	spool   Spool
	runner  msg.Receiver[msg.ToRunner]

	open       bool // there is a registration
	stream     actorrt.Task
	last       string   // id of the newest event before which nothing is missing
	newest     string   // id of the newest event
	applied    []string // ids of the newest commands since the registration
	saving     int      // scripts that are on their way into the spool
	incomplete bool     // a script after last could not be kept: the channel will be opened anew from there
	checked    bool     // it was silent, and is opened anew to see whether that helps
	failures   int      // in a row
}

func (s *sse) Start(*actorrt.Ctx[msg.ToSSE]) {}

func (s *sse) Receive(c *actorrt.Ctx[msg.ToSSE], m msg.ToSSE) {
	switch m := m.(type) {
	case msg.OpenStream:
		s.open, s.last, s.newest, s.applied = true, m.After, m.After, nil // another server may begin to count anew
		s.received(c)
		s.connect(c)
	case msg.CloseStream:
		s.close(c)
	case msg.EventReceived:
		s.received(c)
		if s.isRepeated(m) {
			c.Log().Debug().Str("id", m.ID).Msg("event that was heard before: passed over")
			return
		}
		s.newest = m.ID
		s.forward(c, m.Event)
		s.catchUp()
	case msg.ScriptSaved:
		s.saving--
		s.runner.Tell(msg.ServerEvent{Event: msg.ExecuteScript{Offer: msg.Offer{Job: m.Job}}})
		s.catchUp()
	case msg.ScriptNotSaved:
		s.saving--
		s.incomplete = true
		c.Log().Error().Err(m.Err).Str("id", string(m.ID)).Dur("retry", scriptRetry).Msg("script is not taken: the server is asked for it again")
		c.After("reopen", scriptRetry, msg.ReopenDue{})
	case msg.StreamLost:
		s.lost(c, m.Err)
	case msg.ReopenDue:
		if s.open {
			s.connect(c)
		}
	case msg.SilenceDue:
		s.silent(c)
	}
}

func (s *sse) connect(c *actorrt.Ctx[msg.ToSSE]) {
	s.stream.Cancel()
	c.Cancel("reopen")
	s.incomplete, s.newest = false, s.last
	release, after := s.release, s.last
	s.stream = c.Stream("channel", 16, func(ctx context.Context, emit func(msg.ToSSE) error) msg.ToSSE {
		return msg.StreamLost{Err: release.Events(ctx, after, func(id string, e msg.Event) error {
			return emit(msg.EventReceived{ID: id, Event: e})
		})}
	})
}

// forward tells the runner, of a script once it is in the spool. What comes after it need not wait for that: an abort may overtake
// its job.
func (s *sse) forward(c *actorrt.Ctx[msg.ToSSE], e msg.Event) {
	script, is := e.(msg.ExecuteScript)
	if !is {
		s.runner.Tell(msg.ServerEvent{Event: e})
		return
	}
	s.saving++
	release, spool, offer := s.release, s.spool, script.Offer
	c.SetSubject(string(offer.Execution))
	c.Go("keep "+string(offer.Execution), func(ctx context.Context) msg.ToSSE {
		if err := store(ctx, release, spool, offer); err != nil && !errors.Is(err, msg.ErrAlreadyDone) {
			return msg.ScriptNotSaved{ID: offer.ID, Err: err}
		}
		return msg.ScriptSaved{Job: offer.Job}
	})
}

// isRepeated: a command that comes late once more must not undo what was said since. A script is known by its execution, and may
// have to be heard again.
func (s *sse) isRepeated(e msg.EventReceived) bool {
	switch e.Event.(type) {
	case msg.Ping, msg.ExecuteScript:
		return false
	case msg.Enable, msg.Disable, msg.Configure, msg.Delete, msg.StopJob:
	}
	if e.ID == "" || slices.Contains(s.applied, e.ID) {
		return e.ID != ""
	}
	s.applied = append(s.applied, e.ID)
	s.applied = s.applied[max(0, len(s.applied)-maxRemembered):]
	return false
}

// catchUp: an event counts once all before it are done with.
func (s *sse) catchUp() {
	if s.saving == 0 && !s.incomplete {
		s.last = s.newest
	}
}

func (s *sse) close(c *actorrt.Ctx[msg.ToSSE]) {
	s.open = false
	s.stream.Cancel()
	c.Cancel("reopen")
	c.Cancel("silence")
}

// lastAnswer: the channel works.
func (s *sse) received(c *actorrt.Ctx[msg.ToSSE]) {
	s.failures, s.checked = 0, false
	c.After("silence", silenceTimeout, msg.SilenceDue{})
}

func (s *sse) silent(c *actorrt.Ctx[msg.ToSSE]) {
	if s.checked {
		s.giveUp(c, errors.New("nothing came over it after it was opened anew"))
		return
	}
	s.checked = true
	c.Log().Warn().Dur("silent", silenceTimeout).Msg("the control channel is silent: opening it anew")
	c.After("silence", reopenTimeout, msg.SilenceDue{})
	s.connect(c)
}

// lostSessions opens a channel anew that has ended. One that was opened to see whether it works, and does not, is given up, but not where
// the server says when to come again: it is there, and that is not silence.
func (s *sse) lost(c *actorrt.Ctx[msg.ToSSE], err error) {
	r, _ := asRefusal(err)
	if s.checked && r.RetryAfter == 0 || isUnregistered(err) || isFinal(err) {
		s.giveUp(c, err)
		return
	}
	s.failures++
	wait := towardsServer.afterError(err, s.failures, c.Jitter())
	c.Log().Warn().Err(err).Int("attempt", s.failures).Dur("retry", wait).Msg("the control channel is lost")
	c.After("reopen", wait, msg.ReopenDue{})
	if r.RetryAfter > 0 {
		s.checked = false
		c.After("silence", wait+silenceTimeout, msg.SilenceDue{})
	}
}

func (s *sse) giveUp(c *actorrt.Ctx[msg.ToSSE], err error) {
	s.close(c)
	s.runner.Tell(msg.StreamFailed{Err: err})
}
