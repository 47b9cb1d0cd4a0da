package actors

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	msg "runnerd/messages"
)

// This test explores every state in which decide can be called: executors of three images in up to three slots, up to five waiting jobs,
// and a changing capacity. dispatcher_model_test.go models the surroundings.

// TestDecisionInvariantsHoldInEveryState also requires that every waiting job runs eventually without new arrivals, as long as the
// capacity is not 0.
func TestDecisionInvariantsHoldInEveryState(t *testing.T) {
	if raceEnabled {
		t.Skip("too slow with the race detector")
	}
	m := poolModel{slots: 3, jobs: 5, classes: []jobClass{{msg.Script, 0, "script"}, {msg.Task, 5, "urgent task"}, {msg.Task, 0, "task"}}}
	if *wide {
		m.slots = 4
		m.classes = slices.Insert(m.classes, 0, jobClass{msg.Script, 5, "urgent script"})
	}
	began := time.Now()
	seen, err := exploration[poolState, poolEvent, poolState]{
		start:    notStarted,
		key:      poolState.key,
		next:     m.next,
		describe: m.describe,
		goal:     func(s poolState) bool { return s.queue[0] == 0 || s.capacity <= 0 },
		helps:    func(e poolEvent) bool { return e.kind >= busyBecomesIdle },
		always:   true,
	}.explore()
	if err != nil {
		t.Fatalf("after %v: %v", seen, err)
	}
	t.Logf("%v, %v", seen, time.Since(began).Round(time.Millisecond))
}

var (
	errUnknown      = errors.New("names: a decision names an unknown job or executor")
	errCapacity     = errors.New("capacity: more executors are started than the capacity allows")
	errStopping     = errors.New("stopping: an executor is started in the slot of one that has not exited")
	errJobTwice     = errors.New("one decision: two decisions are about the same job")
	errUsed         = errors.New("one use: a decision uses an executor that is not idle or is already used")
	errKey          = errors.New("key: a job is given an executor of another key")
	errTurn         = errors.New("turn: a job gets a slot that a job with an earlier turn could have used")
	errWaits        = errors.New("no blocking: a job waits although it could run")
	errReuse        = errors.New("reuse: an executor is started although one of the job's key is idle")
	errNewest       = errors.New("newest: of two idle executors of its key, a job gets the one that has been idle longer")
	errLowered      = errors.New("lowered capacity: an idle executor above the capacity stays")
	errGain         = errors.New("gain: an executor is evicted although no job needs its slot")
	errUnneeded     = errors.New("unneeded: a job waits although an idle executor that no job needs could be evicted for it")
	errWanted       = errors.New("wanted: an executor that a waiting job could use is evicted instead of one that no job needs")
	errOwn          = errors.New("own: an executor is evicted although it could run the job that it is evicted for, or one with an earlier turn")
	errUnresponsive = errors.New("unresponsive: an idle executor is evicted although an unresponsive one stays")
	errLongest      = errors.New("longest: an executor is evicted although another one that no job needs has been idle longer")
	errSettled      = errors.New("settled: after the decisions are applied, there are more decisions although nothing has happened")
)

// decisionRound is one call of decide. A slot's id is its index in slots, a job's id its index in the queue.
type decisionRound struct {
	state poolState
	slots []slot
	todo  []decision
}

func (r decisionRound) waiting() int { return count(r.state.queue[:]) }

func (r decisionRound) keyOf(job int) msg.Key { return keys[(r.state.queue[job]-1)%images] }

// decide calls the production code. It passes slots and jobs in the reverse of the order in which they must be chosen, so that the test
// notices code that relies on the order of its arguments.
func (m poolModel) decide(s poolState) decisionRound {
	r := decisionRound{state: s, slots: make([]slot, 0, maxSlots)}
	add := func(image int, state slotState, since time.Time) {
		r.slots = append(r.slots, slot{id: slotIDs[len(r.slots)], key: keys[image], state: state, since: since})
	}
	for at := count(s.idle[:]) - 1; at >= 0; at-- {
		add(int(s.idle[at]-1), slotIdle, times[at])
	}
	for range s.unresponsive { // with the image of the first job, which must not get them
		add(0, slotUnresponsive, times[0])
	}
	for range s.stopping {
		add(0, slotStopping, time.Time{})
	}
	for image, n := range s.busy {
		for range n {
			add(image, slotBusy, time.Time{})
		}
	}
	queue := make([]waitingJob, count(s.queue[:]))
	for at := range queue {
		job := s.queue[at] - 1
		c := m.classes[job/images]
		queue[len(queue)-1-at] = waitingJob{id: jobIDs[at], key: keys[job%images], kind: c.kind, priority: c.priority,
			order: uint64((len(m.classes)-int(job/images))*maxJobs + at)}
	}
	r.todo = decide(int(s.capacity), r.slots, queue)
	return r
}

