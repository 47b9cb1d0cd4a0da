package spool

import (
	"sync"

	msg "runnerd/messages"
)

// remembered is how many jobs that are over are still known not to be new.
const remembered = 10_000

// over are the executions that have left the spool, the newest of them: an offer that comes once more must not begin again. It is
// not kept over a return: the server then says what is not confirmed, and nothing else. They are kept by the names of their
// directories, which are short however long an id is.
type over struct {
	mu   sync.Mutex // guards what follows
	ids  map[string]bool
	ring []string
	next int
}

func (o *over) add(id msg.ExecutionID) {
	name := dirName(id)
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.ids[name]:
		return
	case o.ids == nil:
		o.ids = map[string]bool{}
	}
	if len(o.ring) < remembered {
		o.ring = append(o.ring, name)
	} else {
		delete(o.ids, o.ring[o.next])
		o.ring[o.next] = name
		o.next = (o.next + 1) % remembered
	}
	o.ids[name] = true
}

func (o *over) has(id msg.ExecutionID) bool {
	name := dirName(id)
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ids[name]
}
