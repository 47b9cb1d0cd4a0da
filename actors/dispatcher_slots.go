package actors

import (
	"cmp"
	"iter"
	"slices"
	"time"

	msg "runnerd/messages"
)

// The dispatcher's policy: pure functions that derive decisions from the existing executors and the waiting jobs. Capacity bounds all
// executors that exist, idle, busy and stopping ones together. It is counted from the slots at every decision.

// slotState is the state of an executor as far as it matters for assignments.
type slotState string

const (
	slotBusy         slotState = "busy" // starting, running, finishing
	slotIdle         slotState = "idle"
	slotUnresponsive slotState = "unresponsive" // it was idle before, and its plugin does not ask for a job
	slotStopping     slotState = "stopping"
	slotFreed        slotState = "gone" // its container has ended, and its record is being removed
)

// isEvictable reports whether the executor may be evicted to free its slot for a job.
func (s slotState) isEvictable() bool { return s == slotIdle || s == slotUnresponsive }

// slot is what decide knows about an executor.
type slot struct {
	id    msg.ExecutorID
	key   msg.Key
	state slotState
	since time.Time // idle since
}

// waitingJob is what decide knows about a waiting job.
type waitingJob struct {
	id       msg.ExecutionID
	key      msg.Key
	kind     msg.Kind
	priority int
	order    uint64 // of arrival
}

// decision is one thing to do: assign job, or evict an executor.
type decision struct {
	job msg.ExecutionID // to be assigned to reuse, or to a new executor if that is empty

	reuse msg.ExecutorID
	evict msg.ExecutorID
	why   string
}

// freeSlots returns how many more jobs could be accepted now. Executors that can be reused or evicted do not count against it.
func freeSlots(capacity int, slots iter.Seq[slotState], waiting int) int {
	n := capacity - waiting
	for state := range slots {
		if !state.isEvictable() {
			n--
		}
	}
	return max(n, 0)
}

// decide goes through the waiting jobs, scripts first, then by priority and arrival. Each job gets an idle executor of its key; else,
// below capacity, a new one; else an unresponsive or idle executor is evicted, and the job waits for its slot. A job that must wait does
// not block the ones behind it. But if there is no other executor to evict, it may evict one that a job behind it could use: otherwise
// it would starve as long as jobs for a warm image arrive.
func decide(capacity int, slots []slot, waiting []waitingJob) []decision {
	var todo []decision
	var idle []slot // and the unresponsive ones
	alive, stopping := len(slots), 0
	for _, s := range slots {
		switch s.state {
		case slotStopping:
			stopping++
		case slotIdle:
			idle = append(idle, s)
		case slotUnresponsive: // without its key no job can use or need it; without its time it is evicted first
			idle = append(idle, slot{id: s.id, state: s.state})
		case slotBusy:
		}
	}
	take := func(at int) msg.ExecutorID {
		id := idle[at].id
		idle = slices.Delete(idle, at, at+1)
		return id
	}
	unserved := jobsOfKeys(waiting) // by key, the number of jobs that have not had their turn
	evict := func(why string) {
		todo = append(todo, decision{evict: take(leastNeeded(idle, unserved)), why: why})
		stopping++
	}

	for alive-stopping > capacity && len(idle) > 0 {
		evict("the capacity was lowered")
	}
	// Slots that will become free and are not reserved for a job of this round yet.
	freeing := max(0, capacity-(alive-stopping)) - max(0, capacity-alive)
	for _, w := range sortedByTurn(waiting) {
		unserved[w.key]--
		reusable := mostRecentlyIdle(idle, w.key)
		switch {
		case reusable >= 0: // the most recently idle one, so that the others may reach their eviction time
			todo = append(todo, decision{job: w.id, reuse: take(reusable)})
		case alive < capacity:
			todo = append(todo, decision{job: w.id})
			alive++
		case freeing > 0:
			freeing--
		case len(idle) > 0 && alive-stopping <= capacity:
			evict("a waiting job that cannot use it needs its slot")
		}
	}
	return todo
}

func jobsOfKeys(waiting []waitingJob) map[msg.Key]int {
	jobs := map[msg.Key]int{}
	for _, w := range waiting {
		jobs[w.key]++
	}
	return jobs
}

func sortedByTurn(waiting []waitingJob) []waitingJob {
	turn := slices.Clone(waiting)
	slices.SortFunc(turn, func(a, b waitingJob) int {
		return cmp.Or(
			boolCompare(b.kind == msg.Script, a.kind == msg.Script),
			cmp.Compare(b.priority, a.priority),
			cmp.Compare(a.order, b.order),
		)
	})
	return turn
}

func compareIdle(a, b slot) int { return cmp.Or(a.since.Compare(b.since), cmp.Compare(a.id, b.id)) }

// mostRecentlyIdle returns the index of the executor of that key that became idle last, or -1.
func mostRecentlyIdle(idle []slot, key msg.Key) int {
	last := -1
	for i, s := range idle {
		if s.state == slotIdle && s.key == key && (last < 0 || compareIdle(s, idle[last]) > 0) {
			last = i
		}
	}
	return last
}

// leastNeeded returns the index of the executor that has been idle longest among those that no unserved job needs, or among all if all
// are needed. Jobs reuse the most recently idle executor, so n jobs of a key need the n most recently idle executors of that key.
func leastNeeded(idle []slot, unserved map[msg.Key]int) int {
	isNeeded := func(s slot) bool {
		jobs := unserved[s.key]
		for n := 0; jobs > 0 && n < len(idle); n++ {
			if idle[n].key == s.key && compareIdle(idle[n], s) > 0 {
				jobs--
			}
		}
		return jobs > 0
	}
	least, needed := 0, isNeeded(idle[0])
	for i, s := range idle[1:] {
		n := isNeeded(s)
		if cmp.Or(boolCompare(n, needed), compareIdle(s, idle[least])) < 0 {
			least, needed = i+1, n
		}
	}
	return least
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}
