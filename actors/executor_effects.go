package actors

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	msg "runnerd/messages"
)

// Effects that do not block: answers, messages, timers, records for a restart, and log lines.

func (cancelPull) do(e *executor, _ *executorCtx) { e.pullTask.Cancel() }
func (stopActor) do(_ *executor, c *executorCtx)  { c.StopSelf() }

func (a answerRequest) do(e *executor, _ *executorCtx) { e.Gateway.Answer(e.id, a.request, a.answer) }
func (s sendEvent) do(e *executor, _ *executorCtx)     { e.Gateway.Notify(e.id, s.watch, s.event) }

func (tellNotIdle) do(e *executor, _ *executorCtx) {
	e.dispatcher.Tell(msg.NotIdle{Executor: e.id, Seq: e.seq})
}

func (tellNotPolling) do(e *executor, _ *executorCtx) {
	e.dispatcher.Tell(msg.NotPolling{Executor: e.id, Seq: e.seq})
}

func (r tellReporter) do(e *executor, _ *executorCtx) { e.reporter.Tell(r.m) }

func (t tellDispatcher) do(e *executor, c *executorCtx) {
	if m, ok := t.m.(msg.Retired); ok {
		e.info(c).Str("reason", m.Reason).Msg("stopping executor")
	}
	e.dispatcher.Tell(t.m)
}

// do records since when the executor is idle, so that a restart counts its eviction time from there.
func (i tellIdle) do(e *executor, c *executorCtx) {
	if e.idleSince.IsZero() {
		e.idleSince = time.Now()
		since, jobs := e.idleSince, e.session.jobs
		e.updateRecord(c, "record idle", func(r *msg.ExecutorRecord) {
			if r.Jobs == jobs { // no other job was handed out meanwhile
				r.IdleSince = since
			}
		})
	}
	e.dispatcher.Tell(msg.Idle{Executor: e.id, Seq: e.seq, Since: e.idleSince})
	if i.last != "" {
		e.closeLogLater(c, i.last)
	}
}

func (t startTimer) do(_ *executor, c *executorCtx) {
	c.Cancel(string(t.timer))
	if t.after > 0 {
		c.After(string(t.timer), t.after, t.m)
	}
}

func (t cancelTimer) do(_ *executor, c *executorCtx) { c.Cancel(string(t.timer)) }

func (r retryLater) do(e *executor, c *executorCtx) {
	e.failures[r.what]++
	wait := towardsEngine.after(e.failures[r.what], c.Jitter())
	e.warn(c).Err(r.err).Str("call", string(r.what)).Int("attempt", e.failures[r.what]).Dur("retry", wait).Msg("executor call failed; will retry")
	c.After("retry "+string(r.what), wait, msg.RetryDue{What: r.what})
}

func (s retryStore) do(e *executor, c *executorCtx) {
	e.pendingResults[s.request] = s.storeResult
	retryLater{msg.RetryStore, s.err}.do(e, c)
}

// retryDue repeats the calls whose arguments only the actor has.
func (e *executor) retryDue(c *executorCtx, what msg.Retry) {
	switch what {
	case msg.RetryRestore:
		e.restore(c)
	case msg.RetryStore:
		for request, again := range e.pendingResults {
			delete(e.pendingResults, request)
			if e.session.isStoring(request) {
				again.do(e, c)
			}
		}
	}
}

func (n recordDelivered) do(e *executor, c *executorCtx) {
	e.debug(c).Str("execution", string(n.execution)).Msg("input delivered")
	e.writeAsync(c, "record delivery", func() error { return e.Spool.Delivered(n.execution) })
}

func (n recordNotStarted) do(e *executor, c *executorCtx) {
	e.warn(c).Str("execution", string(n.execution)).Str("proof", n.proof).Msg("plugin did not start its job; will hand it out again")
	e.writeAsync(c, "record job not started", func() error { return e.Spool.NotStarted(n.execution, n.handOut) })
}

func (n recordRetirement) do(e *executor, c *executorCtx) {
	e.updateRecord(c, "record retirement", func(r *msg.ExecutorRecord) { r.Retired = n.reason })
}

// writeAsync writes something that only a restart needs, without blocking the actor.
func (e *executor) writeAsync(c *executorCtx, name string, write func() error) {
	c.Go(name, func(context.Context) msg.ToExecutor {
		if err := write(); err != nil {
			return msg.RecordNotUpdated{Err: err}
		}
		return nil
	})
}

func (e *executor) updateRecord(c *executorCtx, name string, change func(*msg.ExecutorRecord)) {
	spool, id := e.Spool, e.id
	e.writeAsync(c, name, func() error { return spool.UpdateExecutor(id, change) })
}

func (e *executor) debug(c *executorCtx) *zerolog.Event {
	return c.Log().Debug().Str("executor", string(e.id))
}
func (e *executor) info(c *executorCtx) *zerolog.Event {
	return c.Log().Info().Str("executor", string(e.id))
}
func (e *executor) warn(c *executorCtx) *zerolog.Event {
	return c.Log().Warn().Str("executor", string(e.id))
}

func (l logLine) do(e *executor, c *executorCtx) {
	c.Log().WithLevel(l.level).Str("executor", string(e.id)).Fields(l.fields).Msg(l.text)
}

func (s logStopped) do(e *executor, c *executorCtx) {
	rec, _ := e.Spool.Job(s.execution)
	e.info(c).Str("execution", string(s.execution)).Str("reason", rec.Ending.Message).Msg("job stopped")
}
