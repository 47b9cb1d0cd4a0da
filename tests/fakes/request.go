package fakes

import (
	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// The plugins' requests to the gateway. Callers are inside an action of the scheduler.

// send sends a request. It returns nil if the runner is down or does not admit the executor. gone reports the latter.
func (h *PluginHost) send(id msg.ExecutorID, event func(n msg.RequestID, e *endpoint) msg.SessionEvent) (r *request, gone bool) {
	g := h.currentGateway()
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
	r = &request{gateway: g, executor: id, event: event(e.last, e)}
	e.requests[e.last] = r
	e.add(r.event)
	if _, ok := r.event.(msg.SecretRequested); ok {
		h.observer().PollStarted(id)
	}
	return r, false
}

// result returns the answer, nil if there is none yet. lost reports that there will be none.
func (r *request) result() (a msg.Answer, lost bool) {
	r.gateway.mu.Lock()
	defer r.gateway.mu.Unlock()
	return r.answer, r.lost
}

// nextEvent returns the oldest event of a watch. lost reports that the watch is closed.
func (r *request) nextEvent() (event msg.WatchEvent, ok, lost bool) {
	r.gateway.mu.Lock()
	defer r.gateway.mu.Unlock()
	if len(r.events) == 0 {
		return event, false, r.lost
	}
	event, r.events = r.events[0], r.events[1:]
	return event, true, false
}

// close closes a request whose process has exited or gives up.
func (r *request) close() {
	if r == nil {
		return
	}
	r.gateway.mu.Lock()
	defer r.gateway.mu.Unlock()
	if e := r.gateway.endpoints[r.executor]; e != nil {
		for n, other := range e.requests {
			if other == r {
				e.loseRequest(n)
			}
		}
	}
}

// receive returns the job in the answer and acknowledges it.
func (r *request) receive() receivedJob {
	r.gateway.mu.Lock()
	defer r.gateway.mu.Unlock()
	if e := r.gateway.endpoints[r.executor]; e != nil && e.current == r.job.execution {
		e.delivered = r.job.execution
		e.add(msg.Delivered{Execution: e.delivered})
	}
	return r.job
}

func (h *PluginHost) get(id msg.ExecutorID) (*request, bool) {
	return h.send(id, func(n msg.RequestID, _ *endpoint) msg.SessionEvent { return msg.SecretRequested{Request: n} })
}

func (h *PluginHost) list(id msg.ExecutorID, seen uint64) (*request, bool) {
	return h.send(id, func(n msg.RequestID, _ *endpoint) msg.SessionEvent {
		return msg.SecretListed{Request: n, Version: seen}
	})
}

func (h *PluginHost) watch(id msg.ExecutorID, w msg.WatchOpened) (*request, bool) {
	return h.send(id, func(n msg.RequestID, _ *endpoint) msg.SessionEvent { w.Request = n; return w })
}

// post sends body to a job's URL. found is false if the URL is not open.
func (h *PluginHost) post(id msg.ExecutorID, job msg.ExecutionID, body []byte) (r *request, found bool) {
	found = true
	r, gone := h.send(id, func(n msg.RequestID, e *endpoint) msg.SessionEvent {
		key, open := e.keys[job]
		found = open
		got := msg.ReceivedBody{}
		if open && job == e.newest && key != (seal.Key{}) {
			got = decryptResult(key, body)
			got.Result.Via = msg.ViaCallback
		}
		return msg.CallbackReceived{Request: n, Execution: job, Current: e.current, ReceivedBody: got}
	})
	if !found || gone {
		r.close()
		return nil, false
	}
	return r, true
}

// fileChanged notifies the gateway of a change of the result file.
func (h *PluginHost) fileChanged(id msg.ExecutorID) {
	g := h.currentGateway()
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.endpoints[id]; e != nil {
		e.add(msg.ResultFileChanged{})
	}
}
