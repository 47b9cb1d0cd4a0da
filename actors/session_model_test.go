package actors

import (
	"slices"
	"time"

	msg "runnerd/messages"
)

// The model of the session's exploration: one executor with its actor, the spool's facts, the gateway's parked requests, the
// container, the plugin and the dispatcher. The session itself is the production code.

// world is one state. Its slices are never changed in place.
type world struct {
	actor     actorState
	session   session
	idleSince bool // the actor has noted it
	tasks     []task
	timers    [timerKinds]int8 // 0: it is not pending; of the stop timer the step, of the others 1

	jobs   [2]jobFacts
	record recordFacts
	gate   gate
	box    box
	plugin pluginFacts
	slot   slotFacts
	left   faults
}

type actorState int8

const (
	actorRuns actorState = iota
	actorRestores
	actorCrashed
	actorGone   // in order, with its executor
	runnerDown  // exitKilled; so is everything that is not on the disk or in the engine
	nothingLeft // of the executor, after a restart of the runner
)

// jobFacts is what the spool knows of a job, and what is true.
type jobFacts struct {
	where    place
	stage    msg.Stage
	ours     bool // the spool says that this executor has it
	handOuts int8
	abort    bool

	unstarted, delivered, hasResult, stopped bool
	outcome                                  msg.Outcome

	started  int8 // how often a process has begun it
	genuine  bool // the result in the spool is what the plugin made of it
	overTold bool // the dispatcher heard JobOver from this actor
}

type place int8

const (
	absent    place = iota // the server has not offered it yet
	waits4it               // it waits in the dispatcher
	here                   // this executor was assigned it
	elsewhere              // another executor has it
)

// recordFacts is the executor's record.
type recordFacts struct {
	exists      bool
	job, before int8
	jobs        int8
	version     uint64
	notified    bool
	idle        bool
	retired     bool
	startedAt   int8
}

// box is the container.
type box struct {
	state   boxState
	process int8 // how often the engine has started it
}

type boxState int8

const (
	noBox boxState = iota
	created
	runs
	boxExited
)

// slotFacts is what the dispatcher knows of the executor, and what it has told and was not heard yet.
type slotFacts struct {
	state slotState
	job   int8
	abort bool // of job
	inbox []order
}

type order struct {
	kind orderKind
	job  int8
}

type orderKind int8

const (
	assignOrder orderKind = iota
	retireOrder
	abortOrder
)

// faults counts what may still go wrong, by kind.
type faults [faultKinds]int8

type fault int8

const (
	actorCrashes fault = iota
	runnerKilled
	powerLost
	jobIsAborted
	executorRetired
	connectionCut
	pluginDies
	containerRestarted
	limitPassed     // a long timer fires although something else could happen
	pluginRestarted // by its entrypoint, in the same container
	faultKinds
)

type timerKind int8

const (
	limitDue timerKind = iota
	assignmentIsDue
	deliveryIsDue
	notifyIsDue
	stopStepIsDue
	retryHandOutDue
	retryFileDue
	retryExamineDue
	timerKinds
)

var timerNames = [timerKinds]string{"limit", "assignment", "delivery", "notify", "stop step", "retry of the hand-out", "retry of the result file", "retry of the examination"}

func timerOf(name timer) timerKind {
	switch name {
	case pollTimer:
		return assignmentIsDue
	case deliveryTimer:
		return deliveryIsDue
	case notifyTimer:
		return notifyIsDue
	case stopTimer:
		return stopStepIsDue
	default:
		return limitDue
	}
}

func (w *world) timerMessage(k timerKind) msg.ToExecutor {
	switch k {
	case assignmentIsDue:
		return msg.PollDue{}
	case deliveryIsDue:
		return msg.DeliveryDue{}
	case notifyIsDue:
		return msg.NotifyDue{}
	case stopStepIsDue:
		return msg.StopStepDue{Step: int(w.timers[k])}
	case retryHandOutDue:
		return msg.RetryDue{What: msg.RetryHandOut}
	case retryFileDue:
		return msg.RetryDue{What: msg.RetryFile}
	case retryExamineDue:
		return msg.RetryDue{What: msg.RetryExamine}
	default:
		return msg.LimitPassed{}
	}
}

