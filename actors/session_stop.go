package actors

import (
	"cmp"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	msg "runnerd/messages"
)

// The stop sequence, which ends the plugin of a job that was aborted or timed out, and the message about it.

// The steps of the stop sequence. The Go SDK reacts to SIGABRT; SIGTERM would end it without a result. The Python SDK ignores SIGABRT and
// reacts to SIGTERM.
const (
	abortStep = iota + 1
	termStep
	killStep
)

var signals = map[int]msg.Signal{abortStep: msg.SIGABRT, termStep: msg.SIGTERM, killStep: msg.SIGKILL}

// stopSequence is the progress of the stop sequence.
type stopSequence struct {
	elapsed  time.Duration // since its start, when this actor attached
	resumes  bool          // an earlier actor began it, and this one has not resumed it yet
	sent     msg.Signal    // the newest that the engine accepted from this actor; empty: none
	sending  msg.Signal    // one that the engine has not acknowledged yet; the executor may exit before that
	failures int           // in a row to send a signal
}

func (s stopSequence) signal() msg.Signal { return cmp.Or(s.sending, s.sent) }

// stopJob begins the stop sequence.
func (t *transition) stopJob(hasResult bool) {
	t.job.stop = &stopSequence{}
	t.enter(stopping)
	t.tell(msg.Retired{Executor: t.id, Reason: t.retireReason})
	t.do(tellReporter{msg.Report{Execution: t.job.Execution}}) // starts the reporter's timeout
	if hasResult {
		t.recordStop(true)
		return
	}
	t.signal(t.stopStep(0))
}

// unknownAbortWait is the time between SIGABRT and SIGTERM for a plugin whose SDK is not known.
const unknownAbortWait = 2 * time.Second

// abortTime returns when SIGTERM is due, since the start of the sequence.
func (t *transition) abortTime() time.Duration {
	switch t.sdk {
	case msg.PythonSDK:
		return 0
	case msg.GoSDK:
		return t.limits.Abort
	default:
		return min(t.limits.Abort, unknownAbortWait)
	}
}

// killTime returns when SIGKILL is due, since the start of the sequence.
func (t *transition) killTime() time.Duration { return t.limits.Abort + t.limits.Term }

// stopStep returns the step that is due at a time since the start of the sequence.
func (t *transition) stopStep(elapsed time.Duration) int {
	switch {
	case elapsed < t.abortTime():
		return abortStep
	case elapsed < t.killTime():
		return termStep
	default:
		return killStep
	}
}

// resumeStop continues a stop sequence that an earlier actor began, at the step that the time since the ending calls for. It waits until
// the container is known to run and its plugin to have left no result. SIGABRT may be sent twice: the SDKs react to the first.
func (t *transition) resumeStop() {
	if t.job.stop == nil || !t.job.stop.resumes || !t.observed || t.state == exited || t.readingFile || t.job.hasResult {
		return
	}
	t.job.stop.resumes = false
	t.tell(msg.Retired{Executor: t.id, Reason: t.retireReason})
	t.do(tellReporter{msg.Report{Execution: t.job.Execution}})
	t.signal(t.stopStep(t.job.stop.elapsed))
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

// signalled starts the time of the step: without a result or an exit within it, the next step follows.
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
		t.signalFailed(m)
	case m.Err != nil: // the job has ended meanwhile
	default:
		t.do(startTimer{stopTimer, t.stopWait(m.Step), msg.StopStepDue{Step: min(m.Step+1, killStep)}})
	}
}

// signalFailed repeats a signal that the engine did not accept, until the time of its step is up.
func (t *transition) signalFailed(m msg.Signalled) {
	until := t.abortTime()
	if m.Step == termStep {
		until = t.killTime()
	}
	t.job.stop.failures++
	t.do(retrySignal{step: m.Step, failures: t.job.stop.failures, remaining: until - m.Elapsed, err: m.Err})
}

// stopWait returns how long the plugin has after a signal; in a resumed sequence, what remains of that.
func (t *transition) stopWait(step int) time.Duration {
	var elapsed time.Duration
	if t.job.stop != nil {
		elapsed = t.job.stop.elapsed
	}
	switch step {
	case abortStep:
		return t.abortTime() - elapsed
	case termStep:
		return t.killTime() - max(elapsed, t.abortTime())
	default: // SIGKILL is retried
		return t.limits.Term
	}
}

// recordStop records how the stop went, before the job's end is reported. answered: the plugin returned a result.
func (t *transition) recordStop(answered bool) {
	t.do(cancelTimer{stopTimer})
	t.do(recordStop{t.job.Execution, t.job.stop.signal(), answered})
}

func (t *transition) stopRecorded(m msg.StopRecorded) {
	if t.job.Execution != m.Execution || t.job.stop == nil {
		return
	}
	if m.Err != nil {
		t.log(zerolog.WarnLevel, "could not record how a job was stopped; its message will lack that", "execution", m.Execution, "error", m.Err)
	}
	t.closeJob()
}

// describeStop tells the user which signal ended a job, and how long after the stop was requested.
func describeStop(last msg.Signal, answered bool, after time.Duration) string {
	seconds := fmt.Sprintf("%.1fs", after.Seconds())
	switch {
	case last == "" && answered:
		return "The plugin returned its result within " + seconds
	case last == "":
		return "The plugin exited within " + seconds
	case last == msg.SIGKILL && answered:
		return "The plugin was killed (SIGKILL) after " + seconds + ", but had returned its result"
	case last == msg.SIGKILL:
		return "The plugin was killed (SIGKILL) after " + seconds
	case answered:
		return "The plugin answered " + string(last) + " with its result after " + seconds
	default:
		return "The plugin exited on " + string(last) + " after " + seconds
	}
}
