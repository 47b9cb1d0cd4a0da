package actors

import (
	"errors"
	"fmt"
	"time"

	msg "runnerd/messages"
)

// The job: assignment, hand-out and ending.

// maxPythonJobs is the maximum number of jobs of an unmodified Python SDK daemon. It calls itself for each job, three stack frames deeper
// each time, and fails at about 320 (rule 14). So two thirds of Python's 1,000 frames remain for the task.
const maxPythonJobs = 100

// pollTimeout is how long a warm executor may take to ask for its job. After that another executor may be faster, because the SDKs wait up
// to half a minute between attempts.
const pollTimeout = 2 * time.Second

func (t *transition) assign(job msg.Job) {
	switch {
	case t.job.handOut != noJob:
		return // a repeated assignment
	case t.retireReason != "" || t.state == stopping || t.state == exited:
		t.tell(msg.JobReturned{Executor: t.id, Execution: job.Execution, Reason: t.retireReason})
		t.stop(t.retireReason)
		return
	}
	t.job = openJob{Job: job, handOut: assigned}
	switch {
	case t.state == pulling:
		t.creating = true
		t.do(prepare{})
	case t.poll != 0:
		t.handOutIfPolled()
	case t.isWarm():
		t.expectPoll()
	}
}

// isWarm reports whether the plugin has asked for a job before, so that its job can move to another executor at no cost.
func (t *transition) isWarm() bool { return t.state == finishing || t.state == idle }

func (t *transition) expectPoll() { t.do(startTimer{pollTimer, pollTimeout, msg.PollDue{}}) }

// pollDue handles a warm executor that does not ask for a job: its job moves to another one, and its slot may go to a waiting job. An
// executor whose plugin has not asked since its last job keeps its slot: the plugin may still be busy with that job.
func (t *transition) pollDue() {
	if t.poll != 0 || !t.isWarm() {
		return
	}
	if t.job.handOut == assigned && t.job.ending == nil {
		t.returnJob(fmt.Sprintf("executor did not ask for its job within %v", pollTimeout))
	}
	if t.job.handOut == noJob && t.polled {
		t.do(tellNotPolling{})
	}
}

// returnJob gives a job that was not handed out back to the dispatcher.
func (t *transition) returnJob(why string) {
	t.tell(msg.JobReturned{Executor: t.id, Execution: t.job.Execution, Reason: why})
	t.job = openJob{}
}

// handOutIfPolled hands the job out if a GET waits.
func (t *transition) handOutIfPolled() {
	if t.poll == 0 || t.job.handOut != assigned || t.job.ending != nil {
		return
	}
	t.startHandOut()
}

func (t *transition) startHandOut() {
	t.job.handOut = handingOut
	t.do(cancelTimer{pollTimer})
	t.limit(t.limits.PickUp)
	t.do(handOut{request: t.poll, execution: t.job.Execution})
}

func (t *transition) handOutDone(m msg.HandOutDone) {
	if t.job.Execution != m.Execution {
		return
	}
	if t.job.handOut != handingOut { // the plugin acted before this message arrived
		t.job.handOuts = max(t.job.handOuts, m.HandOuts)
		return
	}
	switch {
	case m.Err == nil:
		delivered := t.job.delivered
		t.markHandedOut()
		t.job.handOuts = max(t.job.handOuts, m.HandOuts) // it may have been handed out to other executors before
		if delivered {
			t.delivered(m.Execution)
		}
		t.startDelivery()
		if t.mode == msg.Files && t.state != exited {
			t.launch(m.Env)
		}
		t.abortIfRequested()
		t.readOrServe()
	case t.job.unstarted:
		t.job.handOut, t.job.delivered = handedOut, false
		t.pending = append(t.pending, msg.SecretRequested{Request: m.Request})
		t.abortIfRequested()
		t.retry(msg.RetryFile, m.Err)
	default:
		t.job.handOut = assigned
		t.handOutFailed(m)
	}
}

// readOrServe continues with the requests that arrived while the job was being handed out.
func (t *transition) readOrServe() {
	if len(t.pending) > 0 {
		t.readResultFile()
	}
}

func (t *transition) handOutFailed(m msg.HandOutDone) {
	defer t.servePending()
	switch {
	case m.Unreadable:
		t.endWithoutResult(msg.Ending{Outcome: msg.Failed, Message: fmt.Sprintf("the job cannot be run: %v", m.Err)})
	case t.job.abortReason != "":
		t.abortIfRequested()
	case errors.Is(m.Err, msg.ErrNotPolling) && t.mode != msg.Files:
		if t.state == idle && t.poll == 0 {
			t.pollLost()
		}
		switch {
		case t.poll != 0: // its end was not reported yet, or a newer one arrived
			t.retry(msg.RetryHandOut, m.Err)
		case t.isWarm():
			t.limit(t.limitOf(t.state))
			t.expectPoll()
		}
	case t.jobs > 0:
		t.stop(fmt.Sprintf("job could not be handed out: %v", m.Err))
	default:
		t.endWithoutResult(msg.Ending{Outcome: msg.Failed, Message: fmt.Sprintf("the job could not be handed out: %v", m.Err)})
	}
}

// markHandedOut makes the job this executor's: from here on it must not go to any other.
func (t *transition) markHandedOut() {
	j := &t.job
	j.handOut, j.unstarted, j.delivered = handedOut, false, t.mode == msg.Files
	j.handOuts++
	if t.last != j.Execution {
		t.previous, t.last = t.last, j.Execution
		t.jobs++
	}
	t.poll, t.polled = 0, false
	t.notification.due, t.notification.sent, t.notification.calledBack, t.notification.gaveUp = false, false, false, false
	if t.state != running && t.state != exited { // exited: the container exited before the hand-out was recorded
		t.enter(running)
	}
}

