package spool

import (
	"sync"

	msg "runnerd/messages"
)

// maxRecentlyFinished bounds the ids in recentlyFinished.
const maxRecentlyFinished = 10_000

// recentlyFinished has the newest jobs that have left the spool, so that a repeated offer does not start one again. It is not
// persistent, because after a restart the server offers only what is not confirmed. It stores the names of the jobs' directories,
// which are short however long an id is.
type recentlyFinished struct {
	mu   sync.Mutex // guards the fields below
	ids  map[string]bool
	ring []string
	next int
}

func (r *recentlyFinished) add(id msg.ExecutionID) {
	name := dirName(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ids[name]:
		return
	case r.ids == nil:
		r.ids = map[string]bool{}
	}
	if len(r.ring) < maxRecentlyFinished {
		r.ring = append(r.ring, name)
	} else {
		delete(r.ids, r.ring[r.next])
		r.ring[r.next] = name
		r.next = (r.next + 1) % maxRecentlyFinished
	}
	r.ids[name] = true
}

func (r *recentlyFinished) has(id msg.ExecutionID) bool {
	name := dirName(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ids[name]
}
