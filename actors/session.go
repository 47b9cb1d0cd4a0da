package actors

import (
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	msg "runnerd/messages"
)

// session is the state machine of one executor, from before its container is created until everything of it is removed. It holds
// what decisions depend on: the container's state, the job, and what the plugin was sent. It is a value. Only step changes it, without
// a clock, a file or a lock, so that tests can explore every reachable state. The rules that comments name
// by number are in docs/executor-contract.md.
type session struct {
	id        msg.ExecutorID
	mode      msg.Mode
	image     string
	limits    msg.ExecutorLimits
	diskLimit int64 // bytes that it may write; 0: no limit

	state           state
	attached        bool   // an earlier actor ran this executor
	runnerRestarted bool   // the runner restarted since, and the result file was not read yet
	inspected       bool   // the state of its container is known; always true unless attached
	creating        bool   // its directory or container is being created; a stop must wait for that
	observed        bool   // its output and its exit are being watched
	retireReason    string // why it takes no more jobs
	sdk             msg.SDK

	job          openJob
	jobs         int             // number of jobs handed out to it
	last         msg.ExecutionID // the newest job, open or not
	previous     msg.ExecutionID // the job before last
	diskBaseline int64           // bytes on disk that exceed the limit and may be from an earlier job

	poll         msg.RequestID // the GET that waits for a job; 0: none
	nextPoll     msg.RequestID // the GET that becomes poll once the result directory is cleared; 0: none
	polled       bool          // a GET has waited since the newest job got its result
	notification notification

	readingFile bool               // the result file is being read
	readAgain   bool               // it changed while it was being read
	pending     []msg.SessionEvent // requests that wait until the file is read, a hand-out is recorded, or the container is inspected

	exit             *msg.Exit
	restarted        bool // its container was restarted from outside the runner
	containerMissing bool // its container no longer existed
	slotFreed        bool // SlotFreed was sent
	logsEnded        bool
}

// openJob is the executor's job from its assignment until its ending is in the spool.
type openJob struct {
	msg.Job
	handOut       handOutState
	delivered     bool            // the plugin has received its input
	unstarted     bool            // the plugin proved that it did not start the job, and has not received it again yet
	hasResult     bool            // its result is stored, but the job is not closed yet
	abandoned     bool            // the plugin must not receive it again
	handOuts      int             // number of hand-outs
	remainingRun  time.Duration   // remaining run limit when this actor attached; 0: the whole limit
	abortReason   string          // why to abort it as soon as it is known whether it was handed out; empty: it is not aborted
	ending        *msg.Ending     // how it ends without a result
	stop          *stopSequence   // not nil: its ending is in the spool, and its plugin is being stopped
	loggedForeign bool            // a callback without a valid result was logged
	storing       []msg.RequestID // callbacks whose result is being stored
}

// handOutState says how far the executor has got with its job.
type handOutState int

const (
	noJob handOutState = iota
	assigned
	handingOut
	handedOut
)

// state is the state of an executor.
type state string

const (
	fresh     state = "" // new or just attached
	pulling   state = "pulling"
	starting  state = "starting"  // until its first GET
	running   state = "running"   // a job is handed out and has no result yet
	finishing state = "finishing" // the result is stored, and no GET waits yet; counts as running
	idle      state = "idle"
	stopping  state = "stopping"
	exited    state = "exited" // its container has exited and is being removed
)

// nextStates lists the allowed transitions. An attached executor enters the state that the spool shows. idle requires a waiting GET;
// when that is lost, the executor returns to finishing.
var nextStates = map[state][]state{
	fresh:     {pulling, starting, running, finishing, stopping, exited},
	pulling:   {starting, stopping, exited},
	starting:  {running, idle, stopping, exited},
	running:   {finishing, stopping, exited},
	finishing: {idle, running, stopping, exited},
	idle:      {running, finishing, stopping, exited},
	stopping:  {exited},
	exited:    {},
}

func (s state) mayBecome(to state) bool { return slices.Contains(nextStates[s], to) }

// canHaveJob reports whether an executor in this state may have or receive a job.
func (s state) canHaveJob() bool { return s == running || s == finishing || s == idle }

// isOpen reports whether the job is handed out and its ending is not decided yet.
func (j openJob) isOpen() bool { return j.handOut == handedOut && j.ending == nil }

// transition is a session during one step.
type transition struct {
	session
	effects []effect
}

// step returns the session after a message, and the effects to carry out.
func step(s session, m msg.ToExecutor) (session, []effect) {
	t := &transition{session: s}
	t.pending, t.notification.watches = slices.Clone(s.pending), slices.Clone(s.notification.watches)
	t.job.storing = slices.Clone(s.job.storing)
	if s.job.stop != nil {
		stop := *s.job.stop
		t.job.stop = &stop
	}
	t.receive(m)
	return t.session, t.effects
}

func (t *transition) do(e effect) { t.effects = append(t.effects, e) }

