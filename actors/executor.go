package actors

import (
	"time"

	"runnerd/actors/actorrt"
	"runnerd/infra/driver"
	msg "runnerd/messages"
)

// ExecutorDeps are the dependencies of the dispatcher and its executors.
type ExecutorDeps struct {
	Spool     Spool
	Driver    driver.Driver
	Gateway   Gateway
	Keyring   Keyring
	NewFilter func(secrets []msg.Secret, midline bool) Filter
	NewID     func() msg.ExecutorID
	Limits    msg.ExecutorLimits
	DiskLimit int64 // bytes that an executor may write; zero: no limit
	LogLimit  int64 // bytes of a job's log that are stored; zero: no limit
	FilesOnly bool  // the driver's executors cannot reach the gateway's Secrets API
}

// executorCtx is the context of an executor's actor.
type executorCtx = actorrt.Ctx[msg.ToExecutor]

// executor is the actor of one container, from before the container is created until everything of it is removed. Its session decides: the
// actor passes it each message and carries out the effects (executor_effects.go).
//
// A crash of the actor does not touch the container: the next actor restores the session from the spool, the engine and the gateway.
type executor struct {
	ExecutorDeps
	id              msg.ExecutorID
	dispatcher      msg.Receiver[msg.ToDispatcher]
	reporter        msg.Receiver[msg.ToReporter]
	logs            *logAttributor // guarded by its own mutex
	runnerRestarted bool           // the runner has restarted since the previous actor

	// Owned by Receive.
	session         session
	record          msg.ExecutorRecord // as it was when the actor started, except for the image
	seq             uint64             // of the newest assignment
	idleSince       time.Time          // zero: not idle
	exitedAt        time.Time
	readsSince      time.Time // zero: its output is not being read
	checkingDisk    bool      // a disk check is scheduled or running
	diskCheckFailed bool      // the last disk check failed
	assignedAt      time.Time // when its newest job was assigned
	pulledAt        time.Time // when its image was available; zero: before this actor started
	pullTask        actorrt.Task
	failures        map[msg.Retry]int // times in a row
	pendingResults  map[msg.RequestID]storeResult
}

// Executor returns the actor of a new executor, or of one that has a record in the spool. runnerRestarted: not only the actor but the
// runner has restarted since the record was written. seq is the number of its newest assignment.
func Executor(deps ExecutorDeps, rec msg.ExecutorRecord, seq uint64, runnerRestarted bool, dispatcher msg.Receiver[msg.ToDispatcher], reporter msg.Receiver[msg.ToReporter]) actorrt.Spec[msg.ToExecutor] {
	actor := newExecutor(deps, rec, seq, runnerRestarted, dispatcher, reporter)
	return actorrt.Spec[msg.ToExecutor]{Name: string(rec.ID), New: func() actorrt.Behavior[msg.ToExecutor] { return actor }}
}

func newExecutor(deps ExecutorDeps, rec msg.ExecutorRecord, seq uint64, runnerRestarted bool, dispatcher msg.Receiver[msg.ToDispatcher], reporter msg.Receiver[msg.ToReporter]) *executor {
	return &executor{ExecutorDeps: deps, id: rec.ID, record: rec, seq: seq, runnerRestarted: runnerRestarted, dispatcher: dispatcher, reporter: reporter,
		failures: map[msg.Retry]int{}, pendingResults: map[msg.RequestID]storeResult{},
		logs: &logAttributor{spool: deps.Spool, executor: rec.ID, newFilter: deps.NewFilter, limit: deps.LogLimit}}
}

// Start restores the session if the spool has a record of the executor, and begins a new one otherwise.
func (e *executor) Start(c *executorCtx) {
	for _, rec := range e.Spool.Executors() {
		if rec.ID == e.id {
			e.record, e.idleSince = rec, rec.IdleSince
			job, _ := e.Spool.Job(rec.Job)
			e.session = restoredSession(spoolState{record: rec, job: job, runnerRestarted: e.runnerRestarted, now: time.Now()}, e.Limits, e.DiskLimit)
			e.setSubject(c)
			e.restore(c)
			return
		}
	}
	e.session = newSession(e.record, e.Limits, e.DiskLimit)
	e.begin(c, false)
}

