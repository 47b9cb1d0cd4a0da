package actors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"runnerd/actors/shell"
	msg "runnerd/messages"
)

// An executor's job, from its assignment to its ending.

// pythonJobs is how many jobs an unmodified daemon of the Python SDK takes at most: it nests one more open watch with each,
// and fails at about 320 (executor-contract.md, rule 14).
const pythonJobs = 200

func (e *executor) assign(c *shell.Ctx[msg.ToExecutor], m msg.Assign) {
	e.seq = m.Seq
	if e.retire != "" || e.state == stopping || e.state == gone {
		e.dispatcher.Tell(msg.JobReturned{Executor: e.id, Execution: m.Job.Execution, Reason: e.retire})
		if e.state != unborn { // else it is not known yet what there is to stop
			e.stop(c, e.retire)
		}
		return
	}
	e.job = &assignment{job: m.Job}
	switch {
	case e.state == pulling:
		e.prepare(c)
	case e.held:
		e.give(c)
	} // else at the next GET
}

// give hands the job out.
func (e *executor) give(c *shell.Ctx[msg.ToExecutor]) {
	e.job.giving = true
	e.limit(c, e.Limits.PickUp)
	shop, book, id, job := e.Shop, e.book, e.id, e.job.job.Execution
	c.Go("hand out", func(ctx context.Context) msg.ToExecutor {
		secrets, err := openInput(shop, job)
		if err != nil {
			return msg.GivenJob{Execution: job, Unreadable: true, Err: err}
		}
		from := time.Now()
		book.open(job, from, secrets)
		env, err := handOut(ctx, shop, book, id, job, from)
		if err != nil {
			book.withdraw(job)
		}
		return msg.GivenJob{Execution: job, Env: env, Err: err}
	})
}

func handOut(ctx context.Context, shop Shop, book *logbook, id msg.ExecutorID, job msg.ExecutionID, from time.Time) (env map[string]string, err error) {
	mask, err := shop.Vault.Seal(book.known())
	if err != nil {
		return nil, err
	}
	if err := shop.Spool.UpdateExecutor(id, func(r *msg.ExecutorRecord) { r.Mask = mask }); err != nil {
		return nil, err
	}
	return shop.Gateway.HandOut(ctx, id, job, from)
}

// openInput checks that the plugin will be able to read its input, and returns what must not be shown of it.
func openInput(shop Shop, job msg.ExecutionID) ([]msg.Secret, error) {
	rec, ok := shop.Spool.Job(job)
	if !ok {
		return nil, fmt.Errorf("the spool has no job of execution %q", job)
	}
	input, err := shop.Spool.Input(job)
	if err != nil {
		return nil, err
	}
	return shop.Vault.Open(rec.SealedKey, input)
}

func (e *executor) given(c *shell.Ctx[msg.ToExecutor], m msg.GivenJob) {
	if e.job == nil || e.job.job.Execution != m.Execution || e.job.given {
		return
	}
	e.job.giving = false
	switch {
	case m.Unreadable:
		e.conclude(c, msg.Ending{Outcome: msg.Failed, Message: fmt.Sprintf("the job cannot be run: %v", m.Err)})
	case m.Err == nil:
		e.hasJob(c)
		if e.record.Mode == msg.Files && e.state != gone {
			e.launch(c, m.Env)
		}
		if e.job.abort != "" {
			e.abort(c, msg.AbortJob{Execution: m.Execution, Reason: e.job.abort})
		}
	case e.job.abort != "":
		e.abort(c, msg.AbortJob{Execution: m.Execution, Reason: e.job.abort})
	case e.record.Jobs > 0:
		e.stop(c, fmt.Sprintf("it did not take its job: %v", m.Err))
	case errors.Is(m.Err, msg.ErrNotHeld) && e.record.Mode != msg.Files:
		if e.held { // its loss was not heard of yet, or another one has come since
			e.retry(c, "hand-out", m.Err)
		} // else another one comes, or the limit of the pick-up
	default:
		e.conclude(c, msg.Ending{Outcome: msg.Failed, Message: fmt.Sprintf("the job cannot be handed out: %v", m.Err)})
	}
}

// hasJob: from here on the job is this executor's and nobody else's.
func (e *executor) hasJob(c *shell.Ctx[msg.ToExecutor]) {
	e.job.given, e.job.giving, e.held = true, false, false
	e.record.Jobs++
	e.record.Before = e.record.Job
	e.record.Job, e.record.IdleSince = e.job.job.Execution, time.Time{}
	if e.state != gone { // else its end was quicker than the journal
		e.enter(c, running)
	}
}