func (t *transition) receive(m msg.ToExecutor) {
	switch m := m.(type) {
	case msg.Assign:
		t.assign(m.Job)
	case msg.PollDue:
		t.pollDue()
	case msg.Retire:
		t.retire(m.Reason)
	case msg.AbortJob:
		t.abort(m.Execution, m.Reason)

	case msg.Prepared:
		t.prepared(m.Err)
	case msg.Pulled:
		t.pulled(m)
	case msg.Launched:
		t.launched(m.Err)
	case msg.Found:
		t.foundContainer(m)
	case msg.Exited:
		t.exitSeen(m)
	case msg.LogsEnded:
		t.logsRead(m)
	case msg.Examined:
		t.examined(m)
	case msg.Removed:
		t.removed(m.Err)

	case msg.SDKDetected:
		t.sdk = m.SDK
	case msg.SecretRequested, msg.SecretListed, msg.WatchOpened:
		t.requested(m.(msg.SessionEvent))
	case msg.RequestEnded:
		t.requestEnded(m.Request)
	case msg.CallbackReceived:
		t.callback(m)
	case msg.ResultFileChanged:
		t.readResultFile()
	case msg.Delivered:
		t.delivered(m.Execution)
	case msg.DeliveryDue:
		t.deliveryDue()
	case msg.RequestsLost:
		t.requestsLost(m.Err)

	case msg.HandOutDone:
		t.handOutDone(m)
	case msg.InputRead:
		t.inputRead(m)
	case msg.ResultStored:
		t.resultStored(m)
	case msg.FileRead:
		t.fileRead(m)
	case msg.ResultsCleared:
		t.resultsCleared()
	case msg.VersionRecorded:
		t.versionRecorded(m)
	case msg.JobEnded:
		t.jobEnded(m)
	case msg.StopRecorded:
		t.stopRecorded(m)
	case msg.Signalled:
		t.signalled(m)
	case msg.DiskMeasured:
		t.diskMeasured(m)

	case msg.LimitDue:
		t.limitPassed()
	case msg.NotifyDue:
		t.notification.delayed = false
		t.notify()
	case msg.StopStepDue:
		t.signal(m.Step)
	case msg.RetryDue:
		t.retryDue(m.What)
	default: // the actor has handled it
	}
}

// enter changes the state and starts its time limit.
func (t *transition) enter(to state) {
	if !t.state.mayBecome(to) {
		panic(fmt.Sprintf("executor: %q cannot become %q", t.state, to))
	}
	t.log(zerolog.DebugLevel, "executor changed state", "from", t.state, "to", to, "execution", t.job.Execution)
	t.state = to
	t.limit(t.limitOf(to))
	if to.canHaveJob() {
		t.do(checkDisk{})
	}
}

// limit sets the time limit of the current state, from now; 0 removes it.
func (t *transition) limit(d time.Duration) { t.do(startTimer{limitTimer, d, msg.LimitDue{}}) }

func (t *transition) limitOf(s state) time.Duration {
	switch s {
	case pulling:
		return t.limits.Pull
	case running:
		if t.job.remainingRun > 0 {
			return t.job.remainingRun
		}
		return t.runLimit()
	case finishing:
		return t.limits.Finish
	case fresh, starting, idle, stopping, exited: // these have none; the launch has its own
	}
	return 0
}

func (t *transition) runLimit() time.Duration { return runLimit(t.limits, t.job.Job) }

func runLimit(limits msg.ExecutorLimits, job msg.Job) time.Duration {
	if job.Timeout > 0 && (limits.Run == 0 || job.Timeout < limits.Run) {
		return job.Timeout
	}
	return limits.Run
}

// minRunTime is the least remaining run time of a job after a restart.
const minRunTime = time.Minute

// remainingRunTime returns what remains at now of the run limit of a job that was handed out at since. It uses the wall clock, the only one
// that survives a restart. If that was set back, the whole limit remains. If it was set ahead, minRunTime remains, during which a result
// that exists or is on its way is still accepted. A crash loop that is faster than minRunTime ends because the executor is given up.
func remainingRunTime(limit time.Duration, since, now time.Time) time.Duration {
	if since.IsZero() {
		return limit
	}
	return min(limit, max(limit-now.Sub(since), minRunTime))
}

// retry repeats a failed call until it succeeds, because an error says nothing about the executor.
func (t *transition) retry(what msg.Retry, err error) {
	if t.state == exited && (what == msg.RetryFind || what == msg.RetryRequests || what == msg.RetryWait || what == msg.RetryKill) {
		return
	}
	t.do(retryLater{what, err})
}

func (t *transition) retryDue(what msg.Retry) {
	switch what {
	case msg.RetryFind:
		t.do(findContainer{})
	case msg.RetryRequests:
		t.do(listen{})
	case msg.RetryLogs:
		if !t.logsEnded {
			t.do(readLogs{})
		}
	case msg.RetryWait:
		t.do(waitForExit{})
	case msg.RetryHandOut:
		t.handOutIfPolled()
	case msg.RetryNotify:
		t.notification.delayed = false
		t.notify()
	case msg.RetryFile:
		t.readResultFile()
	case msg.RetryEnding:
		if t.job.ending != nil && t.job.stop == nil { // otherwise a result arrived first, and perhaps the next job
			t.endJob()
		}
	case msg.RetryKill:
		t.signal(killStep)
	case msg.RetryExamine:
		t.examine()
	case msg.RetryRemove:
		t.do(remove{})
	case msg.RetryRestore, msg.RetryStore: // the actor repeats these because it has their arguments
	}
}

// isStoring reports whether the result that this waiting callback brought is being stored.
func (s session) isStoring(request msg.RequestID) bool {
	return slices.Contains(s.job.storing, request)
}

// log logs a constant text with fields, given as pairs of a name and a value.
func (t *transition) log(level zerolog.Level, text string, fields ...any) {
	t.do(logLine{level, text, fields})
}

// tell sends a message to the dispatcher.
func (t *transition) tell(m msg.ToDispatcher) { t.do(tellDispatcher{m}) }
