package actors

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"time"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

// The dispatcher's executors: how they come, what they tell, and how they go.

// member is an executor and its actor. It exists from before its container is created until that is removed; gone, it
// counts no longer.
type member struct {
	slot
	ref          actorrt.Ref[msg.ToExecutor]
	record       msg.ExecutorRecord
	image        msg.ImageID
	seq          uint64   // of the newest assignment
	job          *waiting // assigned, and not over
	spawned      time.Time
	adopting     bool // adoptionDone, and it is not known yet how it fares
	crashes      int  // of its actors in a row
	reapAttempts int  // attempts
}

func (d *dispatcher) sortedMembers() []*member {
	all := make([]*member, 0, len(d.members))
	for _, x := range d.members {
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b *member) int { return cmp.Compare(a.id, b.id) })
	return all
}

func (d *dispatcher) slots() []slot {
	all := make([]slot, 0, len(d.members))
	for _, x := range d.members {
		if x.state != slotFreed {
			all = append(all, x.slot)
		}
	}
	return all
}

// states is slots where only the states count.
func (d *dispatcher) states() iter.Seq[slotState] {
	return func(yield func(slotState) bool) {
		for _, x := range d.members {
			if x.state != slotFreed && !yield(x.state) {
				return
			}
		}
	}
}

func (d *dispatcher) memberWithJob(id msg.ExecutionID) *member {
	for _, x := range d.members {
		if x.job != nil && x.job.job.Execution == id {
			return x
		}
	}
	return nil
}

// launch starts a new executor for a job.
func (d *dispatcher) launch(c *actorrt.Ctx[msg.ToDispatcher], w waiting) {
	rec := msg.ExecutorRecord{ID: d.NewID(), Key: w.key, Mode: d.mode(), Created: time.Now()}
	x := d.addMember(c, rec, false)
	c.Log().Info().Str("executor", string(x.id)).Str("job", string(w.job.Execution)).Str("image", w.key.Image).Str("mode", string(rec.Mode)).Msg("starting an executor")
	d.assign(c, x, w)
}

func (d *dispatcher) mode() msg.Mode {
	switch {
	case d.FilesOnly:
		return msg.Files
	case d.config.Eviction > 0:
		return msg.Daemon
	default:
		return msg.Single
	}
}

func (d *dispatcher) adopt(c *actorrt.Ctx[msg.ToDispatcher], rec msg.ExecutorRecord) {
	if d.members[rec.ID] != nil {
		return
	}
	x := d.addMember(c, rec, true)
	x.image, x.adopting = rec.ImageID, true
	d.adoptedCount++
	d.reportAdoption()
	if job, ok := d.Spool.Job(rec.Job); ok && job.Stage == msg.HandedOut && job.Executor == rec.ID {
		arrival := d.arrival(job.Job) // should it have to move
		x.job = &arrival
	}
}

// attached: its actor has found out how it fares, or nothing of it is left.
func (d *dispatcher) attached(x *member) {
	if x != nil && x.adopting {
		x.adopting = false
		d.reportAdoption()
	}
}

func (d *dispatcher) reportAdoption() {
	seen := d.adoptedCount
	for _, x := range d.members {
		if x.adopting {
			seen--
		}
	}
	d.runner.Tell(msg.AdoptionProgress{Adopted: d.adoptedCount, Attached: seen})
}

func (d *dispatcher) addMember(c *actorrt.Ctx[msg.ToDispatcher], rec msg.ExecutorRecord, returned bool) *member {
	x := &member{slot: slot{id: rec.ID, key: rec.Key, state: slotBusy}, record: rec}
	d.members[rec.ID] = x
	d.spawn(c, x, returned)
	return x
}

func (d *dispatcher) spawn(c *actorrt.Ctx[msg.ToDispatcher], x *member, returned bool) {
	x.spawned = time.Now()
	x.ref = actorrt.Spawn(c, Executor(d.ExecutorDeps, x.record, x.seq, returned, c.Self(), d.reporter))
}

func (d *dispatcher) assign(c *actorrt.Ctx[msg.ToDispatcher], x *member, w waiting) {
	c.Cancel(evictionTimer(x.id))
	x.seq++
	x.state, x.job = slotBusy, &w
	x.ref.Tell(msg.Assign{Job: w.job, Seq: x.seq})
}

func (d *dispatcher) evict(c *actorrt.Ctx[msg.ToDispatcher], x *member, why string) {
	c.Cancel(evictionTimer(x.id))
	x.state = slotStopping
	x.ref.Tell(msg.Retire{Reason: why})
	c.Log().Info().Str("executor", string(x.id)).Str("reason", why).Msg("executor is evicted")
}

func evictionTimer(id msg.ExecutorID) string { return "evict " + string(id) }

// keepWarm lets an idle executor wait for its next job until its eviction time has passed; in normal mode there is no next job.
func (d *dispatcher) keepWarm(c *actorrt.Ctx[msg.ToDispatcher], x *member) {
	if d.config.Eviction == 0 {
		d.evict(c, x, "every job has an executor of its own now")
		return
	}
	left := min(d.config.Eviction-time.Since(x.since), d.config.Eviction)
	c.After(evictionTimer(x.id), max(left, 0), msg.EvictionDue{Executor: x.id, Seq: x.seq})
}

func (d *dispatcher) idle(c *actorrt.Ctx[msg.ToDispatcher], m msg.Idle) {
	if x := d.members[m.Executor]; x != nil && x.seq == m.Seq && x.job == nil && (x.state == slotBusy || x.state == slotUnresponsive) {
		x.state, x.since = slotIdle, m.Since
		d.keepWarm(c, x)
	}
}