// endWithoutResult ends the job with this ending, unless its result is stored first.
func (t *transition) endWithoutResult(ending msg.Ending) {
	t.job.ending = &ending
	t.endJob()
}

func (t *transition) endJob() {
	t.do(endJob{
		execution: t.job.Execution, ending: *t.job.ending, handedOut: t.job.handOut == handedOut,
		quote: t.job.ending.Outcome == msg.Failed && t.state != pulling,
	})
}

func (t *transition) jobEnded(m msg.JobEnded) {
	switch stopRequested := m.Ending.Outcome == msg.Aborted || m.Ending.Outcome == msg.TimedOut; {
	case t.job.Execution != m.Execution || t.job.stop != nil:
	case m.Err != nil && !m.Removed:
		t.retry(msg.RetryEnding, m.Err)
	case stopRequested && t.state == running:
		t.retireAfterJob("its job was " + string(m.Ending.Outcome))
		t.job.ending = &m.Ending
		t.stopJob(m.HasResult)
	default:
		t.closeJob()
	}
}

// closeJob is called when the job's ending is in the spool. It reports that and decides what the executor does next.
func (t *transition) closeJob() {
	execution := t.job.Execution
	if t.job.stop != nil {
		t.do(logStopped{execution})
	}
	t.job = openJob{}
	t.do(cancelTimer{deliveryTimer})
	t.do(tellReporter{msg.Report{Execution: execution, ExecutorDone: true}})
	t.tell(msg.JobDone{Executor: t.id, Execution: execution})
	switch t.state {
	case running:
		t.enter(finishing)
		t.delayNotify(notifyDelay)
		t.scheduleNotify()
		if t.retireReason != "" {
			t.stop(t.retireReason)
		}
		if !t.readingFile {
			t.servePending()
		}
	case finishing, idle: // the job was assigned and could not be run
		if t.poll != 0 {
			t.becomeIdle()
		}
	case fresh, pulling, starting:
		t.stop("job ended before it was handed out")
	case stopping:
		t.signal(killStep)
	case exited:
		if t.logsEnded { // otherwise it is removed once the rest of its output is read
			t.do(remove{})
		}
	}
}

// becomeIdle is called when a GET waits and there is no job. It stops an executor that must not take another one.
func (t *transition) becomeIdle() {
	switch {
	case t.retireReason != "":
		t.stop(t.retireReason)
		return
	case t.mode != msg.Daemon:
		t.stop("executor was started for one job only")
		return
	case t.sdk == msg.PythonSDK && t.jobs >= maxPythonJobs:
		t.stop(fmt.Sprintf("executor has run %d jobs, the maximum for the Python SDK", t.jobs))
		return
	}
	if t.state != idle {
		t.enter(idle)
	}
	t.do(tellIdle{t.last})
}

func (t *transition) abort(execution msg.ExecutionID, reason string) {
	switch {
	case t.job.handOut == noJob || t.job.Execution != execution || t.job.ending != nil:
	case t.job.handOut == handingOut, !t.inspected: // whether it was handed out will be known in a moment
		t.job.abortReason = reason
	default:
		t.endWithoutResult(msg.Ending{Outcome: msg.Aborted, Message: "aborted" + t.describeHandOut() + ": " + reason})
	}
}

func (t *transition) abortIfRequested() {
	if t.job.abortReason != "" {
		t.abort(t.job.Execution, t.job.abortReason)
	}
}

// describeHandOut says how far a job that was not handed out had got.
func (t *transition) describeHandOut() string {
	switch {
	case t.job.handOut == handedOut:
		return ""
	case t.state == pulling:
		return " while its image was being pulled"
	case t.state == starting && !t.observed:
		return " while its executor was being started"
	default:
		return " before its plugin asked for it"
	}
}

// retire ends the executor: at once if it has no job, else after its job.
func (t *transition) retire(reason string) {
	if t.job.handOut == noJob && t.inspected {
		t.stop(reason)
		return
	}
	t.retireAfterJob(reason)
}

// retireAfterJob records that the executor takes no more jobs.
func (t *transition) retireAfterJob(why string) {
	t.retireReason = why
	t.do(recordRetirement{why})
}

// diskFull is the retirement reason of an executor that exceeded its disk limit. If it did so before its present job came, that job does not
// fail for it, not even after a restart.
const diskFull = "executor exceeded its disk limit"

// diskMeasured fails the job and ends the executor if it exceeds its disk limit: the runner and the other executors need the disk too.
func (t *transition) diskMeasured(m msg.DiskMeasured) {
	if !t.state.canHaveJob() {
		return
	}
	switch wrote := m.Bytes - t.diskBaseline; {
	case m.Err != nil || wrote <= t.diskLimit:
	case t.job.handOut == noJob:
		t.stop(fmt.Sprintf("executor exceeded its disk limit while it had no job: it wrote %d bytes, the limit is %d bytes", m.Bytes, t.diskLimit))
		return
	case t.state == running && t.job.Execution == m.Execution && t.job.isOpen() && (t.retireReason != diskFull || t.diskBaseline > 0):
		t.retireAfterJob(diskFull)
		t.endWithoutResult(msg.Ending{Outcome: msg.Failed, Message: fmt.Sprintf("the plugin has written %d bytes to disk and was stopped: "+
			"the limit is %d bytes. Let it write less, or raise --executor-disk", wrote, t.diskLimit)})
		return
	default: // an earlier job may have written that
		t.diskBaseline = m.Bytes
		if t.retireReason == "" {
			t.retireAfterJob(diskFull)
		}
	}
	t.do(checkDisk{})
}
