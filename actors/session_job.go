package actors

import (
	"errors"
	"fmt"
	"time"

	msg "runnerd/messages"
)

// An executor's job, from its assignment to its ending.

// maxPythonJobs is how many jobs an unmodified daemon of the Python SDK takes at most: it nests one more open watch with each, and
// fails at about 320 (rule 14).
const maxPythonJobs = 200

// pollTimeout is how long a warm executor that has a job, or may be given one, may take to ask for it. Another one may be quicker then:
// the SDKs wait up to half a minute between their attempts.
const pollTimeout = 2 * time.Second

func (t *transition) assign(job msg.Job) {
	switch {
	case t.job.stage != noJob:
		return // it knows
	case t.retire != "" || t.state == stopping || t.state == exited:
		t.tell(msg.JobReturned{Executor: t.id, Execution: job.Execution, Reason: t.retire})
		t.stop(t.retire)
		return
	}
	t.job = openJob{Job: job, stage: assigned}
	switch {
	case t.state == pulling:
		t.busy = true
		t.do(prepare{})
	case t.poll != 0:
		t.handOutIfPolled()
	case t.isWarm():
		t.expectPoll()
	}
}

// isWarm reports whether the job can be moved without a loss: its plugin has asked for one before.
func (t *transition) isWarm() bool { return t.state == finishing || t.state == idle }

func (t *transition) expectPoll() { t.do(startTimer{pollTimer, pollTimeout, msg.PollDue{}}) }

// pollDue moves the job of a warm executor that does not ask for it to another one, and lets its slot be had by a job that waits.
// One whose plugin is still busy after its last job is left its time for that.
func (t *transition) pollDue() {
	if t.poll != 0 || !t.isWarm() {
		return
	}
	if t.job.stage == assigned && t.job.ending == nil {
		t.returnJob(fmt.Sprintf("it did not ask for its job within %v", pollTimeout))
	}
	if t.job.stage == noJob && t.polled {
		t.do(notPolling{})
	}
}

// returnJob returns a job that was not handed out.
func (t *transition) returnJob(why string) {
	t.tell(msg.JobReturned{Executor: t.id, Execution: t.job.Execution, Reason: why})
	t.job = openJob{}
}

// handOutIfPolled hands the job out to the GET that waits.
func (t *transition) handOutIfPolled() {
	if t.poll == 0 || t.job.stage != assigned || t.job.ending != nil {
		return
	}
	t.startHandOut()
}

func (t *transition) startHandOut() {
	t.job.stage = handingOut
	t.do(cancelTimer{pollTimer})
	t.limit(t.limits.PickUp)
	t.do(handOut{request: t.poll, execution: t.job.Execution})
}

func (t *transition) handOutDone(m msg.HandOutDone) {
	if t.job.Execution != m.Execution {
		return
	}
	if t.job.stage != handingOut { // its plugin was quicker than this answer
		t.job.handOuts = max(t.job.handOuts, m.HandOuts)
		return
	}
	switch {
	case m.Err == nil:
		delivered := t.job.delivered
		t.markHandedOut()
		t.job.handOuts = max(t.job.handOuts, m.HandOuts) // other executors may have had it before
		if delivered {
			t.delivered(m.Execution)
		}
		t.startDelivery()
		if t.mode == msg.Files && t.state != exited {
			t.launch(m.Env)
		}
		t.abortIfAsked()
		t.readOrServe()
	case t.job.unstarted:
		t.job.stage, t.job.delivered = handedOut, false
		t.pending = append(t.pending, msg.SecretRequested{Request: m.Request})
		t.abortIfAsked()
		t.retry(msg.RetryFile, m.Err)
	default:
		t.job.stage = assigned
		t.notHandedOut(m)
	}
}

// readOrServe goes on with the requests that came while the job was being handed out.
func (t *transition) readOrServe() {
	if len(t.pending) > 0 {
		t.readResultFile()
	}
}

func (t *transition) notHandedOut(m msg.HandOutDone) {
	defer t.servePending()
	switch {
	case m.Unreadable:
		t.conclude(msg.Ending{Outcome: msg.Failed, Message: fmt.Sprintf("the job cannot be run: %v", m.Err)})
	case t.job.abort != "":
		t.abortIfAsked()
	case errors.Is(m.Err, msg.ErrNotPolling) && t.mode != msg.Files:
		if t.state == idle && t.poll == 0 {
			t.pollLost()
		}
		switch {
		case t.poll != 0: // its loss was not heard of yet, or another one has come since
			t.retry(msg.RetryHandOut, m.Err)
		case t.isWarm():
			t.limit(t.limitOf(t.state))
			t.expectPoll()
		}
	case t.jobs > 0:
		t.stop(fmt.Sprintf("it did not take its job: %v", m.Err))
	default:
		t.conclude(msg.Ending{Outcome: msg.Failed, Message: fmt.Sprintf("the job cannot be handed out: %v", m.Err)})
	}
}

// markHandedOut: from here on the job is this executor's and nobody else's.
func (t *transition) markHandedOut() {
	j := &t.job
	j.stage, j.unstarted, j.delivered = handedOut, false, t.mode == msg.Files
	j.handOuts++
	if t.last != j.Execution {
		t.before, t.last = t.last, j.Execution
		t.jobs++
	}
	t.poll, t.polled = 0, false
	t.notification.due, t.notification.sent, t.notification.calledBack, t.notification.gaveUp = false, false, false, false
	if t.state != running && t.state != exited { // its end was quicker than the journal
		t.enter(running)
	}
}

