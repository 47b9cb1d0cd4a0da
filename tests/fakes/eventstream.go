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

// pingEvery is the interval of pings.
const pingEvery = 10 * time.Second

// eventStream is the server's event stream. Guarded by Server.mu.
type eventStream struct {
	events        []streamEvent
	lastID        int
	silent        bool
	repeated      []streamEvent // commands to send a second time
	registrations int
	registeredID  int // id of the newest event at the last registration
	opened        int // number of streams opened so far
	dead          int // number of streams, counted from the first, that deliver nothing
}

type streamEvent struct {
	id           int
	event        msg.Event
	script       *job // offered by the event
	applied      bool // of a Delete: the runner has unregistered since
	registration int  // not 0: the event is only sent during this registration
	repeated     bool // sent before
}

// SendEvent sends an event over the stream. Enable and Disable also change the configuration for the next registration.
func (s *Server) SendEvent(e msg.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.(type) {
	case msg.Enable:
		s.config.Enabled = true
	case msg.Disable:
		s.config.Enabled = false
	default:
	}
	s.sendEvent(e, nil)
}

// ResendScript repeats the offer of a script, whatever its state. The next registration cancels the repetition.
func (s *Server) ResendScript(id msg.JobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sendEvent(msg.ExecuteScript{Offer: s.jobs[id].offer()}, nil)
	s.stream.events[len(s.stream.events)-1].registration = s.stream.registrations
}

// ResendCommand sends an old command again, with its old id. age says which: 0 is the newest event, 1 the one before it, and so on. The
// next registration cancels the repetition.
func (s *Server) ResendCommand(age int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := len(s.stream.events) - 1 - age
	if at < 0 {
		return
	}
	e := s.stream.events[at]
	_, isScript := e.event.(msg.ExecuteScript)
	_, isDelete := e.event.(msg.Delete)
	if isScript || isDelete || e.id <= s.stream.registeredID {
		return
	}
	e.registration, e.repeated = s.stream.registrations, true
	s.stream.repeated = append(s.stream.repeated, e)
	s.change()
}

// BlockOpenStreams makes the streams that are open now deliver nothing more, although they stay open.
func (s *Server) BlockOpenStreams() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stream.dead = s.stream.opened
}

// sendEvent sends an event. mu is held.
func (s *Server) sendEvent(e msg.Event, script *job) {
	s.stream.lastID++
	s.stream.events = append(s.stream.events, streamEvent{id: s.stream.lastID, event: e, script: script})
	s.change()
}

// SetSilent makes the streams deliver nothing, although they stay open, until it is called with false.
func (s *Server) SetSilent(silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stream.silent = silent
	s.change()
}

// Reconfigure changes the configuration and sends it.
func (s *Server) Reconfigure(c msg.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = c
	s.sendEvent(msg.Configure{Config: c}, nil)
}

// offerScript offers a script. mu is held.
func (s *Server) offerScript(j *job) {
	j.offers++
	j.execution = msg.ExecutionID(fmt.Sprintf("%s-%d", j.id, j.offers))
	j.offeredAt = time.Now()
	s.sendEvent(msg.ExecuteScript{Offer: j.offer()}, j)
}

// settled reports whether the event need not be sent again. mu is held.
func (e streamEvent) settled() bool {
	if _, is := e.event.(msg.Delete); is {
		return e.applied
	}
	return e.script == nil || e.script.confirmed || e.script.abortReason != "" || e.script.forgotten
}

// lastEventID returns the id of the last event that a new registration need not be sent. mu is held.
func (s *Server) lastEventID() string {
	for _, e := range s.stream.events {
		if !e.settled() {
			return strconv.Itoa(e.id - 1)
		}
	}
	return strconv.Itoa(s.stream.lastID)
}

// Events emits the events after an id, and pings while there are none.
func (s *Server) Events(ctx context.Context, after string, emit func(string, msg.Event) error) error {
	seen, err := strconv.Atoi(after)
	if err != nil {
		return refuse(Events, 404)
	}
	nth := 0 // the number of this stream; 0: not opened yet
	for {
		next, err := s.nextEvent(ctx, seen, &nth)
		if err != nil {
			return err
		}
		id := cmp.Or(next.id, seen)
		if !next.repeated {
			seen = id
		}
		if err := emit(strconv.Itoa(id), next.event); err != nil {
			return err
		}
	}
}

func (s *Server) nextEvent(ctx context.Context, seen int, nth *int) (next streamEvent, err error) {
	var ping time.Time
	err = s.Until(ctx, Events, func() (bool, <-chan struct{}, time.Time, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if ping.IsZero() {
			ping = time.Now().Add(pingEvery)
		}
		if s.unregistered {
			return true, nil, time.Time{}, refuse(Events, 401)
		}
		if *nth == 0 {
			s.stream.opened++
			*nth = s.stream.opened
		}
		if s.stream.silent || *nth <= s.stream.dead {
			return false, s.changed, time.Time{}, nil
		}
		for n, e := range s.stream.repeated {
			if e.id <= seen && e.registration == s.stream.registrations {
				next, s.stream.repeated = e, slices.Delete(s.stream.repeated, n, n+1)
				return true, nil, time.Time{}, nil
			}
		}
		for _, e := range s.stream.events {
			_, isDelete := e.event.(msg.Delete)
			if e.registration != 0 && e.registration != s.stream.registrations {
				continue
			}
			if e.id > seen && (e.script == nil && !isDelete || !e.settled()) {
				next = e
				return true, nil, time.Time{}, nil
			}
		}
		next = streamEvent{event: msg.Ping{}}
		return !time.Now().Before(ping), s.changed, ping, nil
	})
	return next, err
}

// Unregister ends a runner's registration. Its confirmed jobs fail, and its offered jobs become available again.
func (s *Server) Unregister(ctx context.Context) error {
	return s.Do(ctx, Unregister, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.unregistered {
			return refuse(Unregister, 401)
		}
		s.endRegistration()
		return nil
	})
}

// RemoveRunner removes a runner that is gone without having unregistered, as an operator does on the server.
func (s *Server) RemoveRunner() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endRegistration()
}

// endRegistration ends the registration. mu is held.
func (s *Server) endRegistration() {
	s.unregistered = true
	for _, j := range s.order {
		if j.leaseEnds = (time.Time{}); j.confirmed && j.finish == nil {
			j.abandoned = true
			j.finish = &Finished{Ending: msg.Ending{Outcome: msg.Failed, Message: "the runner has left"}, At: time.Now()}
		}
	}
	for i := range s.stream.events {
		s.stream.events[i].applied = true
	}
	s.change()
}

// IsUnregistered reports whether the runner has unregistered and not registered again.
func (s *Server) IsUnregistered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unregistered
}
