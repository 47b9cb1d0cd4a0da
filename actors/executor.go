package actors

import (
	"time"

	"runnerd/actors/actorrt"
	"runnerd/infra/driver"
	msg "runnerd/messages"
)

// ExecutorDeps is what the dispatcher and its executors work with.
type ExecutorDeps struct {
	Spool     Spool
	Driver    driver.Driver
	Gateway   Gateway
	Keyring   Keyring
	NewFilter func(secrets []msg.Secret, midline bool) Filter
	NewID     func() msg.ExecutorID
	Limits    msg.ExecutorLimits
	DiskLimit int64 // bytes that an executor may write; zero: no limit
	LogLimit  int64 // bytes that are kept of a job's log; zero: all
	FilesOnly bool  // the driver's executors cannot reach the gateway's Secrets API
}

// complete is an executor's actor at work on one message.
type turn = actorrt.Ctx[msg.ToExecutor]

// executor is one container for its whole life, from before its create until nothing of it is left. Its session decides; the actor
// brings it every message, and does what follows (executor_effects.go).
//
// A crash of this actor leaves the container alone: the next one finds out from the spool, the engine and the gateway where
// it stands, and goes on.
type executor struct {
	ExecutorDeps
	id         msg.ExecutorID
	dispatcher msg.Receiver[msg.ToDispatcher]
	reporter   msg.Receiver[msg.ToReporter]
	logs       *logAttributor // guarded by its own mutex
	returned   bool           // the runner was away since the actor before

	// Owned by Receive.
	session         session
	record          msg.ExecutorRecord // as far as it never changes, and its image
	seq             uint64             // of the newest assignment
	idleSince       time.Time          // zero: it has had a job since
	exitedAt        time.Time
	readsSince      time.Time // zero: its output is not being read
	checkingDisk    bool      // its disk is measured, or will be
	diskCheckFailed bool      // and could not be
	pullTask        actorrt.Task
	failures        map[msg.Retry]int // times in a row
	pendingResults  map[msg.RequestID]storeResult
}

// Executor is the actor of one executor: a new one, or one that the spool has a record of. returned: the runner was away since, not
// only its actor. seq is the number of its newest assignment.
func Executor(deps ExecutorDeps, rec msg.ExecutorRecord, seq uint64, returned bool, dispatcher msg.Receiver[msg.ToDispatcher], reporter msg.Receiver[msg.ToReporter]) actorrt.Spec[msg.ToExecutor] {
	actor := newExecutor(deps, rec, seq, returned, dispatcher, reporter)
	return actorrt.Spec[msg.ToExecutor]{Name: string(rec.ID), New: func() actorrt.Behavior[msg.ToExecutor] { return actor }}
}

func newExecutor(deps ExecutorDeps, rec msg.ExecutorRecord, seq uint64, returned bool, dispatcher msg.Receiver[msg.ToDispatcher], reporter msg.Receiver[msg.ToReporter]) *executor {
	return &executor{ExecutorDeps: deps, id: rec.ID, record: rec, seq: seq, returned: returned, dispatcher: dispatcher, reporter: reporter,
		failures: map[msg.Retry]int{}, pendingResults: map[msg.RequestID]storeResult{},
		logs: &logAttributor{spool: deps.Spool, executor: rec.ID, newFilter: deps.NewFilter, limit: deps.LogLimit}}
}

// Start looks in the spool: an executor that has a record there has lived before.
func (e *executor) Start(c *turn) {
	for _, rec := range e.Spool.Executors() {
		if rec.ID == e.id {
			e.record, e.idleSince = rec, rec.IdleSince
			job, _ := e.Spool.Job(rec.Job)
			e.session = restoredSession(spoolState{record: rec, job: job, returned: e.returned, now: time.Now()}, e.Limits, e.DiskLimit)
			e.setSubject(c)
			e.restore(c)
			return
		}
	}
	e.session = newSession(e.record, e.Limits, e.DiskLimit)
	e.begin(c, false)
}

func (e *executor) begin(c *turn, hasFile bool) {
	var effects []effect
	e.session, effects = begin(e.session, hasFile)
	e.do(c, effects)
}

func (e *executor) setSubject(c *turn) {
	if e.session.job.stage != noJob {
		c.SetSubject(string(e.session.job.Execution))
	}
}

// Receive lets the session decide. What it need not know is dealt with here: output, and what is measured.
func (e *executor) Receive(c *turn, m msg.ToExecutor) {
	e.setSubject(c)
	switch m := m.(type) {
	case msg.Assign:
		c.SetSubject(string(m.Job.Execution))
		e.seq = m.Seq
	case msg.Restored:
		e.restored(c, m)
		return
	case msg.Pulled:
		e.record.ImageID = m.Image
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
		e.logEnded(c, m)
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
		e.warn(c).Err(m.Err).Msg("could not update the executor's record: a restart would not know of its last change")
	case msg.RetryDue:
		e.repeat(c, m.What)
	default: // only the session's
	}
	e.succeeded(m)
	e.step(c, m)
}

func (e *executor) step(c *turn, m msg.ToExecutor) {
	var effects []effect
	e.session, effects = step(e.session, m)
	e.do(c, effects)
}

func (e *executor) do(c *turn, effects []effect) {
	for _, one := range effects {
		one.do(e, c)
	}
}

// succeeded ends the count of failures of a call.
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

func (e *executor) restored(c *turn, m msg.Restored) {
	if m.Err != nil {
		retryLater{msg.RetryRestore, m.Err}.do(e, c)
		return
	}
	e.begin(c, m.HasFile)
}
