package fakes

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	msg "runnerd/messages"
)

// pingEvery is how often a server says that it is there.
const pingEvery = 10 * time.Second

// channel is what the server has to say. Guarded by Server.mu.
type channel struct {
	said     []said
	last     int
	silent   bool
	late     []said // commands that come once more
	sessions int    // registrations
	counted  int    // id of the newest event then
	opened   int    // channels
	dead     int    // so many of them, the first ones
}

type said struct {
	id      int
	event   msg.Event
	script  *job // that the event offers
	heeded  bool // a Delete: the runner has left since
	session int  // not zero: after which registration it is to be said
	late    bool // it was said before
}

// Say puts an event on the channel. The next registration takes it into account.
func (s *Server) Say(e msg.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.(type) {
	case msg.Enable:
		s.config.Enabled = true
	case msg.Disable:
		s.config.Enabled = false
	default:
	}
	s.say(e, nil)
}

// SayAgain repeats the offer of a script, whatever has become of it, until the next registration.
func (s *Server) SayAgain(id msg.JobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.say(msg.ExecuteScript{Offer: s.jobs[id].offer()}, nil)
	s.channel.said[len(s.channel.said)-1].session = s.channel.sessions
}

// SayLate repeats a command under its id, whatever was said since: the one so many before the newest, until the next registration.
func (s *Server) SayLate(before int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := len(s.channel.said) - 1 - before
	if at < 0 {
		return
	}
	e := s.channel.said[at]
	_, isScript := e.event.(msg.ExecuteScript)
	_, isDelete := e.event.(msg.Delete)
	if isScript || isDelete || e.id <= s.channel.counted {
		return
	}
	e.session, e.late = s.channel.sessions, true
	s.channel.late = append(s.channel.late, e)
	s.change()
}

// Deafen lets nothing more come over the channels that stand.
func (s *Server) Deafen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.channel.dead = s.channel.opened
}

// say is Say. mu is held.
func (s *Server) say(e msg.Event, script *job) {
	s.channel.last++
	s.channel.said = append(s.channel.said, said{id: s.channel.last, event: e, script: script})
	s.change()
}

// FallSilent lets nothing come over the channel, though it stands, until it is false again.
func (s *Server) FallSilent(silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.channel.silent = silent
	s.change()
}

// Reconfigure changes the configuration and says so.
func (s *Server) Reconfigure(c msg.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = c
	s.say(msg.Configure{Config: c}, nil)
}

// push offers a script. mu is held.
func (s *Server) push(j *job) {
	j.offers++
	j.execution = msg.ExecutionID(fmt.Sprintf("%s-%d", j.id, j.offers))
	j.offered = time.Now()
	s.say(msg.ExecuteScript{Offer: j.offer()}, j)
}

// settled: the event need not be said again. mu is held.
func (e said) settled() bool {
	if _, is := e.event.(msg.Delete); is {
		return e.heeded
	}
	return e.script == nil || e.script.confirmed || e.script.abort != "" || e.script.gone
}

// lastEvent is the newest event that a registration takes into account. mu is held.
func (s *Server) lastEvent() string {
	for _, e := range s.channel.said {
		if !e.settled() {
			return strconv.Itoa(e.id - 1)
		}
	}
	return strconv.Itoa(s.channel.last)
}

// Events hands on what is said after an event, and a ping where there is nothing.
func (s *Server) Events(ctx context.Context, after string, emit func(string, msg.Event) error) error {
	seen, err := strconv.Atoi(after)
	if err != nil {
		return refuse(Events, 404)
	}
	nth := 0
	for {
		next, err := s.listen(ctx, seen, &nth)
		if err != nil {
			return err
		}
		id := cmp.Or(next.id, seen)
		if !next.late {
			seen = id
		}
		if err := emit(strconv.Itoa(id), next.event); err != nil {
			return err
		}
	}
}

func (s *Server) listen(ctx context.Context, seen int, nth *int) (next said, err error) {
	var ping time.Time
	err = s.Until(ctx, Events, func() (bool, <-chan struct{}, time.Time, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if ping.IsZero() {
			ping = time.Now().Add(pingEvery)
		}
		if s.left {
			return true, nil, time.Time{}, refuse(Events, 401)
		}
		if *nth == 0 {
			s.channel.opened++
			*nth = s.channel.opened
		}
		if s.channel.silent || *nth <= s.channel.dead {
			return false, s.changed, time.Time{}, nil
		}
		for n, e := range s.channel.late {
			if e.id <= seen && e.session == s.channel.sessions {
				next, s.channel.late = e, slices.Delete(s.channel.late, n, n+1)
				return true, nil, time.Time{}, nil
			}
		}
		for _, e := range s.channel.said {
			_, lasts := e.event.(msg.Delete)
			if e.session != 0 && e.session != s.channel.sessions {
				continue
			}
			if e.id > seen && (e.script == nil && !lasts || !e.settled()) {
				next = e
				return true, nil, time.Time{}, nil
			}
		}
		next = said{event: msg.Ping{}}
		return !time.Now().Before(ping), s.changed, ping, nil
	})
	return next, err
}

// Unregister ends the session of a runner that leaves for good. What it had confirmed has failed, what it was offered is free.
func (s *Server) Unregister(ctx context.Context) error {
	return s.Do(ctx, Unregister, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.left {
			return refuse(Unregister, 401)
		}
		s.leave()
		return nil
	})
}

// Abandon is what somebody does on the server about a runner that left without a word.
func (s *Server) Abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave()
}

// leave is the end of a runner. mu is held.
func (s *Server) leave() {
	s.left = true
	for _, j := range s.order {
		if j.leaseEnds = (time.Time{}); j.confirmed && j.finish == nil {
			j.abandoned = true
			j.finish = &Finished{Ending: msg.Ending{Outcome: msg.Failed, Message: "the runner has left"}, At: time.Now()}
		}
	}
	for i := range s.channel.said {
		s.channel.said[i].heeded = true
	}
	s.change()
}

// HasLeft reports whether the runner has unregistered, and not come again.
func (s *Server) HasLeft() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left
}
