package actors

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

const (
	// scriptCapability is the capability without which the runner refuses scripts.
	scriptCapability = "remote-script"
	// maxWaitingScripts bounds the waiting scripts, because a person waits for the result of each and soon gives up.
	maxWaitingScripts = 100
	// maxBaselines bounds the images whose process baseline is remembered. The one counted longest ago is forgotten first.
	maxBaselines = 1000
	// maxPendingAborts bounds the aborts that wait for their jobs. The oldest is forgotten first: the heartbeat delivers it again.
	maxPendingAborts = 1000
	// pendingAbortTTL is how long an abort waits for a job that it may have overtaken.
	pendingAbortTTL = 2 * time.Minute
	// maxJobCrashes is the number of actor crashes on one job after which the job fails.
	maxJobCrashes = 3
	// maxExecutorCrashes is the number of crashes in a row after which an executor is removed: enough to fail its job first, and then
	// as many without that job.
	maxExecutorCrashes = 2 * maxJobCrashes
	// stableAfter is the uptime after which the crashes in a row of an executor's actor are counted from 0 again.
	stableAfter = time.Minute
)

// dispatcher decides which job runs in which executor. It knows the waiting jobs and the existing executors; after every message,
// decide derives from these what to do.
type dispatcher struct {
	ExecutorDeps
	reporter msg.Receiver[msg.ToReporter]
	runner   msg.Receiver[msg.ToRunner]

	config        msg.Config
	adoptedCount  int  // executors that were adopted
	adoptionDone  bool // all executors that survived a restart are known
	closed        bool // detaching: everything is left to the next start
	members       map[msg.ExecutorID]*member
	waiting       map[msg.ExecutionID]waiting
	arrivals      uint64
	baseline      *recent[msg.ImageID, int]            // the fewest processes that an idle executor of the image has had
	pendingAborts *recent[msg.ExecutionID, msg.Ending] // of jobs that were aborted before they arrived
	endings       map[msg.ExecutionID]msg.Ending       // of jobs that must not run, until the spool has the ending
	freeSlotsTo   msg.Receiver[msg.ToPoller]           // waits for free slots; nil: the poller does not wait
	drained       bool                                 // nothing starts any more
	onDrained     func()                               // not nil: draining
	abortReason   string                               // why all jobs are aborted; empty: they are not aborted
}

// waiting is a job that waits for an executor, or one that is assigned and would wait again if the executor returned it.
type waiting struct {
	waitingJob
	job   msg.Job
	abort string // the reason of an abort that was sent to its executor
}

func (d *dispatcher) Start(*actorrt.Ctx[msg.ToDispatcher]) {
	d.members = map[msg.ExecutorID]*member{}
	d.waiting = map[msg.ExecutionID]waiting{}
	d.baseline = newRecent[msg.ImageID, int](maxBaselines)
	d.pendingAborts = newRecent[msg.ExecutionID, msg.Ending](maxPendingAborts)
	d.endings = map[msg.ExecutionID]msg.Ending{}
}

func (d *dispatcher) Receive(c *actorrt.Ctx[msg.ToDispatcher], m msg.ToDispatcher) {
	c.SetSubject(string(jobOf(m)))
	d.receive(c, m)
	d.dispatch(c)
}

// jobOf returns the job that a crash at this message counts against, or "" if there is none. It replaces the subject that the message
// inherits from the turn that started its task or timer, which may have been about another job.
func jobOf(m msg.ToDispatcher) msg.ExecutionID {
	switch m := m.(type) {
	case msg.JobConfirmed:
		return m.Job.Execution
	case msg.JobDone:
		return m.Execution
	case msg.JobReturned:
		return m.Execution
	case msg.CrashCounted:
		return m.Execution
	case msg.Abort:
		return m.Execution
	case msg.AbortExpired:
		return m.Execution
	case msg.EndWaitingJob:
		return m.Job.Execution
	case msg.WaitingJobEnded:
		return m.Job.Execution
	default:
		return ""
	}
}

