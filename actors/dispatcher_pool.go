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

// The dispatcher's executors: how they are added, change state, and are removed.

// member is an executor and its actor. It exists from before its container is created until the container is removed. Once its slot is
// freed it no longer counts against the capacity.
type member struct {
	slot
	ref          actorrt.Ref[msg.ToExecutor]
	record       msg.ExecutorRecord
	imageID      msg.ImageID
	seq          uint64   // of the newest assignment
	job          *waiting // assigned, without an ending yet
	spawned      time.Time
	adopting     bool // adopted, and its state is not known yet
	crashes      int  // of its actors in a row
	reapAttempts int
}

func (d *dispatcher) sortedMembers() []*member {
	all := make([]*member, 0, len(d.members))
	for _, x := range d.members {
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b *member) int { return cmp.Compare(a.id, b.id) })
	return all
}

// slots returns the executors that occupy a slot.
func (d *dispatcher) slots() []slot {
	all := make([]slot, 0, len(d.members))
	for _, x := range d.members {
		if x.state != slotFreed {
			all = append(all, x.slot)
		}
	}
	return all
}

// states iterates over the states of the executors that occupy a slot.
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
	c.Log().Info().Str("executor", string(x.id)).Str("execution", string(w.job.Execution)).Str("image", w.key.Image).Str("mode", string(rec.Mode)).Msg("starting executor")
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
	x.imageID, x.adopting = rec.ImageID, true
	d.adoptedCount++
	d.reportAdoption()
	if job, ok := d.Spool.Job(rec.Job); ok && job.Stage == msg.HandedOut && job.Executor == rec.ID {
		arrival := d.arrival(job.Job) // in case the job has to move
		x.job = &arrival
	}
}

// attached ends a member's adoption: its actor has determined its state, or it was removed.
func (d *dispatcher) attached(x *member) {
	if x != nil && x.adopting {
		x.adopting = false
		d.reportAdoption()
	}
}

func (d *dispatcher) reportAdoption() {
	attached := d.adoptedCount
	for _, x := range d.members {
		if x.adopting {
			attached--
		}
	}
	d.runner.Tell(msg.AdoptionProgress{Adopted: d.adoptedCount, Attached: attached})
}

func (d *dispatcher) addMember(c *actorrt.Ctx[msg.ToDispatcher], rec msg.ExecutorRecord, runnerRestarted bool) *member {
	x := &member{slot: slot{id: rec.ID, key: rec.Key, state: slotBusy}, record: rec}
	d.members[rec.ID] = x
	d.spawn(c, x, runnerRestarted)
	return x
}

func (d *dispatcher) spawn(c *actorrt.Ctx[msg.ToDispatcher], x *member, runnerRestarted bool) {
	x.spawned = time.Now()
	x.ref = actorrt.Spawn(c, Executor(d.ExecutorDeps, x.record, x.seq, runnerRestarted, c.Self(), d.reporter))
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
	c.Log().Info().Str("executor", string(x.id)).Str("reason", why).Msg("evicting executor")
}

func evictionTimer(id msg.ExecutorID) string { return "evict " + string(id) }

