package actors

import (
	"fmt"
	"slices"
	"strings"

	msg "runnerd/messages"
)

// The model for the exploration of the dispatcher's decisions: the events of executors and jobs, and how each changes the state.

const (
	images   = 3
	maxSlots = 4
	maxJobs  = 5
)

// jobClass is what determines a job's turn, apart from its arrival.
type jobClass struct {
	kind     msg.Kind
	priority int
	name     string
}

// poolState is the dispatcher's view of the executors and jobs. Images are numbered. Only the image of a busy executor matters;
// unresponsive and stopping executors are only counted.
type poolState struct {
	capacity     int8
	stopping     int8
	unresponsive int8
	busy         [images]int8   // number of executors per image
	idle         [maxSlots]int8 // image + 1; the one that has been idle longest comes first
	queue        [maxJobs]int8  // class · images + image + 1; the earliest turn first
}

// poolEvent is an event of an executor, a job or the capacity.
type poolEvent struct {
	kind  eventKind
	what  int8      // a job, an image, an index into idle or the queue, or the capacity
	finds poolState // the state that a restart finds
}

type eventKind int8

const (
	restarted eventKind = iota
	jobArrives
	jobAborted
	capacityChanges
	idleBecomesBusy
	busyBecomesIdle // from here on: events that happen without any input from outside
	busyStops
	busyEnds
	busyBecomesUnresponsive
	unresponsiveBecomesIdle // of any image
	unresponsiveStops
	unresponsiveEnds
	idleStops
	idleEnds
	stoppingEnds
)

// poolModel defines the bounds of an exploration.
type poolModel struct {
	slots, jobs int
	classes     []jobClass // the earliest turn first
}

// next visits each event that is possible in a state, with the state after it or the invariant that it breaks.
func (m poolModel) next(s poolState, visit func(poolEvent, poolState, error)) {
	each := func(kind eventKind, what int) {
		e := poolEvent{kind: kind, what: int8(what)}
		to, _, violation := m.step(s, e)
		visit(e, to, violation)
	}
	if s == notStarted {
		for found := range m.states {
			e := poolEvent{kind: restarted, finds: found}
			to, _, violation := m.step(s, e)
			if visit(e, to, violation); violation != nil {
				return // one broken invariant is enough, and there are many more states
			}
		}
		return
	}
	if m.decide(s).todo != nil {
		visit(poolEvent{kind: capacityChanges, what: s.capacity}, s, errSettled)
	}
	for capacity := range m.slots + 1 {
		if capacity != int(s.capacity) {
			each(capacityChanges, capacity)
		}
	}
	waiting := count(s.queue[:])
	if waiting < m.jobs {
		for job := range len(m.classes) * images {
			each(jobArrives, job)
		}
	}
	for at := range waiting {
		each(jobAborted, at)
	}
	for image, n := range s.busy {
		if n > 0 {
			each(busyBecomesIdle, image)
			each(busyStops, image)
			each(busyEnds, image)
			each(busyBecomesUnresponsive, image)
		}
	}
	if s.unresponsive > 0 {
		for image := range images {
			each(unresponsiveBecomesIdle, image)
		}
		each(unresponsiveStops, 0)
		each(unresponsiveEnds, 0)
	}
	for at := range count(s.idle[:]) {
		each(idleBecomesBusy, at)
		each(idleStops, at)
		each(idleEnds, at)
	}
	if s.stopping > 0 {
		each(stoppingEnds, 0)
	}
}

// notStarted is the state before the first decision.
var notStarted = poolState{capacity: -1}

// states calls yield with every state that a restart may find. Nothing is decided before all executors are known, so any combination of
// jobs and executors is possible.
func (m poolModel) states(yield func(poolState) bool) {
	more := true
	for capacity := range m.slots + 1 {
		m.withSlots(poolState{capacity: int8(capacity)}, m.slots, func(s poolState) {
			m.withJobs(s, 0, func(s poolState) {
				if more && s == s.key() {
					more = yield(s)
				}
			})
		})
	}
}