func (d *dispatcher) receive(c *actorrt.Ctx[msg.ToDispatcher], m msg.ToDispatcher) {
	switch m := m.(type) {
	case msg.Adopt:
		d.adopt(c, m.Record)
	case msg.Orphan:
		d.orphan(c, m.Executor)
	case msg.AdoptionEnded:
		d.adoptionDone = true
		d.abortAllJobs(c, d.abortReason)
	case msg.Attached:
		d.attached(d.members[m.Executor])
	case msg.Configured:
		d.configure(c, m.Config)
	case msg.FreeSlotsRequested:
		d.freeSlotsTo = m.To
	case msg.JobConfirmed:
		d.admit(c, m.Job)
	case msg.Abort:
		d.abort(c, m)
	case msg.AbortExpired:
		d.pendingAborts.remove(m.Execution)
	case msg.EndWaitingJob:
		d.endWaitingJob(c, m)
	case msg.WaitingJobEnded:
		d.waitingJobEnded(c, m)
	case msg.CloseDispatch:
		d.closed = true
	case msg.DrainDispatch:
		d.onDrained, d.drained, d.freeSlotsTo = m.Done, false, nil
		d.abortAllJobs(c, m.Abort)
	case msg.PoolRequested:
		m.Reply(d.snapshot())
	case msg.Idle:
		d.idle(c, m)
	case msg.ProcessesCounted:
		d.processesCounted(c, m)
	case msg.NotIdle:
		d.notIdle(c, m)
	case msg.NotPolling:
		d.notPolling(m)
	case msg.ImageFound:
		d.imageFound(c, m)
	case msg.JobDone:
		d.jobDone(m)
	case msg.JobReturned:
		d.jobReturned(c, m)
	case msg.Retired:
		d.setSlotState(c, m.Executor, slotStopping)
	case msg.SlotFreed:
		d.setSlotState(c, m.Executor, slotFreed)
	case msg.EvictionDue:
		d.evictionDue(c, m)
	case msg.CrashCounted:
		d.crashCounted(c, m)
	case msg.RestartDue:
		d.restart(c, d.members[m.Executor])
	case msg.Reaped:
		d.reaped(c, m)
	case msg.ReapDue:
		d.reap(c, d.members[m.Executor])
	}
}

// admit adds a job to the waiting jobs unless it is known, because every restart of the poller sends it again.
func (d *dispatcher) admit(c *actorrt.Ctx[msg.ToDispatcher], job msg.Job) {
	rec, exists := d.Spool.Job(job.Execution)
	_, waits := d.waiting[job.Execution]
	if !exists || rec.Stage >= msg.HandedOut || waits || d.memberWithJob(job.Execution) != nil {
		return
	}
	if ending := d.endingOf(rec); ending.Outcome != "" {
		d.endWaitingJob(c, msg.EndWaitingJob{Job: job, Ending: ending})
		return
	}
	d.waiting[job.Execution] = d.arrival(job)
}

func (d *dispatcher) arrival(job msg.Job) waiting {
	d.arrivals++
	return waiting{job: job, waitingJob: waitingJob{
		id: job.Execution, key: d.config.KeyOf(job), kind: job.Kind, priority: job.Priority, order: d.arrivals}}
}

// endingOf returns the ending of a job that must not run, or an empty ending if it may run.
func (d *dispatcher) endingOf(rec msg.JobRecord) msg.Ending {
	switch known := cmp.Or(d.endings[rec.Execution], d.pendingAborts.values[rec.Execution]); {
	case known.Outcome != "":
		return known
	case rec.Abort != "":
		return abortedBefore(rec.Abort)
	case d.abortReason != "":
		return abortedBefore(d.abortReason)
	case rec.Kind == msg.Script:
		return d.refuseScript()
	}
	return msg.Ending{}
}

func abortedBefore(reason string) msg.Ending {
	return abortedAs("before it was started", reason)
}

func abortedAs(when, reason string) msg.Ending {
	return msg.Ending{Outcome: msg.Aborted, Message: "aborted " + when + ": " + reason}
}