func (e *executor) begin(c *executorCtx, hasFile bool) {
	var effects []effect
	e.session, effects = begin(e.session, hasFile)
	e.do(c, effects)
}

func (e *executor) setSubject(c *executorCtx) {
	if e.session.job.handOut != noJob {
		c.SetSubject(string(e.session.job.Execution))
	}
}

// Receive passes each message to the session, and first does what the session does not decide: it keeps times and records, and handles
// output and measurements.
func (e *executor) Receive(c *executorCtx, m msg.ToExecutor) {
	e.setSubject(c)
	switch m := m.(type) {
	case msg.Assign:
		c.SetSubject(string(m.Job.Execution))
		e.seq, e.assignedAt = m.Seq, time.Now()
	case msg.Restored:
		e.restored(c, m)
		return
	case msg.Pulled:
		e.record.ImageID, e.pulledAt = m.Image, time.Now()
	case msg.Launched:
		if m.Err == nil {
			e.recordStart(c)
		}
	case msg.HandOutDone:
		if m.Err == nil {
			e.idleSince = time.Time{}
		}
	case msg.Exited:
		e.exitedAt = time.Now()
	case msg.Examined:
		e.reportClosed(m.Closed)
	case msg.Removed:
		e.reportClosed(m.Closed)
	case msg.JobEnded:
		e.logJobEnd(c, m)
	case msg.LogsStarted:
		e.readsSince = time.Now()
	case msg.LogsEnded:
		e.readsSince = time.Time{}
	case msg.LogWritten:
		e.logWritten(c, m)
	case msg.LateOutput:
		e.warn(c).Int("bytes", m.Bytes).Msg("dropped output that an idle executor wrote after the log of its last job was closed")
	case msg.LogCloseDue:
		e.closeLog(c, m)
	case msg.LogClosed:
		e.logClosed(c, m)
	case msg.ProcessCount:
		e.processesCounted(c, m)
	case msg.CheckDiskDue:
		e.checkDisk(c)
	case msg.DiskMeasured:
		e.diskChecked(c, m)
	case msg.RecordNotUpdated:
		e.warn(c).Err(m.Err).Msg("could not update the executor's record; a restart will miss its last change")
	case msg.RetryDue:
		e.retryDue(c, m.What)
	default: // for the session only
	}
	e.succeeded(m)
	e.step(c, m)
}

func (e *executor) step(c *executorCtx, m msg.ToExecutor) {
	var effects []effect
	e.session, effects = step(e.session, m)
	e.do(c, effects)
}

func (e *executor) do(c *executorCtx, effects []effect) {
	for _, one := range effects {
		one.do(e, c)
	}
}

// succeeded resets the failure count of the call whose outcome is m, unless that is an error.
func (e *executor) succeeded(m msg.ToExecutor) {
	var what msg.Retry
	var err error
	switch m := m.(type) {
	case msg.Found:
		what, err = msg.RetryFind, m.Err
	case msg.SecretRequested:
		what = msg.RetryRequests
	case msg.LogWritten:
		what = msg.RetryLogs
	case msg.VersionRecorded:
		what, err = msg.RetryNotify, m.Err
	case msg.FileRead:
		what, err = msg.RetryFile, m.Err
	case msg.JobEnded:
		what, err = msg.RetryEnding, m.Err
	case msg.Signalled:
		what, err = msg.RetryKill, m.Err
	case msg.ResultStored:
		what, err = msg.RetryStore, m.Err
	default:
		return
	}
	if err == nil {
		delete(e.failures, what)
	}
}

func (e *executor) reportClosed(jobs []msg.ExecutionID) {
	for _, job := range jobs {
		e.reporter.Tell(msg.Report{Execution: job})
	}
}

func (e *executor) restored(c *executorCtx, m msg.Restored) {
	if m.Err != nil {
		retryLater{msg.RetryRestore, m.Err}.do(e, c)
		return
	}
	e.begin(c, m.HasFile)
}
