package actors

import (
	"context"
	"errors"
	"slices"
	"time"

	"runnerd/actors/shell"
	msg "runnerd/messages"
)

const (
	// silentAfter is how long nothing may come over the channel: the server pings every 10 s.
	silentAfter = 30 * time.Second
	// checkedWithin is how long a channel that was silent, and is opened anew, may go without a word.
	checkedWithin = 15 * time.Second
	// remembered is how many commands are known that were heard already.
	remembered = 256
	// scriptAgain is how long a script waits that could not be kept, for want of space or of its input.
	scriptAgain = 30 * time.Second
)

// sse keeps the channel open over which the server speaks, and hands on what it says. It understands none of it: that is the
// runner's. When the channel cannot be had back, nobody knows what the server has said since: the runner registers again.
type sse struct {
	release Release
	spool   Spool
	runner  msg.Receiver[msg.ToRunner]

	open     bool // there is a registration
	channel  shell.Task
	last     string   // id of the newest event before which nothing is missing
	newest   string   // id of the newest event
	obeyed   []string // ids of the newest commands since the registration
	keeping  int      // scripts that are on their way into the spool
	behind   bool     // a script after last could not be kept: the channel will be opened anew from there
	checked  bool     // it was silent, and is opened anew to see whether that helps
	failures int      // in a row
}

func (s *sse) Start(*shell.Ctx[msg.ToSSE]) {}

func (s *sse) Receive(c *shell.Ctx[msg.ToSSE], m msg.ToSSE) {
	switch m := m.(type) {
	case msg.OpenChannel:
		s.open, s.last, s.newest, s.obeyed = true, m.After, m.After, nil // another server may begin to count anew
		s.heard(c)
		s.connect(c)
	case msg.CloseChannel:
		s.close(c)
	case msg.EventCame:
		s.heard(c)
		if s.heardBefore(m) {
			c.Log().Debug().Str("id", m.ID).Msg("event that was heard before: passed over")
			return
		}
		s.newest = m.ID
		s.handOn(c, m.Event)
		s.catchUp()
	case msg.ScriptKept:
		s.keeping--
		s.runner.Tell(msg.ServerSaid{Event: msg.ExecuteScript{Offer: msg.Offer{Job: m.Job}}})
		s.catchUp()
	case msg.ScriptNotKept:
		s.keeping--
		s.behind = true
		c.Log().Error().Err(m.Err).Str("id", string(m.ID)).Dur("retry", scriptAgain).Msg("script is not taken: the server is asked for it again")
		c.After("reopen", scriptAgain, msg.ReopenDue{})
	case msg.ChannelLost:
		s.lost(c, m.Err)
	case msg.ReopenDue:
		if s.open {
			s.connect(c)
		}
	case msg.SilenceDue:
		s.silent(c)
	}
}

func (s *sse) connect(c *shell.Ctx[msg.ToSSE]) {
	s.channel.Cancel()
	c.Cancel("reopen")
	s.behind, s.newest = false, s.last
	release, after := s.release, s.last
	s.channel = c.Stream("channel", 16, func(ctx context.Context, emit func(msg.ToSSE) error) msg.ToSSE {
		return msg.ChannelLost{Err: release.Events(ctx, after, func(id string, e msg.Event) error {
			return emit(msg.EventCame{ID: id, Event: e})
		})}
	})
}

// handOn tells the runner, of a script once it is in the spool. What comes after it need not wait for that: an abort may overtake
// its job.
func (s *sse) handOn(c *shell.Ctx[msg.ToSSE], e msg.Event) {
	script, is := e.(msg.ExecuteScript)
	if !is {
		s.runner.Tell(msg.ServerSaid{Event: e})
		return
	}
	s.keeping++
	release, spool, offer := s.release, s.spool, script.Offer
	c.About(string(offer.Execution))
	c.Go("keep "+string(offer.Execution), func(ctx context.Context) msg.ToSSE {
		if err := store(ctx, release, spool, offer); err != nil && !errors.Is(err, msg.ErrOver) {
			return msg.ScriptNotKept{ID: offer.ID, Err: err}
		}
		return msg.ScriptKept{Job: offer.Job}
	})
}

// heardBefore: a command that comes late once more must not undo what was said since. A script is known by its execution, and may
// have to be heard again.
func (s *sse) heardBefore(e msg.EventCame) bool {
	switch e.Event.(type) {
	case msg.Ping, msg.ExecuteScript:
		return false
	case msg.Enable, msg.Disable, msg.Configure, msg.Delete, msg.StopJob:
	}
	if e.ID == "" || slices.Contains(s.obeyed, e.ID) {
		return e.ID != ""
	}
	s.obeyed = append(s.obeyed, e.ID)
	s.obeyed = s.obeyed[max(0, len(s.obeyed)-remembered):]
	return false
}

// catchUp: an event counts once all before it are done with.
func (s *sse) catchUp() {
	if s.keeping == 0 && !s.behind {
		s.last = s.newest
	}
}

func (s *sse) close(c *shell.Ctx[msg.ToSSE]) {
	s.open = false
	s.channel.Cancel()
	c.Cancel("reopen")
	c.Cancel("silence")
}

// heard: the channel works.
func (s *sse) heard(c *shell.Ctx[msg.ToSSE]) {
	s.failures, s.checked = 0, false
	c.After("silence", silentAfter, msg.SilenceDue{})
}

func (s *sse) silent(c *shell.Ctx[msg.ToSSE]) {
	if s.checked {
		s.giveUp(c, errors.New("nothing came over it after it was opened anew"))
		return
	}
	s.checked = true
	c.Log().Warn().Dur("silent", silentAfter).Msg("the control channel is silent: opening it anew")
	c.After("silence", checkedWithin, msg.SilenceDue{})
	s.connect(c)
}

// lost opens a channel anew that has ended. One that was opened to see whether it works, and does not, is given up, but not where
// the server says when to come again: it is there, and that is not silence.
func (s *sse) lost(c *shell.Ctx[msg.ToSSE], err error) {
	r, _ := asRefusal(err)
	if s.checked && r.RetryAfter == 0 || isUnregistered(err) || isFinal(err) {
		s.giveUp(c, err)
		return
	}
	s.failures++
	wait := towardsServer.afterError(err, s.failures, c.Chance())
	c.Log().Warn().Err(err).Int("attempt", s.failures).Dur("retry", wait).Msg("the control channel is lost")
	c.After("reopen", wait, msg.ReopenDue{})
	if r.RetryAfter > 0 {
		s.checked = false
		c.After("silence", wait+silentAfter, msg.SilenceDue{})
	}
}

func (s *sse) giveUp(c *shell.Ctx[msg.ToSSE], err error) {
	s.close(c)
	s.runner.Tell(msg.ChannelGone{Err: err})
}
