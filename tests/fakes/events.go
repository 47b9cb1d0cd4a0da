package fakes

import (
	"context"
	"fmt"
	"strconv"
	"time"

	msg "runnerd/messages"
)

// pingEvery is how often a server says that it is there.
const pingEvery = 10 * time.Second

// channel is what the server has to say. Guarded by Server.mu.
type channel struct {
	said   []said
	last   int
	silent bool
}

type said struct {
	id     int
	event  msg.Event
	script *job // that the event offers
}

// Say puts an event on the channel.
func (s *Server) Say(e msg.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.say(e, nil)
}

// say is Say. mu is held.
func (s *Server) say(e msg.Event, script *job) {
	s.channel.last++
	s.channel.said = append(s.channel.said, said{s.channel.last, e, script})
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
	s.say(msg.ExecuteScript{Offer: j.offer()}, j)
}

// settled: the event need not be said again. mu is held.
func (e said) settled() bool {
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
	for {
		next, err := s.listen(ctx, seen)
		if err != nil {
			return err
		}
		if next.id > 0 {
			seen = next.id
		}
		if err := emit(strconv.Itoa(seen), next.event); err != nil {
			return err
		}
	}
}

func (s *Server) listen(ctx context.Context, seen int) (next said, err error) {
	var ping time.Time
	err = s.Until(ctx, Events, func() (bool, <-chan struct{}, time.Time, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if ping.IsZero() {
			ping = time.Now().Add(pingEvery)
		}
		if s.channel.silent {
			return false, s.changed, time.Time{}, nil
		}
		for _, e := range s.channel.said {
			if e.id > seen && (e.script == nil || !e.settled()) {
				next = e
				return true, nil, time.Time{}, nil
			}
		}
		next = said{event: msg.Ping{}}
		return !time.Now().Before(ping), s.changed, ping, nil
	})
	return next, err
}

// Unregister ends the server's interest in the runner.
func (s *Server) Unregister(ctx context.Context) error {
	return s.Do(ctx, Unregister, func() error { return nil })
}
