package fake

import (
	"slices"
	"time"

	msg "runnerd/messages"
)

// EventKind says what happened to an executor.
type EventKind string

const (
	Created EventKind = "created"
	Started EventKind = "started"
	Died    EventKind = "died"
	Removed EventKind = "removed"
)

// Event is something that happened to an executor.
type Event struct {
	Kind     EventKind
	Executor msg.ExecutorID
	At       time.Time
}

// Events returns all events in order. Checkers compute the used capacity from them.
func (d *Driver) Events() []Event { return d.EventsFrom(0) }

// EventsFrom returns the events after the first n.
func (d *Driver) EventsFrom(n int) []Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.events[n:])
}

func (d *Driver) recordEvent(kind EventKind, id msg.ExecutorID) {
	d.events = append(d.events, Event{Kind: kind, Executor: id, At: time.Now()})
}