// lifeModel bounds an exploration.
type lifeModel struct {
	name   string
	sdk    msg.SDK
	mode   msg.Mode
	jobs   int
	faults faults
}

// lifeLimits are all different from 0, so that every timer is started. How long they are does not matter: any timer may fire.
var lifeLimits = msg.ExecutorLimits{Pull: time.Minute, Start: time.Minute, PickUp: time.Minute, Run: time.Hour, Settle: time.Minute,
	Abort: 30 * time.Second, Term: 10 * time.Second}

const lifeID = msg.ExecutorID("x")

var executions = [3]msg.ExecutionID{"", "1", "2"}

// jobNo is the number of a job, from 1; 0: none.
func jobNo(id msg.ExecutionID) int8 {
	if id == "" {
		return 0
	}
	return int8(id[0] - '0')
}

func (w *world) job(n int8) *jobFacts { return &w.jobs[n-1] }

// begins is the state in which the executor has just been started for the first job.
func (m lifeModel) begins() *world {
	w := &world{left: m.faults}
	w.jobs[0] = jobFacts{where: here, stage: msg.Confirmed}
	w.slot = slotFacts{state: slotBusy, job: 1, inbox: []order{{assignOrder, 1}}}
	w.gate.up = true
	w.spawnNew(m)
	return w
}

func (w *world) spawnNew(m lifeModel) {
	w.session, _ = begin(newSession(msg.ExecutorRecord{ID: lifeID, Mode: m.mode}, lifeLimits, 0), false)
	w.timers[limitDue] = 1
	w.actor = actorRuns
}

// spawnKnown starts the actor of an executor that has a record.
func (w *world) spawnKnown(m lifeModel, returned bool) {
	r := w.record
	k := spoolState{returned: returned, record: msg.ExecutorRecord{ID: lifeID, Mode: m.mode, Jobs: int(r.jobs), Job: executions[r.job], Before: executions[r.before],
		Version: r.version, Notified: r.notified, Retired: reasonIf(r.retired)}}
	if r.idle {
		k.record.IdleSince = time.Unix(1, 0)
	}
	if r.job != 0 {
		k.job = w.jobRecord(r.job)
	}
	w.idleSince = r.idle
	w.session = restoredSession(k, lifeLimits, 0)
	w.actor = actorRestores
	w.add(task{kind: restoreTask})
}

func reasonIf(retired bool) string {
	if retired {
		return "retired"
	}
	return ""
}

func (w *world) jobRecord(n int8) msg.JobRecord {
	j := w.job(n)
	rec := msg.JobRecord{Job: msg.Job{Execution: executions[n]}, Stage: j.stage, Unstarted: j.unstarted, Delivered: j.delivered, HandOuts: int(j.handOuts),
		Abort: reasonIf(j.abort), HasResult: j.hasResult, Stopped: j.stopped, Ending: msg.Ending{Outcome: j.outcome}}
	if j.ours {
		rec.Executor = lifeID
	}
	return rec
}

func (w *world) clone() *world {
	c := *w
	c.tasks = slices.Clone(w.tasks)
	c.slot.inbox = slices.Clone(w.slot.inbox)
	c.gate.queue = slices.Clone(w.gate.queue)
	c.gate.requests = slices.Clone(w.gate.requests)
	return &c
}

func (w *world) add(t task) { w.tasks = append(w.tasks, t) }

// jobHasEnded: the job has its ending in the spool, or is another executor's.
func (j jobFacts) isOver() bool {
	return j.where == absent || j.where == elsewhere || j.stage >= msg.Ended
}

// isGoal: every job is over, and the executor is idle, as the dispatcher knows, or gone.
func isGoal(w *world) bool {
	for _, j := range w.jobs {
		if !j.isOver() {
			return false
		}
	}
	return w.actor == actorGone || w.actor == nothingLeft || w.actor == actorRuns && w.session.state == idle && w.slot.state == slotIdle
}
