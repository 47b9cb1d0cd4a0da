package actors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"runnerd/actors/shell"
	msg "runnerd/messages"
)

// An executor's end: why it comes, and what is done when its container has ended.

// killed is the exit code of a process that got SIGKILL.
const killed = 128 + 9

// afterExit bounds how long the engine may take to hand on the next of what is left of the output.
const afterExit = 10 * time.Second

// limitPassed: the state, or what it waits for, has lasted too long.
func (e *executor) limitPassed(c *shell.Ctx[msg.ToExecutor]) {
	limits, image := e.Limits, e.record.Key.Image
	if e.job != nil && e.job.giving { // whether it is out is not known yet: it must not move
		c.Log().Warn().Str("executor", string(e.id)).Str("job", string(e.job.job.Execution)).Msg("the hand-out takes long")
		e.limit(c, limits.PickUp)
		return
	}
	switch e.state {
	case pulling:
		e.notStarted(c, fmt.Sprintf("image %s was not there after %v. Check the registry and the network, or raise the pull limit", image, limits.Pull))
	case starting:
		e.notStarted(c, fmt.Sprintf("the plugin of image %s did not ask for its job within %v. Is it built with the integration SDK? "+
			"An image that is slow to start needs a higher pick-up limit", image, limits.PickUp))
	case running:
		if e.job.verdict == nil {
			e.conclude(c, msg.Ending{Outcome: msg.TimedOut, Message: fmt.Sprintf("the plugin had no result after %v and was stopped", e.runLimit())})
		}
	case settling:
		e.stop(c, fmt.Sprintf("it neither asked for its next job nor ended within %v after its result", limits.Settle))
	case gone:
		if !e.logsEnded {
			c.Log().Warn().Str("executor", string(e.id)).Msg("the engine does not hand on the rest of the output")
			e.logsEnded = true
			e.examine(c)
		}
	case unborn, idle, stopping:
	}
}

// notStarted fails the job that the executor was started for, and gives the executor up.
func (e *executor) notStarted(c *shell.Ctx[msg.ToExecutor], why string) {
	if e.state == stopping || e.state == gone {
		e.remove(c)
		return
	}
	e.retire = why
	switch {
	case e.job == nil:
		e.stop(c, why)
	case e.job.verdict == nil:
		e.conclude(c, msg.Ending{Outcome: msg.Failed, Message: why})
	}
}

// stop ends an executor that has no job handed out, at once and without grace. A job that was only assigned moves on.
func (e *executor) stop(c *shell.Ctx[msg.ToExecutor], why string) {
	if e.state == stopping || e.state == gone {
		return
	}
	e.retire = why
	if e.job != nil {
		e.dispatcher.Tell(msg.JobReturned{Executor: e.id, Execution: e.job.job.Execution, Reason: why})
		e.job = nil
	}
	e.dispatcher.Tell(msg.Retired{Executor: e.id, Reason: why})
	c.Log().Info().Str("executor", string(e.id)).Str("reason", why).Msg("executor is stopped")
	e.pullTask.Cancel()
	e.enter(c, stopping)
	switch {
	case e.inFlight: // its answer must not be overtaken
	case e.observed:
		e.signal(c, killStep)
	default:
		e.remove(c)
	}
}

// exited: the place is free from here on; clearing away is on nobody's path.
func (e *executor) exited(c *shell.Ctx[msg.ToExecutor], m msg.Exited) {
	absent := errors.Is(m.Err, msg.ErrNoExecutor)
	if m.Err != nil && !absent {
		e.retry(c, "wait", m.Err)
		return
	}
	e.exit = &m.Exit
	if absent {
		e.exit = &msg.Exit{Code: -1}
	}
	if e.state != gone {
		e.enter(c, gone)
	}
	c.Cancel("stop step")
	if e.isStopping() {
		e.job.stop.took = e.stopLasts()
	}
	e.limit(c, afterExit)
	e.dispatcher.Tell(msg.Gone{Executor: e.id, Reason: e.retire})
	c.Log().Info().Str("executor", string(e.id)).Int("exit", e.exit.Code).Bool("oom", e.exit.OOM).Msg("executor has ended")
	if absent || e.logsEnded {
		e.logsEnded = true
		e.examine(c)
	}
}

// examine looks for the last time: only now is it known that there is no result.
func (e *executor) examine(c *shell.Ctx[msg.ToExecutor]) {
	e.limit(c, 0)
	gateway, spool, book, id, job := e.Gateway, e.Spool, e.book, e.id, e.record.Job
	var stopped *stopSequence
	if e.isStopping() {
		was := *e.job.stop
		stopped = &was
	}
	c.Go("examine", func(context.Context) msg.ToExecutor {
		err := gateway.Look(id)
		refused, is := errors.AsType[msg.ResultRefused](err)
		if is {
			err = nil
		}
		if err == nil {
			err = takeBack(spool, book, id, job)
		}
		if rec, ok := spool.Job(job); err == nil && ok && stopped != nil {
			_, err = spool.Stopped(job, howItEnded(stopped.signal(), rec.HasResult, stopped.took))
		}
		if err != nil {
			return msg.Examined{Err: err}
		}
		closed, err := book.closeAll()
		return msg.Examined{Closed: closed, Refused: refused.Reason, Err: err}
	})
}

