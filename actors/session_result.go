package actors

import (
	"fmt"

	"github.com/rs/zerolog"

	msg "runnerd/messages"
)

// What a plugin delivers: a result, by callback or result file, or a proof that it did not start its job.

// callback handles a POST to the callback URL of a job.
func (t *transition) callback(m msg.CallbackReceived) {
	if t.runnerRestarted && t.readingFile { // rule 8
		t.pending = append(t.pending, m)
		return
	}
	if t.job.Execution == m.Execution && t.job.handOut == handingOut && (!t.job.unstarted || m.Verdict != msg.NoResult) {
		t.markHandedOut() // the plugin acted before HandOutDone arrived
	}
	if t.job.Execution != m.Execution || t.job.handOut != handedOut {
		t.answer(m.Request, msg.Accept{})
		t.lateCallback(m)
		return
	}
	switch m.Verdict {
	case msg.IsResult:
		t.job.storing = append(t.job.storing, m.Request)
		t.do(storeResult{m.Request, m.Execution, m.Result})
	case msg.TooLarge:
		t.answer(m.Request, msg.Accept{})
		t.refuse(tooLarge(m.ReceivedBody))
	case msg.NoResult, msg.NotStarted:
		t.answer(m.Request, msg.Accept{})
		if !t.job.loggedForeign {
			t.log(zerolog.WarnLevel, "callback did not contain the job's result", "execution", m.Execution, "bytes", m.Size)
		}
		t.job.loggedForeign = true
	}
}

// lateCallback handles a callback for a job that is closed: it is late, or it is an SDK's report that it could not fetch the next job.
func (t *transition) lateCallback(m msg.CallbackReceived) {
	level := zerolog.InfoLevel
	if m.Execution == t.last { // usually the result file was merely faster
		level = zerolog.DebugLevel
	}
	t.log(level, "callback for a closed job", "execution", m.Execution)
	switch {
	case m.Execution == t.previous && m.Execution != "" && t.job.isOpen() && m.Current == t.job.Execution:
		t.proveUnstarted("an error about the job's input was posted to the callback URL of the previous job")
	case m.Execution != t.last || !t.asksForJob():
		// Nothing to do: if the plugin gave up a GET, an event is already due.
	case !t.polled && !t.notification.calledBack:
		t.notification.calledBack = true // the result file was faster
	case t.poll != 0 || t.nextPoll != 0:
		t.notification.gaveUp = true
	default:
		t.scheduleNotify()
	}
}

// resultStored answers the callback once its result is stored (rule 9).
func (t *transition) resultStored(m msg.ResultStored) {
	if m.Err != nil {
		t.do(retryStore{storeResult{m.Request, m.Execution, m.Result}, m.Err})
		return
	}
	t.answer(m.Request, msg.Accept{})
	if m.Stored {
		t.acceptResult(m.Execution, m.Result)
	}
}

// acceptResult is called when the result of the open job is in the spool.
func (t *transition) acceptResult(of msg.ExecutionID, result msg.Result) {
	if t.job.Execution != of || t.job.handOut != handedOut || t.job.hasResult {
		return
	}
	t.job.hasResult = true
	t.log(zerolog.DebugLevel, "result stored", "execution", of, "via", result.Via, "exit", result.ExitCode)
	t.do(cancelTimer{deliveryTimer})
	t.job.unstarted = false
	switch {
	case t.job.stop != nil:
		t.recordStop(true)
	case t.state == exited: // the examination finds it in the spool
	default:
		t.closeJob()
	}
}

// readResultFile reads the result file of the open job. The plugin may be writing to it.
func (t *transition) readResultFile() {
	switch {
	case t.job.handOut != handedOut || t.state == exited:
		t.servePending()
	case t.readingFile:
		t.readAgain = true
	default:
		t.readingFile = true
		t.do(readFile{execution: t.job.Execution, previous: t.previous})
	}
}