func (e *executor) atDoor(c *shell.Ctx[msg.ToExecutor], v msg.Visit) {
	result, ok := v.(msg.ResultStored)
	switch {
	case e.state == gone: // the last look finds it in the spool
		return
	case e.state == stopping:
		if ok {
			e.resultStored(c, result)
		}
		return
	}
	switch v := v.(type) {
	case msg.Held:
		e.held = true
		switch {
		case e.job == nil:
			e.waits(c)
		case !e.job.given && !e.job.giving && e.job.verdict == nil:
			e.give(c)
		}
	case msg.HoldLost:
		e.holdLost(c)
	case msg.Delivered:
		c.Log().Debug().Str("executor", string(e.id)).Str("job", string(v.Execution)).Msg("input delivered")
	case msg.NotStarted:
		c.Log().Warn().Str("executor", string(e.id)).Str("job", string(v.Execution)).Str("proof", v.Proof).Msg("the plugin did not start the job: it is handed out once more")
	case msg.ResultStored:
		e.resultStored(c, v)
	case msg.ResultRefused:
		if e.job != nil && e.job.job.Execution == v.Execution && e.job.verdict == nil {
			e.takeNoMore(c, "its result was refused")
			e.conclude(c, msg.Ending{Outcome: msg.Failed, Message: v.Reason})
		}
	case msg.Introduced:
		e.sdk = v.SDK
	}
}

// holdLost: its GET does not wait any more, or nobody would tell.
func (e *executor) holdLost(c *shell.Ctx[msg.ToExecutor]) {
	e.held = false
	if e.state == idle && (e.job == nil || !e.job.giving) {
		e.enter(c, settling)
		e.dispatcher.Tell(msg.Unsettled{Executor: e.id, Seq: e.seq})
	}
}

// resultStored may overtake the answer of the hand-out: a plugin can be that quick.
func (e *executor) resultStored(c *shell.Ctx[msg.ToExecutor], v msg.ResultStored) {
	if v.Retire != "" {
		e.takeNoMore(c, v.Retire)
	}
	if e.job == nil || e.job.job.Execution != v.Execution {
		if v.Retire != "" && e.state == settling { // stored before this actor came
			e.stop(c, v.Retire)
		}
		return
	}
	if e.job.giving {
		e.hasJob(c)
	}
	c.Log().Info().Str("executor", string(e.id)).Str("job", string(e.job.job.Execution)).Str("via", string(v.Result.Via)).Int("exit", v.Result.ExitCode).Msg("result is stored")
	if e.isStopping() {
		e.noteStop(c)
		return
	}
	e.jobOver(c)
}

// conclude ends the job without a result of the plugin's, unless one came first.
func (e *executor) conclude(c *shell.Ctx[msg.ToExecutor], ending msg.Ending) {
	e.job.verdict = &ending
	spool, book, job := e.Spool, e.book, e.job.job.Execution
	given := e.job.given
	tail := ending.Outcome == msg.Failed && e.state != pulling
	c.Go("end job", func(context.Context) msg.ToExecutor {
		if tail {
			ending.Message += lastLines(spool, job)
		}
		stands, err := spool.End(job, ending)
		if err == nil && !given { // no actor but this one knows whose the log is
			err = book.close(job)
		}
		return msg.JobEnded{Execution: job, Ending: stands, Err: err}
	})
}

func (e *executor) ended(c *shell.Ctx[msg.ToExecutor], m msg.JobEnded) {
	if e.job == nil || e.job.job.Execution != m.Execution {
		return
	}
	if _, there := e.Spool.Job(m.Execution); m.Err != nil && there {
		e.retry(c, "ending", m.Err)
		return
	}
	delete(e.failed, "ending")
	c.Log().Info().Str("executor", string(e.id)).Str("job", string(e.job.job.Execution)).Str("outcome", string(m.Ending.Outcome)).Str("reason", m.Ending.Message).Msg("job has its ending")
	if asked := m.Ending.Outcome == msg.Aborted || m.Ending.Outcome == msg.TimedOut; asked && e.state == running {
		e.takeNoMore(c, "its job was "+string(m.Ending.Outcome))
		e.stopJob(c, 0)
		return
	}
	e.jobOver(c)
}

