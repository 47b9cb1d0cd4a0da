package actors

import (
	"context"
	"time"

	"runnerd/actors/shell"
	msg "runnerd/messages"
)

// What an executor's actor does for its session.

func (e *executor) doAll(c *shell.Ctx[msg.ToExecutor], effects []effect) {
	for _, do := range effects {
		e.do(c, do)
	}
}

func (e *executor) do(c *shell.Ctx[msg.ToExecutor], do effect) {
	switch do := do.(type) {
	case prepare:
		e.prepare(c)
	case pull:
		e.pull(c)
	case cancelPull:
		e.pullTask.Cancel()
	case launch:
		e.launch(c, do.env)
	case findContainer:
		e.find(c)
	case readLogs:
		e.readLogs(c)
	case waitForExit:
		e.waitForExit(c)
	case sendSignal:
		e.signal(c, do)
	case signalAgain:
		e.signalAgain(c, do)
	case examine:
		e.examine(c, do)
	case remove:
		e.remove(c)
	case stopActor:
		c.StopSelf()

	case listen:
		e.listen(c)
	case answerRequest:
		e.Gateway.Answer(e.id, do.request, do.answer)
	case sendEvent:
		e.Gateway.Notify(e.id, do.watch, do.event)
	case handOut:
		e.handOut(c, do)
	case repeatJob:
		e.repeatJob(c, do)
	case clearResults:
		e.clearResults(c)
	case readFile:
		e.readFile(c, do)

	case storeResult:
		e.storeResult(c, do)
	case storeAgain:
		e.storeAgain(c, do)
	case noteVersion:
		e.noteVersion(c, do.version)
	case noteDelivered:
		c.Log().Debug().Str("executor", string(e.id)).Str("job", string(do.execution)).Msg("input delivered")
		e.note(c, "note delivery", func() error { return e.Spool.Delivered(do.execution) })
	case noteNotStarted:
		c.Log().Warn().Str("executor", string(e.id)).Str("job", string(do.execution)).Str("proof", do.proof).Msg("plugin did not start its job; it will be handed out once more")
		e.note(c, "note that a job did not start", func() error { return e.Spool.NotStarted(do.execution) })
	case noteRetirement:
		e.noteRecord(c, "note retirement", func(r *msg.ExecutorRecord) { r.Retired = do.reason })
	case noteStop:
		e.noteStop(c, do)
	case endJob:
		e.endJob(c, do)

	case tellDispatcher:
		e.tell(c, do.m)
	case report:
		e.reporter.Tell(do.m)
	case isIdle:
		e.becomesIdle(c, do.last)
	case notIdle:
		e.dispatcher.Tell(msg.Unsettled{Executor: e.id, Seq: e.seq})
	case notPolling:
		e.dispatcher.Tell(msg.NotPolling{Executor: e.id, Seq: e.seq})

	case startTimer:
		c.Cancel(string(do.timer))
		if do.after > 0 {
			c.After(string(do.timer), do.after, do.m)
		}
	case cancelTimer:
		c.Cancel(string(do.timer))
	case retryLater:
		e.retry(c, do)
	case measureDisk:
		e.measureLater(c)

	default:
		e.log(c, do)
	}
}