func (t *transition) fileRead(m msg.FileRead) {
	t.readingFile = false
	defer t.resumeStop()
	if m.Execution == t.job.Execution && t.job.handOut == handedOut && t.state != exited {
		switch {
		case m.Err != nil:
			t.readAgain = false
			t.retry(msg.RetryFile, m.Err)
			return
		case m.Stored:
			if t.runnerRestarted {
				t.retireAfterJob(retiredAfterRestart)
			}
			t.acceptResult(m.Execution, m.Result)
		case m.Verdict == msg.NotStarted:
			t.proveUnstarted(notStartedProof)
		case m.Verdict == msg.TooLarge:
			t.refuse(tooLarge(m.ReceivedBody))
		}
	}
	t.runnerRestarted = false
	if t.readAgain {
		t.readAgain = false
		t.readResultFile()
		return
	}
	t.servePending()
}

// retiredAfterRestart is the retirement reason of an executor whose result was found in its file after a restart of the runner: its plugin
// may be about to ask for the old job (rule 8).
const retiredAfterRestart = "its result was found in the result file after a restart of the runner"

func tooLarge(d msg.ReceivedBody) string {
	return fmt.Sprintf("the result has %d bytes, more than the limit of %d bytes. Let the task return less, or raise --max-result", d.Size, d.Limit)
}

// refuse fails the job because its result cannot be accepted, or there will be none.
func (t *transition) refuse(why string) {
	if t.job.isOpen() {
		t.retireAfterJob("its result was refused")
		t.endWithoutResult(msg.Ending{Outcome: msg.Failed, Message: why})
	}
}

// proveUnstarted lets the next GET receive the job again (rule 4).
func (t *transition) proveUnstarted(proof string) {
	if !t.job.isOpen() || t.job.unstarted || t.mode == msg.Files {
		return
	}
	if t.job.handOuts >= maxHandOuts {
		t.refuse(neverStartedReason(t.job.handOuts, proof))
		return
	}
	t.job.unstarted, t.job.delivered = true, false
	t.do(cancelTimer{deliveryTimer})
	t.do(recordNotStarted{t.job.Execution, t.job.handOuts, proof})
	t.scheduleNotify()
}

const notStartedProof = "the content of its result file was not encrypted with the job's key"

// neverStartedReason says why a job fails that no plugin has started.
func neverStartedReason(handOuts int, proof string) string {
	return fmt.Sprintf("the plugin could not read its input in %d attempts: %s", handOuts, proof)
}

// delivered records that the plugin has its input, so that a GET for it can only come from another process.
func (t *transition) delivered(execution msg.ExecutionID) {
	if t.job.Execution != execution || t.job.handOut == handedOut && t.job.unstarted {
		return
	}
	if t.job.handOut == handingOut && t.job.unstarted { // it counts only if the hand-out succeeds
		t.job.delivered = true
		return
	}
	if t.job.handOut == handingOut {
		t.markHandedOut()
	}
	if t.job.handOut != handedOut || t.job.delivered {
		return
	}
	t.job.delivered = true
	t.do(cancelTimer{deliveryTimer})
	t.do(recordDelivered{execution})
}

// startDelivery starts the time limit for the plugin's machine to acknowledge the input.
func (t *transition) startDelivery() {
	if t.job.isOpen() && !t.job.delivered && t.limits.PickUp > 0 {
		t.do(startTimer{deliveryTimer, t.limits.PickUp, msg.DeliveryDue{}})
	}
}

// deliveryDue is called when the input was not acknowledged in time. It kills the executor. The job moves only if the container has exited
// without the input, which may still arrive until then.
func (t *transition) deliveryDue() {
	if !t.job.isOpen() || t.job.delivered || t.job.unstarted || t.state != running {
		return
	}
	t.job.abandoned = true
	t.retireAfterJob("its job's input was not acknowledged")
	t.signal(killStep)
}