// jobOver: the job has its ending in the spool. What is left is the executor's own future.
func (e *executor) jobOver(c *shell.Ctx[msg.ToExecutor]) {
	job := e.job.job.Execution
	if e.isStopping() {
		rec, _ := e.Spool.Job(job)
		c.Log().Info().Str("executor", string(e.id)).Str("job", string(job)).Str("reason", rec.Ending.Message).Msg("job is stopped")
	}
	e.job = nil
	e.reporter.Tell(msg.Report{Execution: job, Over: true})
	e.dispatcher.Tell(msg.JobOver{Executor: e.id, Execution: job})
	switch e.state {
	case running:
		e.enter(c, settling)
		if e.retire != "" {
			e.stop(c, e.retire)
		} else if e.held {
			e.waits(c)
		}
	case settling, idle: // it was assigned and could not be run
		if e.held {
			e.waits(c)
		}
	case unborn, pulling, starting:
		e.stop(c, "its job ended before it was handed out")
	case stopping:
		e.signal(c, killStep)
	case gone:
		if e.logsEnded { // else the examination removes it, when the rest of its output is read
			e.remove(c)
		}
	}
}

// waits: the executor's GET is held, and it has no job.
func (e *executor) waits(c *shell.Ctx[msg.ToExecutor]) {
	switch {
	case e.retire != "":
		e.stop(c, e.retire)
		return
	case e.record.Mode != msg.Daemon:
		e.stop(c, "it was started for one job only")
		return
	case e.sdk == msg.PythonSDK && e.record.Jobs >= pythonJobs:
		e.stop(c, fmt.Sprintf("it has run %d jobs, as many as the Python SDK bears", e.record.Jobs))
		return
	}
	if e.state == starting {
		e.enter(c, settling)
	}
	if e.state != idle {
		e.enter(c, idle)
	}
	e.noteIdle(c)
	e.dispatcher.Tell(msg.Idle{Executor: e.id, Seq: e.seq, Since: e.record.IdleSince})
	if e.record.Job != "" {
		e.closeLater(c, e.record.Job)
	}
}

// noteIdle keeps the time of the first hold in the executor's record.
func (e *executor) noteIdle(c *shell.Ctx[msg.ToExecutor]) {
	if !e.record.IdleSince.IsZero() {
		return
	}
	e.record.IdleSince = time.Now()
	rec := e.record
	c.Go("note idle", e.noted(func(r *msg.ExecutorRecord) {
		if r.Jobs == rec.Jobs { // no other job came meanwhile
			r.IdleSince = rec.IdleSince
		}
	}))
}

// noted is a task that changes the executor's record.
func (e *executor) noted(change func(*msg.ExecutorRecord)) func(context.Context) msg.ToExecutor {
	spool, id := e.Spool, e.id
	return func(context.Context) msg.ToExecutor {
		if err := spool.UpdateExecutor(id, change); err != nil {
			return msg.NotNoted{Err: err}
		}
		return nil
	}
}

func (e *executor) abort(c *shell.Ctx[msg.ToExecutor], m msg.AbortJob) {
	switch {
	case e.job == nil || e.job.job.Execution != m.Execution || e.job.verdict != nil:
	case e.job.giving, e.state == unborn: // whether it is out, or how it fares, will be known in a moment
		e.job.abort = m.Reason
	default:
		e.conclude(c, msg.Ending{Outcome: msg.Aborted, Message: "aborted" + e.when() + ": " + m.Reason})
	}
}

// when says how far the executor had come with a job that no plugin has.
func (e *executor) when() string {
	switch {
	case e.job.given:
		return ""
	case e.state == pulling:
		return " while its image was pulled"
	case e.state == starting && !e.observed:
		return " while its executor was started"
	default:
		return " before its plugin asked for it"
	}
}

// retireFor ends the executor: now, or after its job.
func (e *executor) retireFor(c *shell.Ctx[msg.ToExecutor], reason string) {
	if e.job == nil && e.state != unborn {
		e.stop(c, reason)
		return
	}
	e.takeNoMore(c, reason)
}

// takeNoMore keeps in the executor's record that its job is its last.
func (e *executor) takeNoMore(c *shell.Ctx[msg.ToExecutor], why string) {
	e.retire = why
	c.Go("note retirement", e.noted(func(r *msg.ExecutorRecord) { r.Retired = why }))
}
