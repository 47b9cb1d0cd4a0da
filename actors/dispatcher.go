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
	// remoteScript is the capability to run scripts.
	remoteScript = "remote-script"
	// maxWaitingScripts bounds the scripts that wait: a person waits for each, and not for long.
	maxWaitingScripts = 100
	// maxBaselines bounds the images of which the usual number of processes is known. The one counted longest ago is forgotten first.
	maxBaselines = 1000
	// maxPendingAborts bounds the aborts that wait for their jobs. Of more the oldest is forgotten: the heartbeat brings it again.
	maxPendingAborts = 1000
	// pendingAbortTTL is how long an abort waits for a job that it may have overtaken.
	pendingAbortTTL = 2 * time.Minute
	// poisonAfter is how many actors may panic on one job before it is failed and the others go on.
	poisonAfter = 3
	// giveUpAfter is how many crashes in a row an executor's actor has: enough for its job to be given up first, and then as many
	// without that job.
	giveUpAfter = 2 * poisonAfter
	// stableAfter is how long an actor lives that has not crashed in a row with those before it.
	stableAfter = time.Minute
)

// dispatcher decides who runs where. It knows the jobs that wait and the executors that exist; what to do follows from
// these two by decide, after every message.
type dispatcher struct {
	ExecutorDeps
	reporter msg.Receiver[msg.ToReporter]
	runner   msg.Receiver[msg.ToRunner]

	config        msg.Config
	adoptedCount  int  // executors that were adopted
	adoptionDone  bool // all executors that outlived a restart are known
	closed        bool // what there is to do is the next start's
	members       map[msg.ExecutorID]*member
	waiting       map[msg.ExecutionID]waiting
	arrivals      uint64
	baseline      *recent[msg.ImageID, int]            // the fewest processes that an executor of the image has had while it waited
	pendingAborts *recent[msg.ExecutionID, msg.Ending] // of jobs that were aborted before they came
	endings       map[msg.ExecutionID]msg.Ending       // of jobs that must not run, until the spool has it
	freeSlotsTo   msg.Receiver[msg.ToPoller]           // becomeIdle for room; nil: nobody
	drained       bool                                 // nothing starts any more
	onDrained     func()                               // not nil: draining
	abortAll      string                               // why no job may go on; empty: they may
}