var (
	keys    = generate(images, func(n int) msg.Key { return msg.Key{Image: string(rune('A' + n))} })
	slotIDs = generate(2*maxSlots, func(n int) msg.ExecutorID { return msg.ExecutorID(fmt.Sprint(n)) })
	jobIDs  = generate(maxJobs, func(n int) msg.ExecutionID { return msg.ExecutionID(fmt.Sprint(n)) })
	times   = generate(maxSlots, func(n int) time.Time { return time.Unix(int64(n), 0) })
)

func generate[T any](n int, name func(int) T) (all []T) {
	for i := range n {
		all = append(all, name(i))
	}
	return all
}

// number returns the index that an id stands for, or -1 if it is not below n.
func number[ID msg.ExecutorID | msg.ExecutionID](id ID, n int) int {
	if len(id) == 1 && int(id[0]-'0') < n {
		return int(id[0] - '0')
	}
	return -1
}

// carryOut applies the decisions, which must break no invariant, as the dispatcher does.
func (r decisionRound) carryOut() poolState {
	s := r.state
	idle := count(s.idle[:])
	for _, d := range r.todo {
		switch {
		case d.evict != "" && number(d.evict, idle) < 0:
			s.unresponsive--
			s.stopping++
			continue
		case d.evict != "":
			s.idle[idle-1-number(d.evict, idle)] = 0
			s.stopping++
			continue
		case d.reuse != "":
			s.idle[idle-1-number(d.reuse, idle)] = 0
		}
		job := number(d.job, r.waiting())
		s.busy[(s.queue[job]-1)%images]++
		s.queue[job] = 0
	}
	compactList(s.idle[:])
	compactList(s.queue[:])
	return s
}

// check returns the invariant that the decisions break, or nil if they break none.
func (r decisionRound) check() error {
	u, err := r.use()
	if err != nil {
		return err
	}
	return cmp.Or(u.checkStarts(), u.checkTurns(), u.checkEvictions())
}

// usage records what the decisions do with slots and jobs.
type usage struct {
	decisionRound
	alive, stopping, idle int
	unresponsive          int // number of those that are not evicted
	started               int
	evicted               []int             // indexes of the evicted idle executors
	reusedBy              [2 * maxSlots]int // job + 1
	wasEvicted            [2 * maxSlots]bool
	slotOf                [maxJobs]int // by job: waits, starts, or the slot that it reuses
}

const (
	waits  = -1
	starts = -2
)

// use evaluates the decisions one by one.
func (r decisionRound) use() (usage, error) {
	u := usage{decisionRound: r, alive: len(r.slots), stopping: int(r.state.stopping), idle: count(r.state.idle[:]), unresponsive: int(r.state.unresponsive)}
	for job := range u.slotOf {
		u.slotOf[job] = waits
	}
	before := -1
	for _, d := range r.todo {
		if x := d.reuse + d.evict; x != "" {
			at := number(x, u.alive)
			switch {
			case at < 0 || d.reuse != "" && d.evict != "":
				return u, errUnknown
			case d.evict != "" && r.slots[at].state == slotUnresponsive && !u.wasEvicted[at]:
				u.wasEvicted[at] = true
				u.unresponsive--
				continue
			case at >= u.idle || u.wasEvicted[at] || u.reusedBy[at] > 0:
				return u, errUsed
			case d.evict != "":
				u.wasEvicted[at] = true
				u.evicted = append(u.evicted, at)
				continue
			}
		}
		job := number(d.job, r.waiting())
		switch {
		case job < 0:
			return u, errUnknown
		case u.slotOf[job] != waits:
			return u, errJobTwice
		case job < before:
			return u, errTurn
		}
		before = job
		if d.reuse == "" {
			u.started++
			u.slotOf[job] = starts
			continue
		}
		at := number(d.reuse, u.alive)
		if r.slots[at].key != r.keyOf(job) {
			return u, errKey
		}
		u.reusedBy[at], u.slotOf[job] = job+1, at
	}
	return u, nil
}

