package fakes

import (
	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// The plugins' side of the gateway. All of it is part of a deed.

// send makes a request. nil: the runner is away, or does not let the executor in (gone).
func (s *Site) send(id msg.ExecutorID, event func(n msg.RequestID, e *endpoint) msg.SessionEvent) (r *request, gone bool) {
	g := s.now()
	if g == nil {
		return nil, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.endpoints[id]
	switch {
	case g.closed:
		return nil, false
	case e == nil:
		return nil, true
	}
	e.last++
	r = &request{at: g, of: id, event: event(e.last, e)}
	e.open[e.last] = r
	e.add(r.event)
	if _, ok := r.event.(msg.SecretRequested); ok {
		s.witness().Asked(id)
	}
	return r, false
}

// result is a request's answer; lost: there will be none.
func (r *request) result() (a msg.Answer, lost bool) {
	r.at.mu.Lock()
	defer r.at.mu.Unlock()
	return r.answer, r.lost
}

// next takes the oldest event of a watch; lost: it is closed.
func (r *request) next() (event msg.WatchEvent, ok, lost bool) {
	r.at.mu.Lock()
	defer r.at.mu.Unlock()
	if len(r.events) == 0 {
		return event, false, r.lost
	}
	event, r.events = r.events[0], r.events[1:]
	return event, true, false
}

// hangUp is the end of who made the request.
func (r *request) hangUp() {
	if r == nil {
		return
	}
	r.at.mu.Lock()
	defer r.at.mu.Unlock()
	if e := r.at.endpoints[r.of]; e != nil {
		for n, other := range e.open {
			if other == r {
				e.end(n)
			}
		}
	}
}

// receive takes the job out of a request's answer, and acknowledges it.
func (r *request) receive() given {
	r.at.mu.Lock()
	defer r.at.mu.Unlock()
	if e := r.at.endpoints[r.of]; e != nil && e.current == r.given.execution {
		e.delivered = r.given.execution
		e.add(msg.Delivered{Execution: e.delivered})
	}
	return r.given
}

func (s *Site) get(id msg.ExecutorID) (*request, bool) {
	return s.send(id, func(n msg.RequestID, _ *endpoint) msg.SessionEvent { return msg.SecretRequested{Request: n} })
}

func (s *Site) list(id msg.ExecutorID, seen uint64) (*request, bool) {
	return s.send(id, func(n msg.RequestID, _ *endpoint) msg.SessionEvent {
		return msg.SecretListed{Request: n, Version: seen}
	})
}

func (s *Site) watch(id msg.ExecutorID, w msg.WatchOpened) (*request, bool) {
	return s.send(id, func(n msg.RequestID, _ *endpoint) msg.SessionEvent { w.Request = n; return w })
}

// post brings a body to a job's URL. It is not found when that leads nowhere.
func (s *Site) post(id msg.ExecutorID, job msg.ExecutionID, body []byte) (r *request, found bool) {
	found = true
	r, gone := s.send(id, func(n msg.RequestID, e *endpoint) msg.SessionEvent {
		key, open := e.keys[job]
		found = open
		got := msg.Delivery{}
		if open && job == e.newest && key != (seal.Key{}) {
			got = judge(key, body)
			got.Result.Via = msg.ViaCallback
		}
		return msg.CallbackReceived{Request: n, Execution: job, Current: e.current, Delivery: got}
	})
	if !found || gone {
		r.hangUp()
		return nil, false
	}
	return r, true
}

// fileChanged tells the gateway of the result file.
func (s *Site) fileChanged(id msg.ExecutorID) {
	g := s.now()
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.endpoints[id]; e != nil {
		e.add(msg.ResultFileChanged{})
	}
}