// withSlots adds up to n executors: idle ones, then stopping, unresponsive and busy ones.
func (m poolModel) withSlots(s poolState, n int, use func(poolState)) {
	if use(s); n == 0 {
		return
	}
	for image := range int8(images) {
		with := s
		if s.stopping+s.unresponsive == 0 && s.busy == [images]int8{} {
			with.idle[count(s.idle[:])] = image + 1
			m.withSlots(with, n-1, use)
		}
		if with = s; !slices.ContainsFunc(s.busy[image+1:], func(n int8) bool { return n > 0 }) {
			with.busy[image]++
			m.withSlots(with, n-1, use)
		}
	}
	if s.busy == [images]int8{} {
		with := s
		with.unresponsive++
		m.withSlots(with, n-1, use)
	}
	if s.unresponsive == 0 && s.busy == [images]int8{} {
		s.stopping++
		m.withSlots(s, n-1, use)
	}
}

// withJobs adds up to m.jobs waiting jobs, from the at-th on.
func (m poolModel) withJobs(s poolState, at int, use func(poolState)) {
	if use(s); at == m.jobs {
		return
	}
	first := int8(0) // the first job of the previous job's class
	if at > 0 {
		first = (s.queue[at-1] - 1) / images * images
	}
	for job := first; job < int8(len(m.classes)*images); job++ {
		s.queue[at] = job + 1
		m.withJobs(s, at+1, use)
	}
}

// step applies an event, and then the decisions that follow.
func (m poolModel) step(s poolState, e poolEvent) (to poolState, r decisionRound, violation error) {
	what := e.what
	switch e.kind {
	case restarted:
		s = e.finds
	case jobArrives:
		at := 0 // after the jobs of its class
		for at < count(s.queue[:]) && (s.queue[at]-1)/images <= what/images {
			at++
		}
		copy(s.queue[at+1:], s.queue[at:])
		s.queue[at] = what + 1
	case jobAborted:
		removeAt(s.queue[:], int(what))
	case capacityChanges:
		s.capacity = what
	case idleBecomesBusy:
		s.busy[removeAt(s.idle[:], int(what))-1]++
	case busyBecomesIdle:
		s.busy[what]--
		s.idle[count(s.idle[:])] = what + 1
	case busyStops:
		s.busy[what]--
		s.stopping++
	case busyEnds:
		s.busy[what]--
	case busyBecomesUnresponsive:
		s.busy[what]--
		s.unresponsive++
	case unresponsiveBecomesIdle:
		s.unresponsive--
		s.idle[count(s.idle[:])] = what + 1
	case unresponsiveStops:
		s.unresponsive--
		s.stopping++
	case unresponsiveEnds:
		s.unresponsive--
	case idleStops:
		removeAt(s.idle[:], int(what))
		s.stopping++
	case idleEnds:
		removeAt(s.idle[:], int(what))
	case stoppingEnds:
		s.stopping--
	}
	r = m.decide(s)
	if violation = r.check(); violation == nil {
		s = r.carryOut()
	}
	return s, r, violation
}

// The lists in a state are filled from the beginning; 0 is an empty element.

func count(list []int8) int {
	n := slices.Index(list, 0)
	if n < 0 {
		return len(list)
	}
	return n
}

func removeAt(list []int8, at int) int8 {
	removed := list[at]
	copy(list[at:], list[at+1:])
	list[len(list)-1] = 0
	return removed
}

func compactList(list []int8) {
	_ = slices.DeleteFunc(list, func(n int8) bool { return n == 0 }) // DeleteFunc clears the tail
}

