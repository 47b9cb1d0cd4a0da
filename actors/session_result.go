package actors

import (
	"fmt"

	"github.com/rs/zerolog"

	msg "runnerd/messages"
)

// What a plugin hands in: a result, by callback or in its file; or a proof that it did not start its job.

// callback takes what was posted to the URL of a job.
func (t *transition) callback(m msg.CallbackReceived) {
	if t.returned && t.reading { // rule 8
		t.pending = append(t.pending, m)
		return
	}
	if t.job.Execution == m.Execution && t.job.stage == handingOut && (!t.job.unstarted || m.Verdict != msg.NoDelivery) {
		t.markHandedOut() // its plugin was quicker than the journal's answer
	}
	if t.job.Execution != m.Execution || t.job.stage != handedOut {
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
		t.refuse(tooLarge(m.Delivery))
	case msg.NoDelivery, msg.NotStarted:
		t.answer(m.Request, msg.Accept{})
		if !t.job.loggedForeign {
			t.log(zerolog.WarnLevel, "callback brought something that is not the job's result", "job", m.Execution, "bytes", m.Size)
		}
		t.job.loggedForeign = true
	}
}

// lateCallback is for a job that has its result: it came late, or it is an SDK's report that it could not fetch the job after.
func (t *transition) lateCallback(m msg.CallbackReceived) {
	level := zerolog.InfoLevel
	if m.Execution == t.last { // most often its file was faster, and that is all
		level = zerolog.DebugLevel
	}
	t.log(level, "callback for a job that is closed", "job", m.Execution)
	switch {
	case m.Execution == t.before && m.Execution != "" && t.job.isOpen() && m.Current == t.job.Execution:
		t.proveUnstarted("an error about the job's input was posted to the URL of the job before")
	case m.Execution != t.last || !t.asksForJob():
		// Of no consequence: whatever the plugin has lost, an event is due already.
	case !t.polled && !t.notification.calledBack:
		t.notification.calledBack = true // the file was faster
	case t.poll != 0 || t.next != 0:
		t.notification.gaveUp = true
	default:
		t.scheduleNotify()
	}
}

// resultStored answers the callback that brought a result, once it is stored (rule 9).
func (t *transition) resultStored(m msg.ResultStored) {
	if m.Err != nil {
		t.do(retryStore{storeResult{m.Request, m.Execution, m.Result}, m.Err})
		return
	}
	t.answer(m.Request, msg.Accept{})
	if m.Stored {
		t.resultIn(m.Execution, m.Result)
	}
}

// resultIn: the open job has its result in the spool.
func (t *transition) resultIn(of msg.ExecutionID, result msg.Result) {
	if t.job.Execution != of || t.job.stage != handedOut || t.job.hasResult {
		return
	}
	t.job.hasResult = true
	t.log(zerolog.InfoLevel, "result stored", "job", of, "via", result.Via, "exit", result.ExitCode)
	t.do(cancelTimer{deliveryTimer})
	t.job.unstarted = false
	switch {
	case t.job.stop != nil:
		t.recordStop(true)
	case t.state == exited: // the examination finds it in the spool
	default:
		t.jobOver()
	}
}

// readResultFile looks for the result of the open job, while the plugin may be writing to it.
func (t *transition) readResultFile() {
	switch {
	case t.job.stage != handedOut || t.state == exited:
		t.servePending()
	case t.reading:
		t.readAgain = true
	default:
		t.reading = true
		t.do(readFile{execution: t.job.Execution, before: t.before})
	}
}

func (t *transition) fileRead(m msg.FileRead) {
	t.reading = false
	defer t.resumeStop()
	if m.Execution == t.job.Execution && t.job.stage == handedOut && t.state != exited {
		switch {
		case m.Err != nil:
			t.readAgain = false
			t.retry(msg.RetryFile, m.Err)
			return
		case m.Stored:
			if t.returned {
				t.takeNoMore(retiredAfterRestart)
			}
			t.resultIn(m.Execution, m.Result)
		case m.Verdict == msg.NotStarted:
			t.proveUnstarted(notStartedProof)
		case m.Verdict == msg.TooLarge:
			t.refuse(tooLarge(m.Delivery))
		}
	}
	t.returned = false
	if t.readAgain {
		t.readAgain = false
		t.readResultFile()
		return
	}
	t.servePending()
}

// retiredAfterRestart is why an executor takes no more jobs whose result was found in its file after a return of the runner: it may be
// setSubject to ask for the old job (rule 8).
const retiredAfterRestart = "its result was found in the result file after a restart of the runner"

func tooLarge(d msg.Delivery) string {
	return fmt.Sprintf("the result has %d bytes, more than the %d that this runner takes: let the task return less, or raise --max-result", d.Size, d.Limit)
}

// refuse ends the job because there will be no result of it.
func (t *transition) refuse(why string) {
	if t.job.isOpen() {
		t.takeNoMore("its result was refused")
		t.conclude(msg.Ending{Outcome: msg.Failed, Message: why})
	}
}

// proveUnstarted lets the job be handed out once more, at the next GET (rule 4).
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

const notStartedProof = "what it left in the result file was not made with the job's key"

// neverStartedReason is why a job is given up that no plugin has started.
func neverStartedReason(handOuts int, proof string) string {
	return fmt.Sprintf("the plugin could not read its input, %d times: %s", handOuts, proof)
}

// delivered: the plugin has its input, so whoever asks for the job again is another process.
func (t *transition) delivered(execution msg.ExecutionID) {
	if t.job.Execution != execution || t.job.stage == handedOut && t.job.unstarted {
		return
	}
	if t.job.stage == handingOut && t.job.unstarted { // it counts if the hand-out does
		t.job.delivered = true
		return
	}
	if t.job.stage == handingOut {
		t.markHandedOut()
	}
	if t.job.stage != handedOut || t.job.delivered {
		return
	}
	t.job.delivered = true
	t.do(cancelTimer{deliveryTimer})
	t.do(recordDelivered{execution})
}

// startDelivery bounds how long the plugin's machine may take to acknowledge the input.
func (t *transition) startDelivery() {
	if t.job.isOpen() && !t.job.delivered && t.limits.PickUp > 0 {
		t.do(startTimer{deliveryTimer, t.limits.PickUp, msg.DeliveryDue{}})
	}
}

// deliveryDue: nothing has acknowledged the input. The executor is ended, and the job moves if it has ended without it: until then the
// input may still arrive.
func (t *transition) deliveryDue() {
	if !t.job.isOpen() || t.job.delivered || t.job.unstarted || t.state != running {
		return
	}
	t.job.abandoned = true
	t.takeNoMore("its job did not reach it")
	t.signal(killStep)
}