// takeBack lets a job go to another executor if this one, which has ended, has proven that it did not start it. The job's log
// goes on there.
func takeBack(spool Spool, book *logbook, id msg.ExecutorID, job msg.ExecutionID) error {
	rec, ok := spool.Job(job)
	if !ok || rec.Stage != msg.HandedOut || !rec.Unstarted || rec.Executor != id {
		return nil
	}
	return errors.Join(book.leave(job), spool.TakeBack(job))
}

func (e *executor) examined(c *shell.Ctx[msg.ToExecutor], m msg.Examined) {
	for _, job := range m.Closed {
		e.reporter.Tell(msg.Report{Execution: job})
	}
	if m.Err != nil {
		e.retry(c, "examination", m.Err)
		return
	}
	if e.job == nil {
		e.remove(c)
		return
	}
	if e.job.giving {
		e.retry(c, "examination", errors.New("a hand-out is on its way"))
		return
	}
	rec, ok := e.Spool.Job(e.job.job.Execution)
	switch {
	case !ok || rec.Stage >= msg.Ended:
		e.jobOver(c)
	case e.job.given && rec.Stage < msg.HandedOut && e.job.verdict == nil:
		e.dispatcher.Tell(msg.JobReturned{Executor: e.id, Execution: e.job.job.Execution, Reason: "the executor ended and did not start it"})
		e.job = nil
		e.remove(c)
	case !e.job.given && (e.record.Jobs > 0 || e.attached):
		e.dispatcher.Tell(msg.JobReturned{Executor: e.id, Execution: e.job.job.Execution, Reason: "the executor ended before it took the job"})
		e.job = nil
		e.remove(c)
	case e.job.verdict == nil:
		if e.obeyNoted(c); e.job.verdict == nil {
			e.conclude(c, msg.Ending{Outcome: msg.Failed, ExitCode: e.exit.Code, Message: cmp.Or(m.Refused, e.exitReason())})
		}
	}
}

// exitReason says why there is no result, to the one who waits for it.
func (e *executor) exitReason() string {
	what := "without a result"
	if !e.job.given {
		what = "before it asked for its job"
	}
	switch {
	case e.exit.OOM:
		return fmt.Sprintf("the plugin was killed for lack of memory %s. Its executor may use more if the memory limit is raised", what)
	case e.exit.Code == killed: // not by the runner: that kills no executor whose job is open
		return fmt.Sprintf("the plugin was killed (signal 9) %s, most often for lack of memory: of the machine, or of its own. "+
			"Its executor may use more if the memory limit is raised", what)
	case e.exit.Code < 0 && e.record.Mode == msg.Files:
		return "the runner was restarted while the job ran in a child process; a child process ends with its runner. " +
			"Run the job again, or use the driver docker, whose containers outlive a restart"
	case e.exit.Code < 0:
		return fmt.Sprintf("the plugin's container is gone %s: somebody removed it, or the machine was restarted", what)
	default:
		return fmt.Sprintf("the plugin exited with code %d %s", e.exit.Code, what)
	}
}

// remove clears away what is left.
func (e *executor) remove(c *shell.Ctx[msg.ToExecutor]) {
	shop, book, id := e.Shop, e.book, e.id
	c.Go("remove", func(ctx context.Context) msg.ToExecutor {
		ctx, cancel := context.WithTimeout(ctx, engineAnswers)
		defer cancel()
		if err := shop.Driver.Remove(ctx, id); err != nil {
			return msg.Removed{Err: err}
		}
		shop.Gateway.Dismiss(id)
		closed, err := book.closeAll()
		if err == nil {
			err = shop.Spool.RemoveExecutor(id)
		}
		return msg.Removed{Closed: closed, Err: err}
	})
}

func (e *executor) removed(c *shell.Ctx[msg.ToExecutor], m msg.Removed) {
	for _, job := range m.Closed {
		e.reporter.Tell(msg.Report{Execution: job})
	}
	if m.Err != nil {
		e.retry(c, "removal", m.Err)
		return
	}
	if e.state != gone {
		e.enter(c, gone)
		e.dispatcher.Tell(msg.Gone{Executor: e.id, Reason: e.retire})
	}
	if e.isStopping() { // its container never was
		e.reporter.Tell(msg.Report{Execution: e.job.job.Execution, Over: true})
	}
	c.StopSelf()
}