// log writes down what happened.
func (e *executor) log(c *shell.Ctx[msg.ToExecutor], what effect) {
	debug := c.Log().Debug().Str("executor", string(e.id))
	info := c.Log().Info().Str("executor", string(e.id))
	warn := c.Log().Warn().Str("executor", string(e.id))
	switch what := what.(type) {
	case stateChanged:
		debug.Str("from", string(what.from)).Str("to", string(what.to)).Str("job", string(e.session.job.Execution)).Msg("executor changed state")
	case isAttached:
		info.Str("to", string(e.session.state)).Msg("attached to executor again")
		e.closeOlder(c)
	case hasExited:
		info.Int("exit", what.exit.Code).Bool("oom", what.exit.OOM).Msg("executor exited")
	case outputLost:
		warn.Msg("engine did not deliver the rest of the executor's output")
	case handOutSlow:
		warn.Str("job", string(what.execution)).Msg("handing out a job takes long")
	case resultStored:
		info.Str("job", string(what.execution)).Str("via", string(what.result.Via)).Int("exit", what.result.ExitCode).Msg("result stored")
	case deliveryIgnored:
		if !what.repeated {
			warn.Str("job", string(what.execution)).Int64("bytes", what.size).Msg("callback brought something that is not the job's result")
		}
	case callbackTooLate:
		if what.newest { // most often its file was faster, and that is all
			info = debug
		}
		info.Str("job", string(what.execution)).Msg("callback for a job that is closed")
	case stopNotNoted:
		warn.Err(what.err).Str("job", string(what.execution)).Msg("could not note how a job was stopped: its message will not say it")
	case jobStopped:
		rec, _ := e.Spool.Job(what.execution)
		info.Str("job", string(what.execution)).Str("reason", rec.Ending.Message).Msg("job stopped")
	default: // is done, not logged
	}
}

func (e *executor) tell(c *shell.Ctx[msg.ToExecutor], m msg.ToDispatcher) {
	if m, ok := m.(msg.Retired); ok {
		c.Log().Info().Str("executor", string(e.id)).Str("reason", m.Reason).Msg("stopping executor")
	}
	e.dispatcher.Tell(m)
}

// becomesIdle keeps the time of the first GET that waits in the executor's record, so that a restart counts from it.
func (e *executor) becomesIdle(c *shell.Ctx[msg.ToExecutor], last msg.ExecutionID) {
	if e.idleSince.IsZero() {
		e.idleSince = time.Now()
		since, jobs := e.idleSince, e.session.jobs
		e.noteRecord(c, "note idle", func(r *msg.ExecutorRecord) {
			if r.Jobs == jobs { // no other job came meanwhile
				r.IdleSince = since
			}
		})
	}
	e.dispatcher.Tell(msg.Idle{Executor: e.id, Seq: e.seq, Since: e.idleSince})
	if last != "" {
		e.closeLater(c, last)
	}
}

// note writes something that only a restart needs.
func (e *executor) note(c *shell.Ctx[msg.ToExecutor], name string, write func() error) {
	c.Go(name, func(context.Context) msg.ToExecutor {
		if err := write(); err != nil {
			return msg.RecordNotUpdated{Err: err}
		}
		return nil
	})
}

func (e *executor) noteRecord(c *shell.Ctx[msg.ToExecutor], name string, change func(*msg.ExecutorRecord)) {
	spool, id := e.Spool, e.id
	e.note(c, name, func() error { return spool.UpdateExecutor(id, change) })
}

// retry repeats what failed, as RetryDue.
func (e *executor) retry(c *shell.Ctx[msg.ToExecutor], r retryLater) {
	e.failed[r.what]++
	wait := towardsEngine.after(e.failed[r.what], c.Chance())
	c.Log().Warn().Err(r.err).Str("executor", string(e.id)).Str("call", string(r.what)).Int("attempt", e.failed[r.what]).Dur("retry", wait).Msg("call for an executor failed; will retry")
	c.After("retry "+string(r.what), wait, msg.RetryDue{What: r.what})
}

func (e *executor) repeat(c *shell.Ctx[msg.ToExecutor], what msg.Retry) {
	switch what {
	case msg.RetryRestore:
		e.restore(c)
	case msg.RetryStore:
		for request, again := range e.unstored {
			delete(e.unstored, request)
			if e.session.isStoring(request) {
				e.storeResult(c, again)
			}
		}
	}
}

func (e *executor) storeAgain(c *shell.Ctx[msg.ToExecutor], s storeAgain) {
	e.unstored[s.request] = s.storeResult
	e.retry(c, retryLater{msg.RetryStore, s.err})
}
