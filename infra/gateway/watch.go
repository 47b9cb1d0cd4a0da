package gateway

import (
	"maps"
	"slices"

	msg "runnerd/messages"
)

// watch is an open WATCH of the Secret.
type watch struct {
	event  msg.WatchOpened
	events chan []byte
	ended  chan struct{}
}

// watchBuffer is how many events a watch may fall behind. There is at most one per job.
const watchBuffer = 8

func (w *watch) end() { close(w.ended) }

// openWatch registers a watch, or returns nil if the endpoint is closed. If there are too many watches, it ends the oldest.
func (e *endpoint) openWatch(event msg.WatchOpened) *watch {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	if len(e.watches) == maxWatches {
		oldest := slices.Min(slices.Collect(maps.Keys(e.watches)))
		e.watches[oldest].end()
		delete(e.watches, oldest)
		e.queue.endRequest(oldest)
	}
	e.lastRequest++
	event.Request = e.lastRequest
	w := &watch{event: event, events: make(chan []byte, watchBuffer), ended: make(chan struct{})}
	e.watches[e.lastRequest] = w
	e.queue.add(event)
	return w
}

func (e *endpoint) closeWatch(w *watch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.watches[w.event.Request] == w {
		delete(e.watches, w.event.Request)
		e.queue.endRequest(w.event.Request)
	}
}

// notify sends an event to a watch and never blocks: it drops the event if the client does not read. The client's next LIST shows by its
// resourceVersion that it missed the event.
func (e *endpoint) notify(request msg.RequestID, event msg.WatchEvent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w := e.watches[request]; w != nil {
		select {
		case w.events <- e.eventJSON(event):
		default:
		}
	}
}
