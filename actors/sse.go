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
	// silenceTimeout is how long the event stream may be silent: the server pings every 10 s.
	silenceTimeout = 30 * time.Second
	// reopenTimeout is how long a stream that was reopened after a silence may be silent.
	reopenTimeout = 15 * time.Second
	// maxRemembered is the number of commands that are remembered to detect repetitions.
	maxRemembered = 256
	// scriptRetry is the wait before a script that could not be stored, because of too little space or an unavailable input, is requested
	// again.
	scriptRetry = 30 * time.Second
)

// sse keeps the server's event stream open and forwards its events to the runner, which interprets them. If the stream cannot be
// reopened, events may have been lost, so the runner registers again.
type sse struct {
	release Release
	spool   Spool
	runner  msg.Receiver[msg.ToRunner]

	open       bool // there is a registration
	stream     actorrt.Task
	last       string   // id of the newest event up to which all are processed
	newest     string   // id of the newest event
	seen       []string // ids of the newest commands since the registration
	saving     int      // scripts that are being written to the spool
	incomplete bool     // a script after last could not be stored: the stream will be reopened at last
	reopened   bool     // the stream was silent and was reopened, and nothing was received since
	failures   int      // in a row
}

func (s *sse) Start(*actorrt.Ctx[msg.ToSSE]) {}

func (s *sse) Receive(c *actorrt.Ctx[msg.ToSSE], m msg.ToSSE) {
	switch m := m.(type) {
	case msg.OpenStream:
		s.open, s.last, s.newest, s.seen = true, m.After, m.After, nil // another server may number its events from the start
		s.received(c)
		s.connect(c)
	case msg.CloseStream:
		s.close(c)
	case msg.EventReceived:
		s.received(c)
		if s.isRepeated(m) {
			c.Log().Debug().Str("event", m.ID).Msg("ignoring repeated event")
			return
		}
		s.newest = m.ID
		s.forward(c, m.Event)
		s.advance()
	case msg.ScriptAdded:
		s.saving--
		s.runner.Tell(msg.ServerEvent{Event: msg.ExecuteScript{Offer: msg.Offer{Job: m.Job}}})
		s.advance()
	case msg.ScriptNotSaved:
		s.saving--
		s.incomplete = true
		c.Log().Error().Err(m.Err).Str("job", string(m.ID)).Dur("retry", scriptRetry).Msg("could not store a script: will ask the server for it again")
		c.After("reopen", scriptRetry, msg.ReopenDue{})
	case msg.StreamLost:
		s.streamLost(c, m.Err)
	case msg.ReopenDue:
		if s.open {
			s.connect(c)
		}
	case msg.SilenceDue:
		s.silenceDue(c)
	}
}

func (s *sse) connect(c *actorrt.Ctx[msg.ToSSE]) {
	s.stream.Cancel()
	c.Cancel("reopen")
	s.incomplete, s.newest = false, s.last
	release, after := s.release, s.last
	s.stream = c.Stream("event stream", 16, func(ctx context.Context, emit func(msg.ToSSE) error) msg.ToSSE {
		return msg.StreamLost{Err: release.Events(ctx, after, func(id string, e msg.Event) error {
			return emit(msg.EventReceived{ID: id, Event: e})
		})}
	})
}

// forward sends an event to the runner. A script is stored in the spool first; later events do not wait for that, because an abort may
// overtake its job.
func (s *sse) forward(c *actorrt.Ctx[msg.ToSSE], e msg.Event) {
	script, ok := e.(msg.ExecuteScript)
	if !ok {
		s.runner.Tell(msg.ServerEvent{Event: e})
		return
	}
	s.saving++
	release, spool, offer := s.release, s.spool, script.Offer
	c.SetSubject(string(offer.Execution))
	c.Go("store "+string(offer.Execution), func(ctx context.Context) msg.ToSSE {
		if err := store(ctx, release, spool, offer); err != nil && !errors.Is(err, msg.ErrAlreadyDone) {
			return msg.ScriptNotSaved{ID: offer.ID, Err: err}
		}
		return msg.ScriptAdded{Job: offer.Job}
	})
}

// isRepeated reports whether a command was processed before: repeating it late must not undo newer commands. Scripts are not checked here:
// the spool detects a repeated execution, and a script that could not be stored has to be processed again.
func (s *sse) isRepeated(e msg.EventReceived) bool {
	switch e.Event.(type) {
	case msg.Ping, msg.ExecuteScript:
		return false
	case msg.Enable, msg.Disable, msg.Configure, msg.Delete, msg.StopJob:
	}
	if e.ID == "" || slices.Contains(s.seen, e.ID) {
		return e.ID != ""
	}
	s.seen = append(s.seen, e.ID)
	s.seen = s.seen[max(0, len(s.seen)-maxRemembered):]
	return false
}

// advance moves last to the newest event, once all events before it are processed.
func (s *sse) advance() {
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

// received notes that the stream works.
func (s *sse) received(c *actorrt.Ctx[msg.ToSSE]) {
	s.failures, s.reopened = 0, false
	c.After("silence", silenceTimeout, msg.SilenceDue{})
}

func (s *sse) silenceDue(c *actorrt.Ctx[msg.ToSSE]) {
	if s.reopened {
		s.fail(c, errors.New("no event was received after it was reopened"))
		return
	}
	s.reopened = true
	c.Log().Warn().Dur("silent", silenceTimeout).Msg("event stream is silent: reopening it")
	c.After("silence", reopenTimeout, msg.SilenceDue{})
	s.connect(c)
}

// streamLost reopens a stream that has ended. If the stream was reopened because it was silent, it is given up, unless the server asked to
// retry later: then the server is reachable, and the silence has a reason.
func (s *sse) streamLost(c *actorrt.Ctx[msg.ToSSE], err error) {
	r, _ := asRefusal(err)
	if s.reopened && r.RetryAfter == 0 || isUnregistered(err) || isFinal(err) {
		s.fail(c, err)
		return
	}
	s.failures++
	wait := towardsServer.afterError(err, s.failures, c.Jitter())
	c.Log().Warn().Err(err).Int("attempt", s.failures).Dur("retry", wait).Msg("event stream lost: will reopen it")
	c.After("reopen", wait, msg.ReopenDue{})
	if r.RetryAfter > 0 {
		s.reopened = false
		c.After("silence", wait+silenceTimeout, msg.SilenceDue{})
	}
}

func (s *sse) fail(c *actorrt.Ctx[msg.ToSSE], err error) {
	s.close(c)
	s.runner.Tell(msg.StreamFailed{Err: err})
}
