package actors

import (
	"slices"
	"time"

	msg "runnerd/messages"
)

// The model for the session's exploration: one executor with its actor, the contents of the spool, the gateway's parked requests, the
// container, the plugin and the dispatcher. The session itself is the production code.

// modelState is one state of the model. An event changes only a clone.
type modelState struct {
	actor     actorState
	session   session
	idleSince bool // the actor remembers since when the executor is idle
	tasks     []task
	timers    [timerKinds]int8 // 0: not started; else 1, or the step for the stop timer

	jobs            [2]jobFacts
	record          recordFacts
	gateway         gatewayModel
	container       containerFacts
	plugin          pluginFacts
	slot            slotFacts
	remainingFaults faults
}

type actorState int8

const (
	actorRuns actorState = iota
	actorRestores
	actorCrashed
	actorGone   // stopped, after the executor's removal
	runnerDown  // with everything that is not on the disk or in the engine
	nothingLeft // the executor was reaped without an actor
)

// jobFacts is what the spool has about a job, and what really happened.
type jobFacts struct {
	where    jobLocation
	stage    msg.Stage
	ours     bool // the spool names this executor
	handOuts int8
	abort    bool

	unstarted, delivered, hasResult, stopped bool
	outcome                                  msg.Outcome

	started      int8 // number of processes that started it
	genuine      bool // the result in the spool is the plugin's real one
	doneReported bool // this actor has sent JobDone
}

type jobLocation int8

const (
	notOffered   jobLocation = iota // the server has not offered it yet
	waitingHere                     // in the dispatcher's queue
	assignedHere                    // assigned to this executor
	elsewhere                       // assigned to another executor
)

// recordFacts is the executor's record.
type recordFacts struct {
	exists        bool
	job, previous int8
	jobs          int8
	version       uint64
	notified      bool
	idle          bool
	retired       bool
	startedAt     int8 // the process whose start is recorded; 0: none
}

// containerFacts is the state of the executor's container.
type containerFacts struct {
	state   containerState
	process int8 // number of process starts
}

type containerState int8

const (
	noContainer containerState = iota
	containerCreated
	containerRunning
	containerExited
)

// slotFacts is the dispatcher's view of the executor, and the orders that it has sent and that were not received yet.
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

// faults is the number of faults of each kind that may still happen.
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
	limitPassed     // a long timer fires although other events are possible
	pluginRestarted // by its entrypoint, in the same container
	faultKinds
)

type timerKind int8

const (
	limitTimerDue timerKind = iota
	pollTimerDue
	deliveryTimerDue
	notifyTimerDue
	stopTimerDue
	retryHandOutDue
	retryFileDue
	retryExamineDue
	timerKinds
)

var timerNames = [timerKinds]string{"limit", "poll", "delivery", "notify", "stop step", "retry of the hand-out", "retry of the result file", "retry of the examination"}

func timerOf(name timer) timerKind {
	switch name {
	case pollTimer:
		return pollTimerDue
	case deliveryTimer:
		return deliveryTimerDue
	case notifyTimer:
		return notifyTimerDue
	case stopTimer:
		return stopTimerDue
	default:
		return limitTimerDue
	}
}

func (w *modelState) timerMessage(k timerKind) msg.ToExecutor {
	switch k {
	case pollTimerDue:
		return msg.PollDue{}
	case deliveryTimerDue:
		return msg.DeliveryDue{}
	case notifyTimerDue:
		return msg.NotifyDue{}
	case stopTimerDue:
		return msg.StopStepDue{Step: int(w.timers[k])}
	case retryHandOutDue:
		return msg.RetryDue{What: msg.RetryHandOut}
	case retryFileDue:
		return msg.RetryDue{What: msg.RetryFile}
	case retryExamineDue:
		return msg.RetryDue{What: msg.RetryExamine}
	default:
		return msg.LimitDue{}
	}
}

// sessionModel defines an exploration and its bounds.
type sessionModel struct {
	name   string
	sdk    msg.SDK
	mode   msg.Mode
	jobs   int
	faults faults
}