// waiting is a job without an executor.
type waiting struct {
	waitingJob
	job   msg.Job
	abort string // why it is to end; told to its executor
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

// jobOf is the job that a crash at this message is counted against; empty: none. It replaces what the message inherits from the
// complete that started its task or its timer, which may have been about another job.
func jobOf(m msg.ToDispatcher) msg.ExecutionID {
	switch m := m.(type) {
	case msg.JobConfirmed:
		return m.Job.Execution
	case msg.JobOver:
		return m.Execution
	case msg.JobReturned:
		return m.Execution
	case msg.CrashCounted:
		return m.Execution
	case msg.Abort:
		return m.Execution
	case msg.AbortExpired:
		return m.Execution
	case msg.EndWaiting:
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
		d.abortAllFor(c, d.abortAll)
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
	case msg.EndWaiting:
		d.endWaiting(c, m)
	case msg.WaitingJobEnded:
		d.waitingEnded(c, m)
	case msg.DispatchClosed:
		d.closed = true
	case msg.DrainDispatch:
		d.onDrained, d.drained, d.freeSlotsTo = m.Done, false, nil
		d.abortAllFor(c, m.Abort)
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
	case msg.JobOver:
		d.jobOver(m)
	case msg.JobReturned:
		d.jobReturned(c, m)
	case msg.Retired:
		d.setEnding(c, m.Executor, slotStopping)
	case msg.SlotFreed:
		d.setEnding(c, m.Executor, slotFreed)
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

// admit lets a job in, once: it is told again after every restart of the poller.
func (d *dispatcher) admit(c *actorrt.Ctx[msg.ToDispatcher], job msg.Job) {
	rec, there := d.Spool.Job(job.Execution)
	_, waits := d.waiting[job.Execution]
	if !there || rec.Stage >= msg.HandedOut || waits || d.memberWithJob(job.Execution) != nil {
		return
	}
	if ending := d.endingOf(rec); ending.Outcome != "" {
		d.endWaiting(c, msg.EndWaiting{Job: job, Ending: ending})
		return
	}
	d.waiting[job.Execution] = d.arrival(job)
}

func (d *dispatcher) arrival(job msg.Job) waiting {
	d.arrivals++
	return waiting{job: job, waitingJob: waitingJob{
		id: job.Execution, key: d.config.KeyOf(job), kind: job.Kind, priority: job.Priority, order: d.arrivals}}
}

// endingOf is the ending of a job that must not run.
func (d *dispatcher) endingOf(rec msg.JobRecord) msg.Ending {
	switch known := cmp.Or(d.endings[rec.Execution], d.pendingAborts.values[rec.Execution]); {
	case known.Outcome != "":
		return known
	case rec.Abort != "":
		return abortedBefore(rec.Abort)
	case d.abortAll != "":
		return abortedBefore(d.abortAll)
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

// refuseScript is the ending of a script that is not taken; empty: it is.
func (d *dispatcher) refuseScript() msg.Ending {
	waiting := 0
	for _, w := range d.waiting {
		if w.kind == msg.Script {
			waiting++
		}
	}
	switch {
	case !slices.Contains(d.config.Capabilities, remoteScript):
		return msg.Ending{Outcome: msg.Failed, Message: fmt.Sprintf("this runner runs no scripts: it has the capabilities %v, and not %s. "+
			"Choose another runner, or give this one the capability", d.config.Capabilities, remoteScript)}
	case waiting >= maxWaitingScripts:
		return msg.Ending{Outcome: msg.Failed, Message: fmt.Sprintf("%d scripts wait for this runner already: try again later, or raise its capacity", waiting)}
	}
	return msg.Ending{}
}

func (d *dispatcher) abort(c *actorrt.Ctx[msg.ToDispatcher], m msg.Abort) {
	if w, ok := d.waiting[m.Execution]; ok {
		delete(d.waiting, m.Execution)
		d.endWaiting(c, msg.EndWaiting{Job: w.job, Ending: abortedAs("while it waited for an executor", m.Reason)})
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

// endWaiting keeps the ending until the job has it: should the poller tell the job again meanwhile, it must not run.
func (d *dispatcher) endWaiting(c *actorrt.Ctx[msg.ToDispatcher], m msg.EndWaiting) {
	spool, id := d.Spool, m.Job.Execution
	c.Cancel("abort " + string(id))
	d.pendingAborts.remove(id)
	d.endings[id] = m.Ending
	c.Go("end "+string(id), func(context.Context) msg.ToDispatcher {
		return msg.WaitingJobEnded{EndWaiting: m, Err: endUnlogged(spool, id, m.Ending)}
	})
}

func (d *dispatcher) waitingEnded(c *actorrt.Ctx[msg.ToDispatcher], m msg.WaitingJobEnded) {
	if _, there := d.Spool.Job(m.Job.Execution); m.Err != nil && there {
		m.Attempt++
		wait := towardsEngine.after(m.Attempt, c.Jitter())
		c.Log().Warn().Err(m.Err).Str("job", string(m.Job.Execution)).Int("attempt", m.Attempt).Dur("retry", wait).Msg("job is not ended yet")
		c.After("end "+string(m.Job.Execution), wait, m.EndWaiting)
		return
	}
	delete(d.endings, m.Job.Execution)
	d.reporter.Tell(msg.Report{Execution: m.Job.Execution})
}

// recordAbort is for the executor whose actor is down now: the next one looks in the spool.
func (d *dispatcher) recordAbort(c *actorrt.Ctx[msg.ToDispatcher], m msg.Abort) {
	spool, log := d.Spool, c.Log()
	c.Go("note abort", func(context.Context) msg.ToDispatcher {
		if err := spool.Abort(m.Execution, m.Reason); err != nil {
			log.Warn().Err(err).Str("job", string(m.Execution)).Msg("a restart will not know that the job is to end")
		}
		return nil
	})
}

// dispatch does what follows from what there is now. It is about none of the jobs but while a decision for one is carried out: a
// crash counts against that one, and not against the job of the message before.
func (d *dispatcher) dispatch(c *actorrt.Ctx[msg.ToDispatcher]) {
	c.WithSubject("", func() { d.carryOutAll(c) }) // no decision is about the message that led to it
}

func (d *dispatcher) carryOutAll(c *actorrt.Ctx[msg.ToDispatcher]) {
	if !d.adoptionDone || d.closed {
		return
	}
	if d.drained { // a job whose confirm was answered late is for the next start
		d.drain(c)
		return
	}
	for _, todo := range d.decide() {
		c.WithSubject(string(todo.job), func() { d.carryOut(c, todo) })
	}
	d.offerFreeSlots()
	d.drain(c)
}

func (d *dispatcher) carryOut(c *actorrt.Ctx[msg.ToDispatcher], todo decision) {
	switch {
	case todo.evict != "":
		d.evict(c, d.members[todo.evict], todo.why)
	case todo.reuse != "":
		d.assign(c, d.members[todo.reuse], d.takeWaiting(todo.job))
	default:
		d.launch(c, d.takeWaiting(todo.job))
	}
}

func (d *dispatcher) decide() []decision {
	if len(d.waiting) == 0 && len(d.members) <= d.config.Capacity { // as after most messages
		return nil
	}
	queue := make([]waitingJob, 0, len(d.waiting))
	for _, w := range d.waiting {
		queue = append(queue, w.waitingJob)
	}
	return decide(d.config.Capacity, d.slots(), queue)
}

func (d *dispatcher) takeWaiting(id msg.ExecutionID) waiting {
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
		if x.state.mayGiveWay() {
			d.evict(c, x, "the runner drains")
		}
	}
	if len(d.members) == 0 {
		d.onDrained()
		d.onDrained, d.drained = func() {}, true
	}
}

// abortAllFor aborts what is there and what still comes; without a reason nothing.
func (d *dispatcher) abortAllFor(c *actorrt.Ctx[msg.ToDispatcher], reason string) {
	if d.abortAll = reason; reason == "" {
		return
	}
	for _, rec := range d.Spool.Jobs() {
		if rec.Stage == msg.Confirmed { // the poller's word may come too late
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