// keepWarm starts the eviction timer of an idle executor. In single-job mode it evicts the executor, because there is no next job.
func (d *dispatcher) keepWarm(c *actorrt.Ctx[msg.ToDispatcher], x *member) {
	if d.config.Eviction == 0 {
		d.evict(c, x, "every job has an executor of its own now")
		return
	}
	remaining := min(d.config.Eviction-time.Since(x.since), d.config.Eviction)
	c.After(evictionTimer(x.id), max(remaining, 0), msg.EvictionDue{Executor: x.id, Seq: x.seq})
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

// notPolling allows the dispatcher to evict the executor for a job, which may be one that is reserved only because this frees a slot.
func (d *dispatcher) notPolling(m msg.NotPolling) {
	if x := d.members[m.Executor]; x != nil && x.seq == m.Seq && x.job == nil && x.state == slotBusy {
		x.state = slotUnresponsive
	}
}

// processesCounted evicts an executor with more processes than the baseline of its image: a job has left a process behind, which must
// not affect the next one. The baseline is the lowest count seen for the image.
func (d *dispatcher) processesCounted(c *actorrt.Ctx[msg.ToDispatcher], m msg.ProcessesCounted) {
	x := d.members[m.Executor]
	if x == nil || x.state != slotIdle || x.seq != m.Seq || x.imageID == "" || m.Processes == 0 {
		return
	}
	baseline, known := d.baseline.values[x.imageID]
	if !known {
		baseline = m.Processes
	}
	d.baseline.set(x.imageID, min(baseline, m.Processes))
	if m.Processes > baseline {
		d.evict(c, x, fmt.Sprintf("a job left a process behind: it has %d processes, the baseline of its image is %d", m.Processes, baseline))
	}
}

// evictionDue evicts an executor that is still idle. A concurrent assignment has changed its seq, so the timer is ignored.
func (d *dispatcher) evictionDue(c *actorrt.Ctx[msg.ToDispatcher], m msg.EvictionDue) {
	if x := d.members[m.Executor]; x != nil && x.state == slotIdle && x.seq == m.Seq && !d.closed {
		d.evict(c, x, fmt.Sprintf("it has been idle for %v", d.config.Eviction))
	}
}

func (d *dispatcher) jobDone(m msg.JobDone) {
	if x := d.members[m.Executor]; x != nil && x.job != nil && x.job.job.Execution == m.Execution {
		x.job, x.crashes = nil, 0
	}
}

func (d *dispatcher) setSlotState(c *actorrt.Ctx[msg.ToDispatcher], id msg.ExecutorID, state slotState) {
	if x := d.members[id]; x != nil && x.state != slotFreed {
		c.Cancel(evictionTimer(x.id))
		x.state = state
	}
}

// jobReturned puts a job back among the waiting ones, with its old order of arrival.
func (d *dispatcher) jobReturned(c *actorrt.Ctx[msg.ToDispatcher], m msg.JobReturned) {
	x := d.members[m.Executor]
	if x == nil || x.job == nil || x.job.job.Execution != m.Execution {
		return
	}
	w := *x.job
	x.job = nil
	d.requeue(c, w)
	c.Log().Warn().Str("executor", string(m.Executor)).Str("execution", string(w.job.Execution)).Str("reason", m.Reason).Msg("job moves to another executor")
}

// requeue puts a job that was assigned but not handed out back among the waiting ones, unless it was aborted: an abort may have been
// sent to the executor while the job came back, and one from before a restart is in the spool only.
func (d *dispatcher) requeue(c *actorrt.Ctx[msg.ToDispatcher], w waiting) {
	rec, _ := d.Spool.Job(w.job.Execution)
	if reason := cmp.Or(w.abort, rec.Abort); reason != "" {
		d.endWaitingJob(c, msg.EndWaitingJob{Job: w.job, Ending: abortedBefore(reason)})
		return
	}
	w.key = d.config.KeyOf(w.job) // the configuration may have changed since
	d.waiting[w.job.Execution] = w
}

// imageFound retires executors that were created from the image that the same reference named before.
func (d *dispatcher) imageFound(c *actorrt.Ctx[msg.ToDispatcher], m msg.ImageFound) {
	x := d.members[m.Executor]
	if x == nil {
		return
	}
	x.imageID = m.ImageID
	for _, other := range d.sortedMembers() {
		outdated := other.key.Image == x.key.Image && other.imageID != "" && other.imageID != m.ImageID
		if outdated && other.state.isEvictable() {
			d.evict(c, other, "its image reference now names another image")
		} else if outdated && other.state == slotBusy {
			other.ref.Tell(msg.Retire{Reason: "its image reference now names another image"})
		}
	}
}

// ChildDown handles the end of an executor's actor. The actor stops when its container is removed; a crash leaves the container.
func (d *dispatcher) ChildDown(c *actorrt.Ctx[msg.ToDispatcher], down actorrt.Down) {
	x := d.members[msg.ExecutorID(down.Name)]
	switch {
	case x == nil:
	case down.Crash == nil:
		d.reportAll(x.id, true) // the actor may have ended before a task could report that it closed a log
		d.removeMember(c, x)
	default:
		d.crashed(c, x, down.Crash)
	}
	d.dispatch(c)
}

// removeMember removes a member whose executor has been removed. ChildDown may overtake the actor's last messages, so only the spool knows
// whether its job was handed out.
func (d *dispatcher) removeMember(c *actorrt.Ctx[msg.ToDispatcher], x *member) {
	c.Cancel(evictionTimer(x.id))
	delete(d.members, x.id)
	d.attached(x)
	d.requeueUnstarted(c, x)
}

// requeueUnstarted requeues the member's job if it was not handed out.
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