func (d *dispatcher) notIdle(c *actorrt.Ctx[msg.ToDispatcher], m msg.NotIdle) {
	if x := d.members[m.Executor]; x != nil && x.seq == m.Seq && x.state == slotIdle {
		c.Cancel(evictionTimer(x.id))
		x.state = slotBusy
	}
}

// notPolling lets the executor give way to a job, which may be one that this runner takes only now that there is room for it.
func (d *dispatcher) notPolling(m msg.NotPolling) {
	if x := d.members[m.Executor]; x != nil && x.seq == m.Seq && x.job == nil && x.state == slotBusy {
		x.state = slotUnresponsive
	}
}

// processesCounted evicts an executor in which more runs than in others of its image: a job has left a process behind, which must not
// meet the next one. What the first of an image has is taken for usual until one has fewer.
func (d *dispatcher) processesCounted(c *actorrt.Ctx[msg.ToDispatcher], m msg.ProcessesCounted) {
	x := d.members[m.Executor]
	if x == nil || x.state != slotIdle || x.seq != m.Seq || x.image == "" || m.Processes == 0 {
		return
	}
	usual, known := d.baseline.values[x.image]
	if !known {
		usual = m.Processes
	}
	d.baseline.set(x.image, min(usual, m.Processes))
	if m.Processes > usual {
		d.evict(c, x, fmt.Sprintf("a job has left a process behind: %d run in it, and %d are usual for its image", m.Processes, usual))
	}
}

// evictionDue evicts only who is idle still: an assignment that crossed the timer has moved on its number.
func (d *dispatcher) evictionDue(c *actorrt.Ctx[msg.ToDispatcher], m msg.EvictionDue) {
	if x := d.members[m.Executor]; x != nil && x.state == slotIdle && x.seq == m.Seq && !d.closed {
		d.evict(c, x, fmt.Sprintf("it has been idle for %v", d.config.Eviction))
	}
}

func (d *dispatcher) jobOver(m msg.JobOver) {
	if x := d.members[m.Executor]; x != nil && x.job != nil && x.job.job.Execution == m.Execution {
		x.job, x.crashes = nil, 0
	}
}

func (d *dispatcher) setEnding(c *actorrt.Ctx[msg.ToDispatcher], id msg.ExecutorID, state slotState) {
	if x := d.members[id]; x != nil && x.state != slotFreed {
		c.Cancel(evictionTimer(x.id))
		x.state = state
	}
}

// jobReturned lets a job wait again, at its old place.
func (d *dispatcher) jobReturned(c *actorrt.Ctx[msg.ToDispatcher], m msg.JobReturned) {
	x := d.members[m.Executor]
	if x == nil || x.job == nil || x.job.job.Execution != m.Execution {
		return
	}
	w := *x.job
	x.job = nil
	d.requeue(c, w)
	c.Log().Warn().Str("executor", string(m.Executor)).Str("job", string(w.job.Execution)).Str("reason", m.Reason).Msg("job moves to another executor")
}

// requeue lets a job wait that was assigned and not handed out. An abort that was told to the executor crosses its return;
// of one before a restart only the spool knows.
func (d *dispatcher) requeue(c *actorrt.Ctx[msg.ToDispatcher], w waiting) {
	rec, _ := d.Spool.Job(w.job.Execution)
	if reason := cmp.Or(w.abort, rec.Abort); reason != "" {
		d.endWaiting(c, msg.EndWaiting{Job: w.job, Ending: abortedBefore(reason)})
		return
	}
	w.key = d.config.KeyOf(w.job) // it may have been configured anew since
	d.waiting[w.job.Execution] = w
}

// imageFound retires the executors that were made from what the reference meant before.
func (d *dispatcher) imageFound(c *actorrt.Ctx[msg.ToDispatcher], m msg.ImageFound) {
	x := d.members[m.Executor]
	if x == nil {
		return
	}
	x.image = m.Image
	for _, other := range d.sortedMembers() {
		outdated := other.key.Image == x.key.Image && other.image != "" && other.image != m.Image
		if outdated && other.state.mayGiveWay() {
			d.evict(c, other, "its image reference means another image now")
		} else if outdated && other.state == slotBusy {
			other.ref.Tell(msg.Retire{Reason: "its image reference means another image now"})
		}
	}
}

// ChildDown: an executor's actor has ended: with its container, or by a crash that left the container alone.
func (d *dispatcher) ChildDown(c *actorrt.Ctx[msg.ToDispatcher], down actorrt.Down) {
	x := d.members[msg.ExecutorID(down.Name)]
	switch {
	case x == nil:
	case down.Crash == nil:
		d.reportAll(x.id, true) // its actor may have gone before a task could say that it had ended a log
		d.removeMember(c, x)
	default:
		d.crashed(c, x, down.Crash)
	}
	d.dispatch(c)
}

// removeMember forgets an executor of which nothing is left. Its end overtakes its last words: only the spool knows whether it took
// its job.
func (d *dispatcher) removeMember(c *actorrt.Ctx[msg.ToDispatcher], x *member) {
	c.Cancel(evictionTimer(x.id))
	delete(d.members, x.id)
	d.attached(x)
	d.requeueUnstarted(c, x)
}

// requeueUnstarted lets a job that was assigned and not handed out wait again.
func (d *dispatcher) requeueUnstarted(c *actorrt.Ctx[msg.ToDispatcher], x *member) {
	if rec, ok := d.Spool.Job(x.jobID()); ok && rec.Stage < msg.HandedOut {
		d.requeue(c, *x.job)
	}
	x.job = nil
}

func (x *member) jobID() msg.ExecutionID {
	if x.job == nil {
		return ""
	}
	return x.job.job.Execution
}
