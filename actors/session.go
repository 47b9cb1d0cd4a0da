package actors

import (
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	msg "runnerd/messages"
)

// session is everything that one executor's decisions depend on, from before its container is created until nothing of it is
// left: the container's life, the job, and what the plugin has been told. It is a value. step is the only code that changes it,
// without a clock, a file or a lock, so that tests can explore every state that it can reach. The rules by number are in
// docs/executor-contract.md.
type session struct {
	id        msg.ExecutorID
	mode      msg.Mode
	image     string
	limits    msg.ExecutorLimits
	diskLimit int64 // bytes that it may write; 0: no limit

	state    state
	attached bool   // it has lived before this actor
	returned bool   // and the runner was away since: its result file was not looked at yet
	found    bool   // what the engine has of its container is known; always, unless attached
	busy     bool   // its directory or its container is being made, which must not be overtaken
	observed bool   // its output and its exit are followed
	retire   string // why it takes no more jobs
	sdk      msg.SDK

	job    openJob
	jobs   int             // handed out to it so far
	last   msg.ExecutionID // the newest of them, open or not
	before msg.ExecutionID // the one before that
	extra  int64           // bytes on disk, too many, that its last job need not have written

	poll   msg.RequestID // the GET that waits for a job; 0: none does
	next   msg.RequestID // the GET that will wait, once the result directory is clear
	polled bool          // a GET has waited since the result of last
	notice notice

	reading   bool               // the result file is being read
	readAgain bool               // it has changed since
	pending   []msg.SessionEvent // requests that are answered when it is read

	exit      *msg.Exit
	restarted bool // somebody has started another process in its container
	vanished  bool // its container was not there any more
	freed     bool // its slot, by its end
	logsEnded bool
}

// openJob is the executor's job, from its assignment until its ending is in the spool.
type openJob struct {
	msg.Job
	stage     jobStage
	delivered bool            // its plugin has its input
	unstarted bool            // its plugin has proven that it did not start, and was not given it again yet
	hasResult bool            // its result is stored, and how its stop went is being noted
	abandoned bool            // and must not be given it again
	handOuts  int             // so far
	runLeft   time.Duration   // of its run limit, when this actor came; 0: all of it
	abort     string          // why it is to be aborted, as soon as it is known where it stands
	ending    *msg.Ending     // how it is to end, whatever its plugin does now
	stop      *stopSequence   // it has that ending, and its plugin is being stopped
	blamed    bool            // a delivery that is no result was logged
	storing   []msg.RequestID // callbacks whose result is being stored
}

// jobStage is how far a job has come with its executor.
type jobStage int

const (
	noJob jobStage = iota
	assigned
	handingOut
	handedOut
)

// state is where an executor stands in its life.
type state string

const (
	fresh     state = "" // or just attached
	pulling   state = "pulling"
	starting  state = "starting"  // until its first GET
	running   state = "running"   // a job is handed out and has no result
	finishing state = "finishing" // the result is stored, the next GET does not wait yet; counts as running
	idle      state = "idle"
	stopping  state = "stopping"
	exited    state = "exited" // its container has ended; what is left of it is being removed
)

// nextStates says where each state may lead. An executor that has lived before enters where the spool sees it; idle needs a GET
// that waits, and its loss leads back to finishing.
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

// works reports whether an executor in this state may have a job, or get one.
func (s state) works() bool { return s == running || s == finishing || s == idle }

// isOpen reports whether the job was handed out and has no result.
func (j openJob) isOpen() bool { return j.stage == handedOut && j.ending == nil }

// transition is one step of a session under way.
type transition struct {
	session
	effects []effect
}

// step is what becomes of a session by a message, and what is to be done then.
func step(s session, m msg.ToExecutor) (session, []effect) {
	t := &transition{session: s}
	t.pending, t.notice.watches = slices.Clone(s.pending), slices.Clone(s.notice.watches)
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
		t.retireFor(m.Reason)
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
	case msg.ResultKept:
		t.resultKept(m)
	case msg.FileRead:
		t.fileRead(m)
	case msg.ResultsCleared:
		t.cleared()
	case msg.VersionNoted:
		t.versionNoted(m)
	case msg.JobEnded:
		t.jobEnded(m)
	case msg.StopNoted:
		t.stopNoted(m)
	case msg.Signalled:
		t.signalled(m)
	case msg.DiskMeasured:
		t.diskMeasured(m)

	case msg.LimitPassed:
		t.limitPassed()
	case msg.NotifyDue:
		t.notice.delayed = false
		t.notify()
	case msg.StopStepDue:
		t.signal(m.Step)
	case msg.RetryDue:
		t.repeat(m.What)
	default: // output, and what is measured, are the actor's
	}
}

// enter changes the state and starts its time limit.
func (t *transition) enter(to state) {
	if !t.state.mayBecome(to) {
		panic(fmt.Sprintf("executor: %q cannot become %q", t.state, to))
	}
	t.log(zerolog.DebugLevel, "executor changed state", "from", t.state, "to", to, "job", t.job.Execution)
	t.state = to
	t.limit(t.limitOf(to))
	if to.works() {
		t.do(measureDisk{})
	}
}

// limit lets the current state last no longer than d from now; 0: as long as it likes.
func (t *transition) limit(d time.Duration) { t.do(startTimer{limitTimer, d, msg.LimitPassed{}}) }

func (t *transition) limitOf(s state) time.Duration {
	switch s {
	case pulling:
		return t.limits.Pull
	case running:
		if t.job.runLeft > 0 {
			return t.job.runLeft
		}
		return t.runLimit()
	case finishing:
		return t.limits.Settle
	case fresh, starting, idle, stopping, exited: // the launch has a limit of its own
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

// runGrace is what an actor that comes to a running job leaves it at least.
const runGrace = time.Minute

// left is what remains of the limit of a job that was handed out at since, by the wall clock: it is all that a restart leaves.
// That clock may have been set meanwhile. Back: then nothing has passed. Ahead: then no more than all but the grace, in which
// a result that is there or on its way is taken first. A crash loop that is quicker than the grace is given up anyway.
func left(limit time.Duration, since, now time.Time) time.Duration {
	if since.IsZero() {
		return limit
	}
	return min(limit, max(limit-now.Sub(since), runGrace))
}

// retry repeats a call that failed for as long as it takes: an error says nothing about the executor.
func (t *transition) retry(what msg.Retry, err error) {
	if t.state == exited && (what == msg.RetryFind || what == msg.RetryRequests || what == msg.RetryWait || what == msg.RetryKill) {
		return
	}
	t.do(retryLater{what, err})
}

func (t *transition) repeat(what msg.Retry) {
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
		t.notice.delayed = false
		t.notify()
	case msg.RetryFile:
		t.readResultFile()
	case msg.RetryEnding:
		if t.job.ending != nil && t.job.stop == nil { // else a result came first, and maybe the next job
			t.endJob()
		}
	case msg.RetryKill:
		t.signal(killStep)
	case msg.RetryExamine:
		t.examine()
	case msg.RetryRemove:
		t.do(remove{})
	case msg.RetryRestore, msg.RetryStore: // the actor repeats these with what they were about
	}
}

// isStoring reports whether the result of a callback that still waits is being stored.
func (s session) isStoring(request msg.RequestID) bool {
	return slices.Contains(s.job.storing, request)
}

// log says what happened, as constant text with pairs of a name and a value.
func (t *transition) log(level zerolog.Level, text string, fields ...any) {
	t.do(logLine{level, text, fields})
}

// tell says something to the dispatcher.
func (t *transition) tell(m msg.ToDispatcher) { t.do(tellDispatcher{m}) }
