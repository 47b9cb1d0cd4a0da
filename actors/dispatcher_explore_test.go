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

// Every state that decide can meet is explored: executors of three images in up to three slots, up to five waiting jobs, and a
// capacity that changes. The model beside this file is what happens around it.

// TestDecisionsKeepTheirInvariantsInEveryState also requires that every waiting job runs in the end, whatever happens but a new
// arrival, as long as the capacity is not 0.
func TestDecisionsKeepTheirInvariantsInEveryState(t *testing.T) {
	if raced {
		t.Skip("nothing here runs at the same time")
	}
	m := poolModel{slots: 3, jobs: 5, classes: []class{{msg.Script, 0, "script"}, {msg.Task, 5, "urgent task"}, {msg.Task, 0, "task"}}}
	if *wide {
		m.slots = 4
		m.classes = slices.Insert(m.classes, 0, class{msg.Script, 5, "urgent script"})
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
	errUnknown  = errors.New("names: a decision names a job or an executor that is not there")
	errCapacity = errors.New("capacity: more executors are started than the capacity allows")
	errStopping = errors.New("stopping: an executor is started in the slot of one that has not ended")
	errJobTwice = errors.New("one decision: a job is in two decisions")
	errUsed     = errors.New("one use: an executor that is not idle, or is used already, is in a decision")
	errKey      = errors.New("key: a job is given an executor of another key")
	errTurn     = errors.New("turn: a job goes before one whose turn is earlier and which could have had its place")
	errWaits    = errors.New("no blocking: a job waits although it could run")
	errReuse    = errors.New("reuse: an executor is started although one of the job's key is idle")
	errNewest   = errors.New("newest: of two idle executors of its key a job is given the one idle longer")
	errLowered  = errors.New("lowered capacity: an idle executor above the capacity stays")
	errGain     = errors.New("gain: an executor is evicted and no job gains by it")
	errGivesWay = errors.New("gives way: a job waits although an executor that nobody needs is idle")
	errWanted   = errors.New("wanted: an executor is evicted that a waiting job could use, and not one that nobody needs")
	errOwn      = errors.New("own: an executor is evicted that a job could use whose turn is not after that of the job which gains")
	errAnswers  = errors.New("unresponsive: an idle executor is evicted although an unresponsive one stays")
	errLongest  = errors.New("longest: an executor is evicted although another that nobody needs is idle longer")
	errSettled  = errors.New("settled: carried out, the decisions lead to more of them although nothing has happened")
)

// round is a call of decide. A slot's id is its place in slots, a job's its place in the queue.
type round struct {
	state poolState
	slots []slot
	todo  []decision
}

func (r round) waiting() int { return count(r.state.queue[:]) }

func (r round) keyOf(job int) msg.Key { return keys[(r.state.queue[job]-1)%images] }

// decide calls the production code. The order in which it is given slots and jobs is the opposite of what it must choose, and
// what arrived first has its turn last.
func (m poolModel) decide(s poolState) round {
	r := round{state: s, slots: make([]slot, 0, maxSlots)}
	add := func(image int, state slotState, since time.Time) {
		r.slots = append(r.slots, slot{id: slotIDs[len(r.slots)], key: keys[image], state: state, since: since})
	}
	for at := count(s.idle[:]) - 1; at >= 0; at-- {
		add(int(s.idle[at]-1), slotIdle, times[at])
	}
	for range s.unresponsive { // of the image of the first job, which must not be given to it
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
	given := make([]waitingJob, count(s.queue[:]))
	for at := range given {
		job := s.queue[at] - 1
		c := m.classes[job/images]
		given[len(given)-1-at] = waitingJob{id: jobIDs[at], key: keys[job%images], kind: c.kind, priority: c.priority,
			order: uint64((len(m.classes)-int(job/images))*maxJobs + at)}
	}
	r.todo = decide(int(s.capacity), r.slots, given)
	return r
}

var (
	keys    = names(images, func(n int) msg.Key { return msg.Key{Image: string(rune('A' + n))} })
	slotIDs = names(2*maxSlots, func(n int) msg.ExecutorID { return msg.ExecutorID(fmt.Sprint(n)) })
	jobIDs  = names(maxJobs, func(n int) msg.ExecutionID { return msg.ExecutionID(fmt.Sprint(n)) })
	times   = names(maxSlots, func(n int) time.Time { return time.Unix(int64(n), 0) })
)

func names[T any](n int, name func(int) T) (all []T) {
	for i := range n {
		all = append(all, name(i))
	}
	return all
}

// number is where an id is in the round; -1: nowhere.
func number[ID msg.ExecutorID | msg.ExecutionID](id ID, n int) int {
	if len(id) == 1 && int(id[0]-'0') < n {
		return int(id[0] - '0')
	}
	return -1
}

// carryOut does what the dispatcher does with decisions that break no invariant.
func (r round) carryOut() poolState {
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
	closeUp(s.idle[:])
	closeUp(s.queue[:])
	return s
}

// check returns the invariant that the decisions break.
func (r round) check() error {
	u, err := r.use()
	if err != nil {
		return err
	}
	return cmp.Or(u.checkStarts(), u.checkTurns(), u.checkEvictions())
}

// usage is what decisions do with slots and jobs.
type usage struct {
	round
	alive, stopping, idle int
	unresponsive          int // and not evicted
	started               int
	evicted               []int             // of the idle ones
	reusedBy              [2 * maxSlots]int // job + 1
	gone                  [2 * maxSlots]bool
	slotOf                [maxJobs]int // of a job: waits, starts, or the slot it reuses
}

const (
	waits  = -1
	starts = -2
)

// use follows the decisions one by one.
func (r round) use() (usage, error) {
	u := usage{round: r, alive: len(r.slots), stopping: int(r.state.stopping), idle: count(r.state.idle[:]), unresponsive: int(r.state.unresponsive)}
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
			case d.evict != "" && r.slots[at].state == slotUnresponsive && !u.gone[at]:
				u.gone[at] = true
				u.unresponsive--
				continue
			case at >= u.idle || u.gone[at] || u.reusedBy[at] > 0:
				return u, errUsed
			case d.evict != "":
				u.gone[at] = true
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

// isFree: the slot is idle and stays so.
func (u *usage) isFree(at int) bool { return !u.gone[at] && u.reusedBy[at] == 0 }

func (u *usage) checkTurns() error {
	for job := range u.waiting() {
		for at := range u.idle { // the one idle last is the first
			mine := u.slots[at].key == u.keyOf(job)
			switch {
			case !mine:
			case u.slotOf[job] == waits && u.isFree(at):
				return errWaits
			case u.slotOf[job] == waits && u.reusedBy[at] > job+1:
				return errTurn
			case u.slotOf[job] == starts && (u.isFree(at) || u.gone[at] || u.reusedBy[at] > job+1):
				return errReuse
			case u.slotOf[job] > at && (u.isFree(at) || u.gone[at] || u.reusedBy[at] > job+1):
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
	giveWay := int(u.state.unresponsive) - u.unresponsive // unresponsive ones that are evicted
	evicted := giveWay + len(u.evicted)
	excess := max(0, u.alive-u.stopping-capacity)
	forced := min(excess, u.idle+int(u.state.unresponsive))
	coming := max(0, capacity-(u.alive+u.started-u.stopping-evicted))
	var left []int8 // the images of the jobs that wait on, in turn
	free := 0
	var wanted [images]bool
	for job := range u.waiting() {
		if u.slotOf[job] == waits {
			image := (u.state.queue[job] - 1) % images
			left = append(left, image)
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
	case evicted > forced && coming > len(left):
		return errGain
	case len(left) > coming && free+u.unresponsive > 0:
		return errGivesWay
	case len(u.evicted) > 0 && u.unresponsive > 0:
		return errAnswers
	}
	forcedIdle := max(0, forced-giveWay) // the others went first
	// Slots that were coming before are for the first of them.
	before := max(0, capacity-(u.alive-u.stopping-forced)) - max(0, capacity-u.alive)
	gained := max(0, giveWay-forced)
	for n, at := range u.evicted[forcedIdle:] {
		if slices.Contains(left[:min(before+gained+n+1, len(left))], u.imageOf(at)) {
			return errOwn
		}
	}
	return u.checkChoice(wanted, forcedIdle)
}

// checkChoice is about which of the idle executors are evicted, the forced ones first.
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