// key renumbers the images by their first occurrence, so that states that differ only in the names of images are the same.
func (s poolState) key() poolState {
	var name, byName [images]int8 // image to its number + 1, and back
	named := int8(0)
	number := func(image int8) int8 {
		if name[image] == 0 {
			byName[named] = image
			named++
			name[image] = named
		}
		return name[image] - 1
	}
	for at := range count(s.queue[:]) {
		job := s.queue[at] - 1
		s.queue[at] = job - job%images + number(job%images) + 1
	}
	for at := range count(s.idle[:]) {
		s.idle[at] = number(s.idle[at]-1) + 1
	}
	for named < images { // the remaining images are only busy: the most frequent first
		most := int8(-1)
		for image := range int8(images) {
			if name[image] == 0 && (most < 0 || s.busy[image] > s.busy[most]) {
				most = image
			}
		}
		number(most)
	}
	busy := s.busy
	for n, image := range byName {
		s.busy[n] = busy[image]
	}
	return s
}

// describe describes an event, the decisions, and the state after them.
func (m poolModel) describe(from poolState, e poolEvent, to poolState) string {
	_, r, violation := m.step(from, e)
	text := m.eventName(from, e)
	for _, d := range r.todo {
		text += ", " + m.decisionName(r, d)
	}
	if violation == nil {
		text += ": " + m.stateName(to)
	} else if e.kind != restarted {
		text += " (before it: " + m.stateName(from) + ")"
	}
	return text
}

func (m poolModel) jobName(job int8) string {
	return "a " + m.classes[(job-1)/images].name + " of " + keys[(job-1)%images].Image
}

func (m poolModel) decisionName(r decisionRound, d decision) string {
	image := func(id msg.ExecutorID) string {
		at := number(id, len(r.slots))
		switch {
		case at < 0:
			return "an unknown executor"
		case r.slots[at].state == slotUnresponsive:
			return "an unresponsive one"
		}
		return r.slots[at].key.Image
	}
	switch job := number(d.job, r.waiting()); {
	case d.evict != "":
		return "evicts " + image(d.evict)
	case job < 0:
		return "starts nothing"
	case d.reuse != "":
		return fmt.Sprintf("gives %s to %s", m.jobName(r.state.queue[job]), image(d.reuse))
	default:
		return "starts an executor for " + m.jobName(r.state.queue[job])
	}
}

func (m poolModel) eventName(from poolState, e poolEvent) string {
	busy := func() string { return "busy " + keys[e.what].Image }
	idle := func() string { return "idle " + keys[from.idle[e.what]-1].Image }
	switch e.kind {
	case restarted:
		return "a restart finds " + m.stateName(e.finds)
	case jobArrives:
		return m.jobName(e.what+1) + " arrives"
	case jobAborted:
		return m.jobName(from.queue[e.what]) + " is aborted"
	case capacityChanges:
		return fmt.Sprintf("the capacity is %d", e.what)
	case idleBecomesBusy:
		return idle() + " is busy without a job"
	case busyBecomesIdle:
		return busy() + " is idle"
	case busyStops:
		return busy() + " is stopping"
	case busyEnds:
		return busy() + " has ended"
	case busyBecomesUnresponsive:
		return busy() + " is unresponsive"
	case unresponsiveBecomesIdle:
		return "the unresponsive one is idle " + keys[e.what].Image
	case unresponsiveStops:
		return "the unresponsive one is stopping"
	case unresponsiveEnds:
		return "the unresponsive one has ended"
	case idleStops:
		return idle() + " is stopping"
	case idleEnds:
		return idle() + " has ended"
	default:
		return "the stopping one has ended"
	}
}

func (m poolModel) stateName(s poolState) string {
	var pool, queue []string
	for image, n := range s.busy {
		for range n {
			pool = append(pool, keys[image].Image+" busy")
		}
	}
	for _, image := range s.idle[:count(s.idle[:])] {
		pool = append(pool, keys[image-1].Image+" idle")
	}
	for range s.unresponsive {
		pool = append(pool, "unresponsive")
	}
	for range s.stopping {
		pool = append(pool, "stopping")
	}
	for _, job := range s.queue[:count(s.queue[:])] {
		queue = append(queue, strings.TrimPrefix(m.jobName(job), "a "))
	}
	return fmt.Sprintf("capacity %d, executors [%s], waiting [%s]", s.capacity, strings.Join(pool, ", "), strings.Join(queue, ", "))
}