// refuseScript returns the ending of a script that is refused, or an empty ending if it is accepted.
func (d *dispatcher) refuseScript() msg.Ending {
	waiting := 0
	for _, w := range d.waiting {
		if w.kind == msg.Script {
			waiting++
		}
	}
	switch {
	case !slices.Contains(d.config.Capabilities, scriptCapability):
		return msg.Ending{Outcome: msg.Failed, Message: fmt.Sprintf("this runner runs no scripts: its capabilities are %v, and %s is missing. "+
			"Choose another runner, or give this one the capability", d.config.Capabilities, scriptCapability)}
	case waiting >= maxWaitingScripts:
		return msg.Ending{Outcome: msg.Failed, Message: fmt.Sprintf("%d scripts wait for this runner already: try again later, or raise its capacity", waiting)}
	}
	return msg.Ending{}
}

func (d *dispatcher) abort(c *actorrt.Ctx[msg.ToDispatcher], m msg.Abort) {
	if w, ok := d.waiting[m.Execution]; ok {
		delete(d.waiting, m.Execution)
		d.endWaitingJob(c, msg.EndWaitingJob{Job: w.job, Ending: abortedAs("while it waited for an executor", m.Reason)})
	} else if x := d.memberWithJob(m.Execution); x != nil {
		x.job.abort = m.Reason
		d.recordAbort(c, m)
		x.ref.Tell(msg.AbortJob{Execution: m.Execution, Reason: m.Reason})
	} else if cmp.Or(d.endings[m.Execution], d.pendingAborts.values[m.Execution]).Outcome == "" {
		for _, oldest := range d.pendingAborts.set(m.Execution, abortedBefore(m.Reason)) {
			c.Cancel("abort " + string(oldest))
		}
		c.After("abort "+string(m.Execution), pendingAbortTTL, msg.AbortExpired{Execution: m.Execution})
	}
}

// endWaitingJob remembers the ending until the spool has it: if the poller sends the job again meanwhile, it must not run.
func (d *dispatcher) endWaitingJob(c *actorrt.Ctx[msg.ToDispatcher], m msg.EndWaitingJob) {
	spool, id := d.Spool, m.Job.Execution
	c.Cancel("abort " + string(id))
	d.pendingAborts.remove(id)
	d.endings[id] = m.Ending
	c.Go("end "+string(id), func(context.Context) msg.ToDispatcher {
		return msg.WaitingJobEnded{EndWaitingJob: m, Err: endAndCloseLog(spool, id, m.Ending)}
	})
}

func (d *dispatcher) waitingJobEnded(c *actorrt.Ctx[msg.ToDispatcher], m msg.WaitingJobEnded) {
	if _, exists := d.Spool.Job(m.Job.Execution); m.Err != nil && exists {
		m.Attempt++
		wait := towardsEngine.after(m.Attempt, c.Jitter())
		c.Log().Warn().Err(m.Err).Str("execution", string(m.Job.Execution)).Int("attempt", m.Attempt).Dur("retry", wait).Msg("could not store the ending of a waiting job; will retry")
		c.After("end "+string(m.Job.Execution), wait, m.EndWaitingJob)
		return
	}
	delete(d.endings, m.Job.Execution)
	d.reporter.Tell(msg.Report{Execution: m.Job.Execution})
}

// recordAbort writes an abort to the spool, because the executor's actor may be down now: the next one reads it there.
func (d *dispatcher) recordAbort(c *actorrt.Ctx[msg.ToDispatcher], m msg.Abort) {
	spool, log := d.Spool, c.Log()
	c.Go("record abort", func(context.Context) msg.ToDispatcher {
		if err := spool.Abort(m.Execution, m.Reason); err != nil {
			log.Warn().Err(err).Str("execution", string(m.Execution)).Msg("could not record an abort: a restart would not know of it")
		}
		return nil
	})
}

