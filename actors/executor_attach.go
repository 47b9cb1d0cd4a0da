package actors

import (
	"cmp"
	"context"
	"slices"
	"time"

	"runnerd/actors/shell"
	msg "runnerd/messages"
)

// How an executor's actor finds again what has lived before it.

// returnsWithin is how long executors that wait for a job may take to ask again after a restart of the runner: it asks them to stay
// away for 10 s, and leaves those that were cut off 12 s to come back by themselves (executor-contract.md, rules 6 and 7).
const returnsWithin = 30 * time.Second

// attach goes on with an executor that has lived before.
func (e *executor) attach(c *shell.Ctx[msg.ToExecutor]) {
	e.attached, e.retire = true, e.record.Retired
	if job, ok := e.Spool.Job(e.record.Job); ok && job.Stage == msg.HandedOut && job.Executor == e.id {
		c.About(string(job.Execution))
		e.job = &assignment{job: job.Job, given: true, since: job.HandedOutAt}
	} else if ok && job.Stopping() && job.Executor == e.id {
		c.About(string(job.Execution))
		e.job = &assignment{job: job.Job, given: true, verdict: &job.Ending, stop: &stopSequence{}}
	}
	e.find(c)
}

// find asks the engine, again and again: what was asked of this actor meanwhile stands.
func (e *executor) find(c *shell.Ctx[msg.ToExecutor]) {
	shop, book, rec := e.Shop, e.book, e.record
	c.Go("find", func(ctx context.Context) msg.ToExecutor {
		secrets, err := shop.Vault.Unseal(rec.Mask)
		if err != nil {
			return msg.Found{Err: err}
		}
		book.learn(secrets)
		jobs := shop.Spool.Jobs()
		slices.SortFunc(jobs, func(a, b msg.JobRecord) int { return a.OutputFrom.Compare(b.OutputFrom) })
		for _, job := range jobs {
			if job.Executor == rec.ID && !job.Log.Ended {
				from := job.OutputFrom
				if rec.Jobs <= 1 { // what it prints at its start belongs to its first job
					from = time.Time{}
				}
				book.open(job.Execution, from, nil)
			}
		}
		if _, err := shop.Gateway.Admit(rec); err != nil {
			return msg.Found{Err: err}
		}
		ctx, cancel := context.WithTimeout(ctx, engineAnswers)
		defer cancel()
		all, err := shop.Driver.List(ctx)
		for _, container := range all {
			if container.ID == rec.ID {
				return msg.Found{Container: &container}
			}
		}
		return msg.Found{Err: err}
	})
}

// found goes on from what the engine says of an executor that has lived before.
func (e *executor) found(c *shell.Ctx[msg.ToExecutor], m msg.Found) {
	if m.Err != nil { // absence is never guessed
		e.retry(c, "find", m.Err)
		return
	}
	e.dispatcher.Tell(msg.Attached{Executor: e.id})
	switch {
	case m.Container == nil, e.isStopping() && m.Container.State == msg.ContainerCreated:
		e.exited(c, msg.Exited{Err: msg.ErrNoExecutor})
		return
	case m.Container.State == msg.ContainerCreated:
		if e.job != nil && e.job.given { // messages.Files: what it needs of its job was given to its create
			e.job.since = time.Time{} // it has not run yet
			e.enter(c, running)
		} else {
			e.enter(c, starting)
		}
		e.launch(c, nil)
		e.obeyNoted(c)
		return
	case e.isStopping() && m.Container.State == msg.ContainerExited: // nobody knows by what
		e.enter(c, stopping)
	case e.isStopping():
		e.resumeStop(c)
	case e.job != nil && e.job.given:
		e.enter(c, running)
	default:
		e.enter(c, settling)
		e.limit(c, max(e.Limits.Settle, returnsWithin))
	}
	c.Log().Info().Str("executor", string(e.id)).Str("to", string(e.state)).Msg("executor is attached again")
	e.observe(c)
	e.closeOlder(c)
	e.obeyNoted(c)
	if why := e.spent(); why != "" && e.state == settling {
		e.stop(c, why)
	}
}

// closeOlder closes the logs of the jobs before its newest. As many may be open as end within the time that a log stays open.
func (e *executor) closeOlder(c *shell.Ctx[msg.ToExecutor]) {
	for _, job := range e.Spool.Jobs() {
		if job.Executor == e.id && job.Execution != e.record.Job && !job.Log.Ended {
			e.closeLater(c, job.Execution)
		}
	}
}

// obeyNoted carries out an abort that came while nobody was here.
func (e *executor) obeyNoted(c *shell.Ctx[msg.ToExecutor]) {
	if e.job == nil {
		return
	}
	rec, _ := e.Spool.Job(e.job.job.Execution)
	if reason := cmp.Or(e.job.abort, rec.Abort); reason != "" {
		e.abort(c, msg.AbortJob{Execution: e.job.job.Execution, Reason: reason})
	}
}

// spent says why an executor that was found again takes no more jobs.
func (e *executor) spent() string {
	last, ok := e.Spool.Job(e.record.Job)
	switch {
	case e.job != nil:
		return ""
	case e.retire != "":
		return e.retire
	case e.record.Mode != msg.Daemon && e.record.Jobs > 0:
		return "it runs one job only, and that is over"
	case ok && last.Stage >= msg.Ended && last.Ending.Outcome != msg.Completed:
		return "its job was " + string(last.Ending.Outcome)
	}
	return ""
}
