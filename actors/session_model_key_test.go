package actors

import (
	"encoding/binary"
	"slices"

	msg "runnerd/messages"
)

// The key of a state: everything that a decision may depend on. Requests are renumbered in their order, and versions count from the lowest
// one that is still in use.

type stateKey struct {
	*modelState
	b    []byte
	ids  []msg.RequestID
	base uint64
}

func (w *modelState) key() string {
	k := &stateKey{modelState: w, b: make([]byte, 0, 160)}
	k.collect()
	k.putSession()
	k.putSurroundings()
	k.putGateway()
	k.putTasks()
	return string(k.b)
}

// collect finds the request ids and the lowest version that are still in use.
func (k *stateKey) collect() {
	s := k.session
	addID := func(id msg.RequestID) {
		if id != 0 {
			k.ids = append(k.ids, id)
		}
	}
	k.base = s.notification.version
	lowerBase := func(v uint64) {
		if v%baseline != 0 {
			k.base = min(k.base, v%baseline-1)
		}
	}
	if s.id == "" { // no actor
		k.base = k.record.version
	}
	if !k.restartImpossible() {
		k.base = min(k.base, k.record.version)
	}
	addID(s.poll)
	addID(s.nextPoll)
	for _, p := range s.pending {
		addID(p.OpenedRequest())
		if l, ok := p.(msg.SecretListed); ok {
			lowerBase(l.Version)
		}
		if o, ok := p.(msg.WatchOpened); ok {
			lowerBase(o.Version)
		}
	}
	for _, o := range s.notification.watches {
		addID(o.request)
	}
	for _, r := range s.job.storing {
		addID(r)
	}
	for _, r := range k.gateway.requests {
		addID(r.id)
		lowerBase(r.version)
		lowerBase(r.shown)
		for _, v := range r.events {
			lowerBase(v)
		}
	}
	for _, e := range k.gateway.queue {
		addID(e.request)
	}
	for _, t := range k.tasks {
		addID(t.request)
		lowerBase(t.version)
	}
	lowerBase(k.plugin.seen)
	slices.Sort(k.ids)
	k.ids = slices.Compact(k.ids)
}

func (k *stateKey) put(values ...int) {
	for _, v := range values {
		k.b = append(k.b, byte(v))
	}
}

func (k *stateKey) flags(all ...bool) {
	v := 0
	for i, is := range all {
		if is {
			v |= 1 << i
		}
	}
	k.b = binary.LittleEndian.AppendUint32(k.b, uint32(v))
}

func (k *stateKey) id(id msg.RequestID) int {
	at, there := slices.BinarySearch(k.ids, id)
	if !there {
		return 0
	}
	return at + 1
}

// version returns a version relative to base; 0 remains 0.
func (k *stateKey) version(v uint64) int {
	if v%baseline == 0 {
		return 0
	}
	return int(v%baseline-k.base) | int(v>>32)<<6
}

var stateNumbers = map[state]int{fresh: 0, pulling: 1, starting: 2, running: 3, finishing: 4, idle: 5, stopping: 6, exited: 7}

var outcomeNumbers = map[msg.Outcome]int{"": 0, msg.Completed: 1, msg.Failed: 2, msg.Aborted: 3, msg.TimedOut: 4}

func (k *stateKey) putSession() {
	s, j, n := k.session, k.session.job, k.session.notification
	if s.state == stopping || s.state == exited { // no job and no event is sent any more
		n = notification{version: n.version}
		s.polled = false
	}
	k.put(stateNumbers[s.state], int(j.handOut), int(jobNumber(j.Execution)), int(jobNumber(s.last)), int(jobNumber(s.previous)), s.jobs, j.handOuts, k.id(s.poll), k.id(s.nextPoll))
	k.flags(s.attached, s.runnerRestarted, s.inspected, s.restarted, s.creating, s.observed, s.retireReason != "", s.polled, s.readingFile, s.readAgain, s.exit != nil, s.logsEnded,
		j.delivered, j.unstarted, j.abandoned, j.hasResult, j.abortReason != "")
	ending := 0
	if j.ending != nil {
		ending = 1 + outcomeNumbers[j.ending.Outcome]
	}
	k.flags(j.stop != nil, n.due, n.delayed, n.recording, n.sent, n.calledBack, n.gaveUp)
	version := 0
	if s.id != "" {
		version = int(n.version - k.base)
	}
	k.put(ending, version, len(n.watches), len(s.pending), len(j.storing))
	for _, o := range n.watches {
		k.put(k.id(o.request))
		k.flags(o.nested, o.stale)
	}
	for _, p := range s.pending {
		k.putPending(p)
	}
	for _, r := range j.storing {
		k.put(k.id(r))
	}
}