// modelLimits are not 0, so that every timer is started. Their values do not matter, because any started timer may fire.
var modelLimits = msg.ExecutorLimits{Pull: time.Minute, Start: time.Minute, PickUp: time.Minute, Run: time.Hour, Finish: time.Minute,
	Abort: 30 * time.Second, Term: 10 * time.Second}

const modelExecutor = msg.ExecutorID("x")

var executions = [3]msg.ExecutionID{"", "1", "2"}

// jobNumber returns the 1-based number of a job, or 0 if there is none.
func jobNumber(id msg.ExecutionID) int8 {
	if id == "" {
		return 0
	}
	return int8(id[0] - '0')
}

func (w *modelState) job(n int8) *jobFacts { return &w.jobs[n-1] }

// initial returns the state in which the executor was just started for the first job.
func (m sessionModel) initial() *modelState {
	w := &modelState{remainingFaults: m.faults}
	w.jobs[0] = jobFacts{where: assignedHere, stage: msg.Confirmed}
	w.slot = slotFacts{state: slotBusy, job: 1, inbox: []order{{assignOrder, 1}}}
	w.gateway.up = true
	w.startNew(m)
	return w
}

func (w *modelState) startNew(m sessionModel) {
	w.session, _ = begin(newSession(msg.ExecutorRecord{ID: modelExecutor, Mode: m.mode, SDK: m.sdk}, modelLimits, 0), false)
	w.timers[limitTimerDue] = 1
	w.actor = actorRuns
}

// startRestored starts the actor of an executor that has a record in the spool.
func (w *modelState) startRestored(m sessionModel, runnerRestarted bool) {
	r := w.record
	k := spoolState{runnerRestarted: runnerRestarted, record: msg.ExecutorRecord{ID: modelExecutor, Mode: m.mode, SDK: m.sdk, Jobs: int(r.jobs), Job: executions[r.job], PreviousJob: executions[r.previous],
		Version: r.version, Notified: r.notified, Retired: reasonIf(r.retired)}}
	if r.idle {
		k.record.IdleSince = time.Unix(1, 0)
	}
	if r.job != 0 {
		k.job = w.jobRecord(r.job)
	}
	w.idleSince = r.idle
	w.session = restoredSession(k, modelLimits, 0)
	w.actor = actorRestores
	w.add(task{kind: restoreTask})
}

// reasonIf returns the reason of a retirement or an abort, or "" if there is none.
func reasonIf(given bool) string {
	if given {
		return "a reason"
	}
	return ""
}

func (w *modelState) jobRecord(n int8) msg.JobRecord {
	j := w.job(n)
	rec := msg.JobRecord{Job: msg.Job{Execution: executions[n]}, Stage: j.stage, Unstarted: j.unstarted, Delivered: j.delivered, HandOuts: int(j.handOuts),
		Abort: reasonIf(j.abort), HasResult: j.hasResult, Stopped: j.stopped, Ending: msg.Ending{Outcome: j.outcome}}
	if j.ours {
		rec.Executor = modelExecutor
	}
	return rec
}

func (w *modelState) clone() *modelState {
	c := *w
	c.tasks = slices.Clone(w.tasks)
	c.slot.inbox = slices.Clone(w.slot.inbox)
	c.gateway.queue = slices.Clone(w.gateway.queue)
	c.gateway.requests = slices.Clone(w.gateway.requests)
	return &c
}

func (w *modelState) add(t task) { w.tasks = append(w.tasks, t) }

// isDone reports whether the job has its ending in the spool, or was not offered, or is another executor's.
func (j jobFacts) isDone() bool {
	return j.where == notOffered || j.where == elsewhere || j.stage >= msg.Ended
}

// isGoal reports whether every job is done, and the executor is either removed or idle, also in the dispatcher's view.
func isGoal(w *modelState) bool {
	for _, j := range w.jobs {
		if !j.isDone() {
			return false
		}
	}
	return w.actor == actorGone || w.actor == nothingLeft || w.actor == actorRuns && w.session.state == idle && w.slot.state == slotIdle
}
