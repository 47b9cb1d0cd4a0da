package actors

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	msg "runnerd/messages"
)

// Effects that do not wait for anything: answers, messages, timers, notes for a restart, and lines of the log.

func (cancelPull) do(e *executor, _ *turn) { e.pullTask.Cancel() }
func (stopActor) do(_ *executor, c *turn)  { c.StopSelf() }

func (a answerRequest) do(e *executor, _ *turn) { e.Gateway.Answer(e.id, a.request, a.answer) }
func (s sendEvent) do(e *executor, _ *turn)     { e.Gateway.Notify(e.id, s.watch, s.event) }

func (notIdle) do(e *executor, _ *turn) {
	e.dispatcher.Tell(msg.NotIdle{Executor: e.id, Seq: e.seq})
}

func (notPolling) do(e *executor, _ *turn) {
	e.dispatcher.Tell(msg.NotPolling{Executor: e.id, Seq: e.seq})
}

func (r report) do(e *executor, _ *turn) { e.reporter.Tell(r.m) }

func (t tellDispatcher) do(e *executor, c *turn) {
	if m, ok := t.m.(msg.Retired); ok {
		e.info(c).Str("reason", m.Reason).Msg("stopping executor")
	}
	e.dispatcher.Tell(t.m)
}

// do keeps the time of the first GET that waits in the executor's record, so that a restart counts from it.
func (i isIdle) do(e *executor, c *turn) {
	if e.idleSince.IsZero() {
		e.idleSince = time.Now()
		since, jobs := e.idleSince, e.session.jobs
		e.updateRecord(c, "note idle", func(r *msg.ExecutorRecord) {
			if r.Jobs == jobs { // no other job came meanwhile
				r.IdleSince = since
			}
		})
	}
	e.dispatcher.Tell(msg.Idle{Executor: e.id, Seq: e.seq, Since: e.idleSince})
	if i.last != "" {
		e.closeLater(c, i.last)
	}
}

func (t startTimer) do(_ *executor, c *turn) {
	c.Cancel(string(t.timer))
	if t.after > 0 {
		c.After(string(t.timer), t.after, t.m)
	}
}

func (t cancelTimer) do(_ *executor, c *turn) { c.Cancel(string(t.timer)) }

func (r retryLater) do(e *executor, c *turn) {
	e.failures[r.what]++
	wait := towardsEngine.after(e.failures[r.what], c.Jitter())
	e.warn(c).Err(r.err).Str("call", string(r.what)).Int("attempt", e.failures[r.what]).Dur("retry", wait).Msg("call for an executor failed; will retry")
	c.After("retry "+string(r.what), wait, msg.RetryDue{What: r.what})
}

func (s retryStore) do(e *executor, c *turn) {
	e.pendingResults[s.request] = s.storeResult
	retryLater{msg.RetryStore, s.err}.do(e, c)
}

// repeat is the rest of RetryDue: what only the actor knows.
func (e *executor) repeat(c *turn, what msg.Retry) {
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

func (n recordDelivered) do(e *executor, c *turn) {
	e.debug(c).Str("job", string(n.execution)).Msg("input delivered")
	e.writeBeside(c, "note delivery", func() error { return e.Spool.Delivered(n.execution) })
}

func (n recordNotStarted) do(e *executor, c *turn) {
	e.warn(c).Str("job", string(n.execution)).Str("proof", n.proof).Msg("plugin did not start its job; it will be handed out once more")
	e.writeBeside(c, "note that a job did not start", func() error { return e.Spool.NotStarted(n.execution, n.handOut) })
}

func (n recordRetirement) do(e *executor, c *turn) {
	e.updateRecord(c, "note retirement", func(r *msg.ExecutorRecord) { r.Retired = n.reason })
}

// writeBeside writes something that only a restart needs.
func (e *executor) writeBeside(c *turn, name string, write func() error) {
	c.Go(name, func(context.Context) msg.ToExecutor {
		if err := write(); err != nil {
			return msg.RecordNotUpdated{Err: err}
		}
		return nil
	})
}

func (e *executor) updateRecord(c *turn, name string, change func(*msg.ExecutorRecord)) {
	spool, id := e.Spool, e.id
	e.writeBeside(c, name, func() error { return spool.UpdateExecutor(id, change) })
}

func (e *executor) debug(c *turn) *zerolog.Event {
	return c.Log().Debug().Str("executor", string(e.id))
}
func (e *executor) info(c *turn) *zerolog.Event { return c.Log().Info().Str("executor", string(e.id)) }
func (e *executor) warn(c *turn) *zerolog.Event { return c.Log().Warn().Str("executor", string(e.id)) }

func (l logLine) do(e *executor, c *turn) {
	c.Log().WithLevel(l.level).Str("executor", string(e.id)).Fields(l.fields).Msg(l.text)
}

func (s jobStopped) do(e *executor, c *turn) {
	rec, _ := e.Spool.Job(s.execution)
	e.info(c).Str("job", string(s.execution)).Str("reason", rec.Ending.Message).Msg("job stopped")
}
