package actors

import (
	"cmp"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	msg "runnerd/messages"
)

// How the plugin of a job that was aborted, or timed out, is brought to an end, and what is told of that.

// The stop sequence of a job that does not end by itself: the Go SDK answers to SIGABRT, the Python SDK to SIGTERM.
const (
	abortStep = iota + 1
	termStep
	killStep
)

var signals = map[int]msg.Signal{abortStep: msg.SIGABRT, termStep: msg.SIGTERM, killStep: msg.SIGKILL}

// stopSequence is how far it has come.
type stopSequence struct {
	elapsed  time.Duration // of it, when this actor came to it
	resumes  bool          // this actor has not gone on with it yet
	sent     msg.Signal    // the newest that the engine has taken; empty: none from this actor
	sending  msg.Signal    // one of which it is not known yet: an executor may end before the engine answers
	failures int           // in a row, of the engine, to send one
}

func (s stopSequence) signal() msg.Signal { return cmp.Or(s.sending, s.sent) }

// stopJob begins the sequence.
func (t *transition) stopJob(hasResult bool) {
	t.job.stop = &stopSequence{}
	t.enter(stopping)
	t.tell(msg.Retired{Executor: t.id, Reason: t.retire})
	t.do(report{msg.Report{Execution: t.job.Execution}}) // its patience begins
	if hasResult {
		t.recordStop(true)
		return
	}
	t.signal(abortStep)
}

// resumeStop goes on where another actor left off, by the time of the ending, when it is known that the container runs and that its
// plugin has left no result. SIGABRT may come twice: the SDKs hear the first.
func (t *transition) resumeStop() {
	if t.job.stop == nil || !t.job.stop.resumes || !t.observed || t.state == exited || t.reading || t.job.hasResult {
		return
	}
	t.job.stop.resumes = false
	t.tell(msg.Retired{Executor: t.id, Reason: t.retire})
	t.do(report{msg.Report{Execution: t.job.Execution}})
	switch elapsed := t.job.stop.elapsed; {
	case elapsed < t.limits.Abort:
		t.signal(abortStep)
	case elapsed < t.limits.Abort+t.limits.Term:
		t.signal(termStep)
	default:
		t.signal(killStep)
	}
}

func (t *transition) signal(step int) {
	if t.exit != nil {
		return
	}
	if t.job.stop != nil {
		t.job.stop.sending = signals[step]
	}
	t.do(cancelTimer{stopTimer})
	t.do(sendSignal{step, t.job.Execution})
}

// signalled waits for what the signal does: a result or the exit; else the next step is due.
func (t *transition) signalled(m msg.Signalled) {
	if stop := t.job.stop; stop != nil {
		if m.Err == nil {
			stop.sent, stop.failures = signals[m.Step], 0
		}
		stop.sending = ""
	}
	switch {
	case t.exit != nil:
	case m.Err != nil && m.Step == killStep:
		t.retry(msg.RetryKill, m.Err)
	case m.Err != nil && t.job.stop != nil:
		t.trySignalAgain(m)
	case m.Err != nil: // its job is over meanwhile
	default:
		t.do(startTimer{stopTimer, t.stopWait(m.Step), msg.StopStepDue{Step: min(m.Step+1, killStep)}})
	}
}

// trySignalAgain repeats a signal that the engine did not take, until the plugin's time for it is up.
func (t *transition) trySignalAgain(m msg.Signalled) {
	until := t.limits.Abort
	if m.Step == termStep {
		until += t.limits.Term
	}
	t.job.stop.failures++
	t.do(signalAgain{step: m.Step, failures: t.job.stop.failures, left: until - m.Elapsed, err: m.Err})
}

// stopWait is how long the plugin has after a signal: what is left of that, if it was sent before this actor came.
func (t *transition) stopWait(step int) time.Duration {
	var elapsed time.Duration
	if t.job.stop != nil {
		elapsed = t.job.stop.elapsed
	}
	switch step {
	case abortStep:
		return t.limits.Abort - elapsed
	case termStep:
		return min(t.limits.Term, max(0, t.limits.Abort+t.limits.Term-elapsed))
	default: // it has no more, and is killed again
		return t.limits.Term
	}
}

// recordStop keeps how the stop went, before anybody is told that the job is over: its plugin has answered.
func (t *transition) recordStop(answered bool) {
	t.do(cancelTimer{stopTimer})
	t.do(recordStop{t.job.Execution, t.job.stop.signal(), answered})
}

func (t *transition) stopRecorded(m msg.StopRecorded) {
	if t.job.Execution != m.Execution || t.job.stop == nil {
		return
	}
	if m.Err != nil {
		t.log(zerolog.WarnLevel, "could not note how a job was stopped: its message will not say it", "job", m.Execution, "error", m.Err)
	}
	t.jobOver()
}

// howItEnded says to the user which signal ended a job, so long after its end was asked for.
func howItEnded(last msg.Signal, answered bool, after time.Duration) string {
	took := fmt.Sprintf("%.1fs", after.Seconds())
	switch {
	case last == "" && answered:
		return "The plugin had its result within " + took
	case last == "":
		return "It ended within " + took
	case last == msg.SIGKILL && answered:
		return "It took SIGKILL, after " + took + ", and the plugin had its result"
	case last == msg.SIGKILL:
		return "It took SIGKILL, after " + took
	case answered:
		return "The plugin answered " + string(last) + " with its result after " + took
	default:
		return "It ended on " + string(last) + " after " + took
	}
}