// dispatch acts on the current state. While it applies a decision about a job, a crash counts against that job; otherwise against none,
// because a decision need not be about the job of the message that led to it.
func (d *dispatcher) dispatch(c *actorrt.Ctx[msg.ToDispatcher]) {
	c.WithSubject("", func() { d.applyDecisions(c) })
}

func (d *dispatcher) applyDecisions(c *actorrt.Ctx[msg.ToDispatcher]) {
	if !d.adoptionDone || d.closed {
		return
	}
	if d.drained { // a job whose confirm was answered late is left to the next start
		d.drain(c)
		return
	}
	for _, todo := range d.decide() {
		c.WithSubject(string(todo.job), func() { d.apply(c, todo) })
	}
	d.offerFreeSlots()
	d.drain(c)
}

func (d *dispatcher) apply(c *actorrt.Ctx[msg.ToDispatcher], todo decision) {
	switch {
	case todo.evict != "":
		d.evict(c, d.members[todo.evict], todo.why)
	case todo.reuse != "":
		d.assign(c, d.members[todo.reuse], d.dequeue(todo.job))
	default:
		d.launch(c, d.dequeue(todo.job))
	}
}

func (d *dispatcher) decide() []decision {
	if len(d.waiting) == 0 && len(d.members) <= d.config.Capacity { // the common case
		return nil
	}
	queue := make([]waitingJob, 0, len(d.waiting))
	for _, w := range d.waiting {
		queue = append(queue, w.waitingJob)
	}
	return decide(d.config.Capacity, d.slots(), queue)
}

func (d *dispatcher) dequeue(id msg.ExecutionID) waiting {
	w := d.waiting[id]
	delete(d.waiting, id)
	return w
}

func (d *dispatcher) offerFreeSlots() {
	if d.freeSlotsTo == nil || d.onDrained != nil {
		return
	}
	if n := freeSlots(d.config.Capacity, d.states(), len(d.waiting)); n > 0 {
		d.freeSlotsTo.Tell(msg.FreeSlots{N: n})
		d.freeSlotsTo = nil
	}
}

func (d *dispatcher) drain(c *actorrt.Ctx[msg.ToDispatcher]) {
	if d.onDrained == nil || len(d.waiting)+len(d.endings) > 0 {
		return
	}
	for _, x := range d.sortedMembers() {
		if x.state.isEvictable() {
			d.evict(c, x, "the runner drains")
		}
	}
	if len(d.members) == 0 {
		d.onDrained()
		d.onDrained, d.drained = func() {}, true
	}
}

// abortAllJobs aborts all current and future jobs; with an empty reason it does nothing.
func (d *dispatcher) abortAllJobs(c *actorrt.Ctx[msg.ToDispatcher], reason string) {
	if d.abortReason = reason; reason == "" {
		return
	}
	for _, rec := range d.Spool.Jobs() {
		if rec.Stage == msg.Confirmed { // JobConfirmed may come too late
			d.admit(c, rec.Job)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(d.waiting)) {
		d.abort(c, msg.Abort{Execution: id, Reason: reason})
	}
	for _, x := range d.sortedMembers() {
		if x.job != nil {
			d.abort(c, msg.Abort{ID: x.job.job.ID, Execution: x.jobID(), Reason: reason})
		}
	}
}

func (d *dispatcher) configure(c *actorrt.Ctx[msg.ToDispatcher], config msg.Config) {
	d.config = config
	for id, w := range d.waiting {
		w.key = config.KeyOf(w.job)
		d.waiting[id] = w
	}
	for _, x := range d.sortedMembers() {
		if x.state == slotIdle {
			d.keepWarm(c, x)
		}
	}
}

func (d *dispatcher) snapshot() msg.Pool {
	p := msg.Pool{Capacity: d.config.Capacity}
	for _, x := range d.sortedMembers() {
		v := msg.ExecutorView{ID: x.id, Image: x.key.Image, State: string(x.state), Jobs: x.seq}
		if x.job != nil {
			v.Job = x.job.job.Execution
		}
		p.Executors = append(p.Executors, v)
	}
	p.Waiting = slices.Sorted(maps.Keys(d.waiting))
	return p
}
