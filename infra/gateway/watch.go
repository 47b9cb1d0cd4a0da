package gateway

import (
	"maps"
	"slices"

	msg "runnerd/messages"
)

// watch is a WATCH of the Secret.
type watch struct {
	event  msg.WatchOpened
	events chan []byte
	ended  chan struct{}
}

// watchBuffer is how many events a watch may fall behind; there is one per job at most.
const watchBuffer = 8

func (w *watch) end() { close(w.ended) }

// openWatch returns nil when the endpoint is closed. The oldest of too many ends.
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
		e.queue.end(oldest)
	}
	e.last++
	event.Request = e.last
	w := &watch{event: event, events: make(chan []byte, watchBuffer), ended: make(chan struct{})}
	e.watches[e.last] = w
	e.queue.add(event)
	return w
}

func (e *endpoint) closeWatch(w *watch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.watches[w.event.Request] == w {
		delete(e.watches, w.event.Request)
		e.queue.end(w.event.Request)
	}
}

// notify never blocks: a watch that does not read is none. The event that is lost with it is missed by a resourceVersion.
func (e *endpoint) notify(request msg.RequestID, event msg.WatchEvent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if w := e.watches[request]; w != nil {
		select {
		case w.events <- e.event(event):
		default:
		}
	}
}