// conclude ends the job without a result of its plugin's, unless one came first.
func (t *transition) conclude(ending msg.Ending) {
	t.job.ending = &ending
	t.endJob()
}

func (t *transition) endJob() {
	t.do(endJob{
		execution: t.job.Execution, ending: *t.job.ending, handedOut: t.job.stage == handedOut,
		quote: t.job.ending.Outcome == msg.Failed && t.state != pulling,
	})
}

func (t *transition) jobEnded(m msg.JobEnded) {
	switch asked := m.Ending.Outcome == msg.Aborted || m.Ending.Outcome == msg.TimedOut; {
	case t.job.Execution != m.Execution || t.job.stop != nil:
	case m.Err != nil && !m.Removed:
		t.retry(msg.RetryEnding, m.Err)
	case asked && t.state == running:
		t.takeNoMore("its job was " + string(m.Ending.Outcome))
		t.job.ending = &m.Ending
		t.stopJob(m.HasResult)
	default:
		t.jobOver()
	}
}

// jobOver: the job has its ending in the spool. What is left is the executor's own future.
func (t *transition) jobOver() {
	over := t.job.Execution
	if t.job.stop != nil {
		t.do(jobStopped{over})
	}
	t.job = openJob{}
	t.do(cancelTimer{deliveryTimer})
	t.do(report{msg.Report{Execution: over, ExecutorDone: true}})
	t.tell(msg.JobOver{Executor: t.id, Execution: over})
	switch t.state {
	case running:
		t.enter(finishing)
		t.delayNotify(notifyDelay)
		t.scheduleNotify()
		if t.retire != "" {
			t.stop(t.retire)
		}
		if !t.reading {
			t.servePending()
		}
	case finishing, idle: // it was assigned and could not be run
		if t.poll != 0 {
			t.becomeIdle()
		}
	case fresh, pulling, starting:
		t.stop("its job ended before it was handed out")
	case stopping:
		t.signal(killStep)
	case exited:
		if t.logsEnded { // else the examination removes it, when the rest of its output is read
			t.do(remove{})
		}
	}
}

// becomeIdle: the executor's GET waits, and it has no job.
func (t *transition) becomeIdle() {
	switch {
	case t.retire != "":
		t.stop(t.retire)
		return
	case t.mode != msg.Daemon:
		t.stop("it was started for one job only")
		return
	case t.sdk == msg.PythonSDK && t.jobs >= maxPythonJobs:
		t.stop(fmt.Sprintf("it has run %d jobs, as many as the Python SDK tolerates", t.jobs))
		return
	}
	if t.state != idle {
		t.enter(idle)
	}
	t.do(isIdle{t.last})
}

func (t *transition) abort(execution msg.ExecutionID, reason string) {
	switch {
	case t.job.stage == noJob || t.job.Execution != execution || t.job.ending != nil:
	case t.job.stage == handingOut, !t.found: // where it stands will be known in a moment
		t.job.abort = reason
	default:
		t.conclude(msg.Ending{Outcome: msg.Aborted, Message: "aborted" + t.describeStage() + ": " + reason})
	}
}

func (t *transition) abortIfAsked() {
	if t.job.abort != "" {
		t.abort(t.job.Execution, t.job.abort)
	}
}

// describeStage says how far the executor had come with a job that no plugin has.
func (t *transition) describeStage() string {
	switch {
	case t.job.stage == handedOut:
		return ""
	case t.state == pulling:
		return " while its image was pulled"
	case t.state == starting && !t.observed:
		return " while its executor was started"
	default:
		return " before its plugin asked for it"
	}
}

// retireFor ends the executor: now, or after its job.
func (t *transition) retireFor(reason string) {
	if t.job.stage == noJob && t.found {
		t.stop(reason)
		return
	}
	t.takeNoMore(reason)
}

// takeNoMore keeps in the executor's record that its job is its last.
func (t *transition) takeNoMore(why string) {
	t.retire = why
	t.do(recordRetirement{why})
}

// diskFull is why an executor takes no more jobs. Its last one came meanwhile, and is not failed for it, also after a restart.
const diskFull = "it filled the disk"

// diskMeasured ends an executor that fills the disk, and fails its job: the others and the runner need the disk too.
func (t *transition) diskMeasured(m msg.DiskMeasured) {
	if !t.state.canHaveJob() {
		return
	}
	switch wrote := m.Bytes - t.extra; {
	case m.Err != nil || wrote <= t.diskLimit:
	case t.job.stage == noJob:
		t.stop(fmt.Sprintf("it filled the disk while it had no job: %d bytes, and it may write %d", m.Bytes, t.diskLimit))
		return
	case t.state == running && t.job.Execution == m.Execution && t.job.isOpen() && (t.retire != diskFull || t.extra > 0):
		t.takeNoMore(diskFull)
		t.conclude(msg.Ending{Outcome: msg.Failed, Message: fmt.Sprintf("the plugin has written %d bytes to disk and was stopped: "+
			"an executor may write %d. Let it write less, or raise --executor-disk", wrote, t.diskLimit)})
		return
	default: // this job came meanwhile, and may not be the one that did it
		t.extra = m.Bytes
		if t.retire == "" {
			t.takeNoMore(diskFull)
		}
	}
	t.do(checkDisk{})
}
