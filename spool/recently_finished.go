package spool

import (
	"sync"

	msg "runnerd/messages"
)

// maxRecentlyFinished is the maximum number of jobs in recentlyFinished.
const maxRecentlyFinished = 10_000

// recentlyFinished remembers the jobs that left the spool most recently, so that a repeated offer does not start one again. It is not
// persistent, because after a restart the server offers only what is not confirmed. It stores the names of the jobs' directories
// instead of the ids, because an id may be long.
type recentlyFinished struct {
	mu    sync.Mutex // guards the fields below
	names map[string]bool
	ring  []string // the same names, in the order of a ring buffer
	next  int      // index of the oldest name in a full ring
}

func (r *recentlyFinished) add(id msg.ExecutionID) {
	name := dirName(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.names[name]:
		return
	case r.names == nil:
		r.names = map[string]bool{}
	}
	if len(r.ring) < maxRecentlyFinished {
		r.ring = append(r.ring, name)
	} else {
		delete(r.names, r.ring[r.next])
		r.ring[r.next] = name
		r.next = (r.next + 1) % maxRecentlyFinished
	}
	r.names[name] = true
}

func (r *recentlyFinished) has(id msg.ExecutionID) bool {
	name := dirName(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.names[name]
}
