package actors

import (
	"cmp"
	"iter"
	"slices"
	"time"

	msg "runnerd/messages"
)

// The dispatcher's policy, free of actors: from what there is to what to do. Capacity bounds all executors that exist, idle,
// running and stopping alike; it is counted here, from the slots themselves, at every decision.

// slotState is what matters of an executor's life to the one who assigns jobs.
type slotState string

const (
	slotBusy         slotState = "busy" // starting, running, finishing
	slotIdle         slotState = "idle"
	slotUnresponsive slotState = "unresponsive" // it was idle, and its plugin does not ask any more
	slotStopping     slotState = "stopping"
	slotFreed        slotState = "gone" // and its record is being cleared away
)

// mayGiveWay reports whether the slot can be had by a job that waits.
func (s slotState) mayGiveWay() bool { return s == slotIdle || s == slotUnresponsive }

// slot is an executor that exists.
type slot struct {
	id    msg.ExecutorID
	key   msg.Key
	state slotState
	since time.Time // idle since
}

// waitingJob is a job without an executor.
type waitingJob struct {
	id       msg.ExecutionID
	key      msg.Key
	kind     msg.Kind
	priority int
	order    uint64 // of arrival
}

// decision is one thing to do: exactly one of the groups is set.
type decision struct {
	job msg.ExecutionID // to give to reuse, or to a new executor when that is empty

	reuse msg.ExecutorID
	evict msg.ExecutorID
	why   string
}

// freeSlots is how many more jobs could be taken now. Executors that are reused or give way do not count.
func freeSlots(capacity int, slots iter.Seq[slotState], waiting int) int {
	n := capacity - waiting
	for state := range slots {
		if !state.mayGiveWay() {
			n--
		}
	}
	return max(n, 0)
}

// decide goes through the waiting jobs, scripts first, then by priority and arrival. Each takes an idle executor of its key;
// else, below capacity, a new one; else an unresponsive executor is evicted, or an idle one, and the job waits for its slot. A job
// that must wait blocks none behind it, but may take the slot of an executor that one behind it could use, if there is no other:
// else the jobs of a warm image would go before it for as long as they come.
func decide(capacity int, slots []slot, waiting []waitingJob) []decision {
	var todo []decision
	var idle []slot // and the unresponsive ones
	alive, leaving := len(slots), 0
	for _, s := range slots {
		switch s.state {
		case slotStopping:
			leaving++
		case slotIdle:
			idle = append(idle, s)
		case slotUnresponsive: // no job can use it: without a key it is not needed, without a time it goes first
			idle = append(idle, slot{id: s.id, state: s.state})
		case slotBusy:
		}
	}
	take := func(at int) msg.ExecutorID {
		id := idle[at].id
		idle = slices.Delete(idle, at, at+1)
		return id
	}
	unserved := jobsOfKeys(waiting) // that have not had their turn
	evict := func(why string) {
		todo = append(todo, decision{evict: take(leastNeeded(idle, unserved)), why: why})
		leaving++
	}

	for alive-leaving > capacity && len(idle) > 0 {
		evict("the capacity was lowered")
	}
	// Slots that become free and are not yet meant for a job of this round.
	coming := max(0, capacity-(alive-leaving)) - max(0, capacity-alive)
	for _, w := range inTurn(waiting) {
		unserved[w.key]--
		mine := lastIdle(idle, w.key)
		switch {
		case mine >= 0: // the one that was idle last: the others may reach their eviction time
			todo = append(todo, decision{job: w.id, reuse: take(mine)})
		case alive < capacity:
			todo = append(todo, decision{job: w.id})
			alive++
		case coming > 0:
			coming--
		case len(idle) > 0 && alive-leaving <= capacity:
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

func inTurn(waiting []waitingJob) []waitingJob {
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

// lastIdle is the place of the one of that key that was idle last; -1: none is.
func lastIdle(idle []slot, key msg.Key) int {
	last := -1
	for i, s := range idle {
		if s.state == slotIdle && s.key == key && (last < 0 || compareIdle(s, idle[last]) > 0) {
			last = i
		}
	}
	return last
}

// leastNeeded is the place of the one that has been idle longest among those that no unserved job needs; if all are needed, among
// all. Jobs reuse the one that was idle last, so of n jobs each of the n newest executors of their key is needed.
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