func (u *usage) checkStarts() error {
	capacity := int(u.state.capacity)
	switch {
	case u.started == 0 || u.alive+u.started <= capacity:
		return nil
	case u.alive-u.stopping+u.started <= capacity:
		return errStopping
	default:
		return errCapacity
	}
}

// isFree reports whether an idle slot remains idle.
func (u *usage) isFree(at int) bool { return !u.wasEvicted[at] && u.reusedBy[at] == 0 }

func (u *usage) checkTurns() error {
	for job := range u.waiting() {
		for at := range u.idle { // the most recently idle one comes first
			sameKey := u.slots[at].key == u.keyOf(job)
			switch {
			case !sameKey:
			case u.slotOf[job] == waits && u.isFree(at):
				return errWaits
			case u.slotOf[job] == waits && u.reusedBy[at] > job+1:
				return errTurn
			case u.slotOf[job] == starts && (u.isFree(at) || u.wasEvicted[at] || u.reusedBy[at] > job+1):
				return errReuse
			case u.slotOf[job] > at && (u.isFree(at) || u.wasEvicted[at] || u.reusedBy[at] > job+1):
				return errNewest
			}
		}
		if u.slotOf[job] != waits {
			continue
		}
		if slices.Contains(u.slotOf[job+1:u.waiting()], starts) {
			return errTurn
		}
		if u.alive+u.started < int(u.state.capacity) {
			return errWaits
		}
	}
	return nil
}

func (u *usage) checkEvictions() error {
	capacity := int(u.state.capacity)
	evictedUnresponsive := int(u.state.unresponsive) - u.unresponsive
	evicted := evictedUnresponsive + len(u.evicted)
	excess := max(0, u.alive-u.stopping-capacity)
	forced := min(excess, u.idle+int(u.state.unresponsive))
	freeing := max(0, capacity-(u.alive+u.started-u.stopping-evicted))
	var waiting []int8 // the images of the jobs that remain waiting, the earliest turn first
	free := 0
	var wanted [images]bool
	for job := range u.waiting() {
		if u.slotOf[job] == waits {
			image := (u.state.queue[job] - 1) % images
			waiting = append(waiting, image)
			wanted[image] = true
		}
	}
	for at := range u.idle {
		if u.isFree(at) {
			free++
		}
	}
	switch {
	case evicted < forced:
		return errLowered
	case evicted > forced && freeing > len(waiting):
		return errGain
	case len(waiting) > freeing && free+u.unresponsive > 0:
		return errUnneeded
	case len(u.evicted) > 0 && u.unresponsive > 0:
		return errUnresponsive
	}
	forcedIdle := max(0, forced-evictedUnresponsive) // unresponsive ones are evicted first
	// Slots that were already being freed go to the first waiting jobs.
	before := max(0, capacity-(u.alive-u.stopping-forced)) - max(0, capacity-u.alive)
	gained := max(0, evictedUnresponsive-forced)
	for n, at := range u.evicted[forcedIdle:] {
		if slices.Contains(waiting[:min(before+gained+n+1, len(waiting))], u.imageOf(at)) {
			return errOwn
		}
	}
	return u.checkChoice(wanted, forcedIdle)
}

// checkChoice checks which idle executors are evicted. The forced evictions come first.
func (u *usage) checkChoice(wanted [images]bool, forced int) error {
	for n, at := range u.evicted {
		isWanted, later := wanted[u.imageOf(at)], u.evicted[n+1:]
		isLast := !slices.ContainsFunc(later, func(other int) bool { return u.imageOf(other) == u.imageOf(at) })
		for other := range u.idle {
			needed, after := wanted[u.imageOf(other)], slices.Index(later, other)
			switch {
			case isWanted && !needed && (u.isFree(other) || isLast && after >= 0 && n+1+after >= forced):
				return errWanted
			case !isWanted && u.isFree(other) && other > at:
				return errLongest
			}
		}
	}
	return nil
}

func (u *usage) imageOf(at int) int8 { return u.state.idle[u.idle-1-at] - 1 }
