package actors

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"runnerd/actors/shell"
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
	lasted  time.Duration // when this actor came to it
	sent    msg.Signal    // the newest that the engine has taken; empty: none from this actor
	sending msg.Signal    // one of which it is not known yet: an executor may end before the engine answers
	took    time.Duration // until the executor had ended

	failures int // in a row, of the engine, to send one
}

func (s stopSequence) signal() msg.Signal { return cmp.Or(s.sending, s.sent) }

func (e *executor) isStopping() bool { return e.job != nil && e.job.stop != nil }

// stopJob begins the sequence, or, after lasted of it, goes on.
func (e *executor) stopJob(c *shell.Ctx[msg.ToExecutor], lasted time.Duration) {
	e.job.stop = &stopSequence{lasted: lasted}
	e.enter(c, stopping)
	e.dispatcher.Tell(msg.Retired{Executor: e.id, Reason: e.retire})
	e.reporter.Tell(msg.Report{Execution: e.job.job.Execution}) // its patience begins
	switch rec, _ := e.Spool.Job(e.job.job.Execution); {
	case rec.HasResult:
		e.noteStop(c)
	case lasted == 0 || lasted < e.Limits.Abort:
		e.signal(c, abortStep)
	case lasted < e.Limits.Abort+e.Limits.Term:
		e.signal(c, termStep)
	default:
		e.signal(c, killStep)
	}
}

// resumeStop goes on where another actor has left off, by the time of the ending. SIGABRT may come twice: the SDKs hear the first.
func (e *executor) resumeStop(c *shell.Ctx[msg.ToExecutor]) {
	e.retire = cmp.Or(e.retire, "its job was "+string(e.job.verdict.Outcome))
	e.stopJob(c, e.stopLasts())
}

func (e *executor) signal(c *shell.Ctx[msg.ToExecutor], step int) {
	if e.exit != nil {
		return
	}
	sig := signals[step]
	if e.isStopping() {
		e.job.stop.sending = sig
	}
	c.Cancel("stop step")
	drv, id := e.Driver, e.id
	c.Go("signal "+string(sig), func(ctx context.Context) msg.ToExecutor {
		ctx, cancel := context.WithTimeout(ctx, engineAnswers)
		defer cancel()
		return msg.Signalled{Step: step, Err: drv.Signal(ctx, id, sig)}
	})
}

// signalled waits for what the signal does: a result or the exit; else the next step is due.
func (e *executor) signalled(c *shell.Ctx[msg.ToExecutor], m msg.Signalled) {
	if m.Err == nil {
		delete(e.failed, "kill")
	}
	if e.isStopping() {
		if m.Err == nil {
			e.job.stop.sent, e.job.stop.failures = signals[m.Step], 0
		}
		e.job.stop.sending = ""
	}
	switch {
	case e.exit != nil:
	case m.Err != nil && m.Step == killStep:
		e.retry(c, "kill", m.Err)
	case m.Err != nil && e.isStopping():
		e.tryStep(c, m)
	case m.Err != nil: // its job is over meanwhile
	default:
		c.After("stop step", e.stopWait(m.Step), msg.StopStepDue{Step: min(m.Step+1, killStep)})
	}
}

// tryStep repeats a signal that the engine did not take, until the plugin's time for it is up.
func (e *executor) tryStep(c *shell.Ctx[msg.ToExecutor], m msg.Signalled) {
	step, until := m.Step, e.Limits.Abort
	if step == termStep {
		until += e.Limits.Term
	}
	e.job.stop.failures++
	wait := towardsEngine.after(e.job.stop.failures, c.Chance())
	if e.stopLasts()+wait >= until {
		step, wait = step+1, max(0, until-e.stopLasts())
	}
	c.Log().Warn().Err(m.Err).Str("executor", string(e.id)).Dur("retry", wait).Msg("signal is not sent")
	c.After("stop step", wait, msg.StopStepDue{Step: step})
}

// stopWait is how long the plugin has after a signal: what is left of that, if it was sent before this actor came.
func (e *executor) stopWait(step int) time.Duration {
	var lasted time.Duration
	if e.isStopping() {
		lasted = e.job.stop.lasted
	}
	switch step {
	case abortStep:
		return e.Limits.Abort - lasted
	case termStep:
		return min(e.Limits.Term, max(0, e.Limits.Abort+e.Limits.Term-lasted))
	default: // it has no more, and is killed again
		return e.Limits.Term
	}
}

// stopLasts is how long ago the job's ending was decided.
func (e *executor) stopLasts() time.Duration {
	rec, _ := e.Spool.Job(e.job.job.Execution)
	return max(0, time.Since(rec.EndedAt))
}

// noteStop keeps how the stop went, before anybody is told that the job is over: its plugin has answered.
func (e *executor) noteStop(c *shell.Ctx[msg.ToExecutor]) {
	c.Cancel("stop step")
	spool, job, how := e.Spool, e.job.job.Execution, howItEnded(e.job.stop.signal(), true, e.stopLasts())
	c.Go("note stop", func(context.Context) msg.ToExecutor {
		_, err := spool.Stopped(job, how)
		return msg.StopNoted{Execution: job, Err: err}
	})
}

func (e *executor) stopNoted(c *shell.Ctx[msg.ToExecutor], m msg.StopNoted) {
	if e.job == nil || e.job.job.Execution != m.Execution {
		return
	}
	if m.Err != nil {
		c.Log().Warn().Err(m.Err).Str("executor", string(e.id)).Str("job", string(m.Execution)).Msg("the job's message will not say how its stop went")
	}
	e.jobOver(c)
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