func (k *stateKey) putPending(p msg.SessionEvent) {
	switch p := p.(type) {
	case msg.SecretRequested:
		k.put(1, k.id(p.Request))
	case msg.SecretListed:
		k.put(2, k.id(p.Request), k.version(p.Version))
	case msg.WatchOpened:
		k.put(3, k.id(p.Request), k.version(p.Version))
		k.flags(p.Nested, p.Fresh)
	}
}

func (k *stateKey) putSurroundings() {
	k.put(int(k.actor), int(k.container.state), int(k.container.process), len(k.slot.inbox), int(k.slot.job))
	k.b = append(k.b, k.slot.state...)
	r, p := k.record, k.plugin
	if k.restartImpossible() {
		r = recordFacts{exists: r.exists, version: k.base}
	}
	k.flags(k.idleSince, r.exists, r.notified, r.idle, r.retired, k.slot.abort, p.bogus, p.fileDue, p.watching, p.denied)
	k.put(int(r.job), int(r.previous), int(r.jobs), int(r.version-k.base), int(r.startedAt))
	k.put(int(p.state), int(p.job), int(p.last), int(p.call), k.version(p.seen), int(p.pendingGets))
	for _, o := range k.slot.inbox {
		k.put(int(o.kind), int(o.job))
	}
	for _, t := range k.timers {
		k.put(int(t))
	}
	for _, f := range k.remainingFaults {
		k.put(int(f))
	}
	for _, j := range k.jobs {
		k.put(int(j.where), int(j.stage), int(j.handOuts), outcomeNumbers[j.outcome], int(j.started))
		k.flags(j.ours, j.abort, j.unstarted, j.delivered && !k.restartImpossible(), j.hasResult, j.stopped, j.genuine, j.doneReported)
	}
}

func (k *stateKey) putGateway() {
	g := k.gateway
	k.flags(g.up, g.admitted, g.listening, g.file.old)
	k.put(int(g.current), int(g.delivered), int(g.urls[0]), int(g.urls[1]), int(g.file.body), int(g.file.job), len(g.requests), len(g.queue))
	for _, r := range g.requests {
		k.put(k.id(r.id), int(r.kind), k.version(r.version), int(r.job), int(r.current), int(r.body), int(r.answer), k.version(r.shown), int(r.eventCount))
		k.flags(r.fresh, r.nested, r.newest, r.sending, r.lost, r.old)
		for _, v := range r.events[:r.eventCount] {
			k.put(k.version(v))
		}
	}
	for _, e := range g.queue {
		k.put(int(e.kind), k.id(e.request), int(e.job))
	}
}

// putTasks adds the tasks in a canonical order, because their order does not matter.
func (k *stateKey) putTasks() {
	all := make([]string, 0, 8)
	for _, t := range k.tasks {
		one := &stateKey{modelState: k.modelState, ids: k.ids, base: k.base}
		one.put(int(t.kind), int(t.stepsDone), k.id(t.request), int(t.job), int(t.previous), int(t.jobs), int(t.lastJob), int(t.step), k.version(t.version), outcomeNumbers[t.outcome],
			int(t.body), int(t.found), len(t.verdict), int(t.handOuts))
		one.flags(t.stop, t.again, t.unacknowledged, t.done, t.failed, t.restarted, t.hasFile, t.stored, t.notHandedOut, t.abortRequested)
		all = append(all, string(one.b))
	}
	slices.Sort(all)
	for _, one := range all {
		k.b = append(k.b, one...)
	}
}
