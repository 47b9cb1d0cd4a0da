package actors

import (
	"context"
	"errors"
	"fmt"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

// recovery gives the dispatcher the executors that survived a restart of the process or of the dispatcher, and ends lost jobs. It lists
// the driver's containers, reads the spool, and carries out the plan.
type recovery struct {
	ExecutorDeps
	dispatcher msg.Receiver[msg.ToDispatcher]
	reporter   msg.Receiver[msg.ToReporter]
	runner     msg.Receiver[msg.ToRunner]

	failures  int
	remaining []action // for cleanUp; nil until the plan is made
}

func (r *recovery) Start(c *actorrt.Ctx[msg.ToRecovery]) { r.list(c) }

func (r *recovery) Receive(c *actorrt.Ctx[msg.ToRecovery], m msg.ToRecovery) {
	switch m := m.(type) {
	case msg.Listed:
		if m.Err != nil {
			r.retry(c, fmt.Errorf("list the executors: %w", m.Err))
			return
		}
		r.failures = 0
		r.execute(c, plan(r.Spool.Jobs(), r.Spool.Executors(), m.Containers))
	case msg.ListDue:
		if r.remaining != nil {
			r.cleanUp(c)
		} else {
			r.list(c)
		}
	case msg.CleanedUp:
		if m.Err != nil {
			r.retry(c, m.Err)
			return
		}
		r.done()
	}
}

func (r *recovery) list(c *actorrt.Ctx[msg.ToRecovery]) {
	drv := r.Driver
	c.Go("list", func(ctx context.Context) msg.ToRecovery {
		ctx, cancel := context.WithTimeout(ctx, engineTimeout)
		defer cancel()
		if err := drv.Ready(ctx); err != nil {
			return msg.Listed{Err: err}
		}
		containers, err := drv.List(ctx)
		return msg.Listed{Containers: containers, Err: err}
	})
}

// retry repeats a failed step until it succeeds: an engine that does not respond says nothing about a container.
func (r *recovery) retry(c *actorrt.Ctx[msg.ToRecovery], err error) {
	r.failures++
	wait := towardsEngine.after(r.failures, c.Jitter())
	c.Log().Warn().Err(err).Int("attempt", r.failures).Dur("retry", wait).Msg("recovery failed; will retry")
	r.runner.Tell(msg.RecoveryWaiting{Reason: err.Error()})
	c.After("list", wait, msg.ListDue{})
}

func (r *recovery) execute(c *actorrt.Ctx[msg.ToRecovery], todo []action) {
	r.remaining = []action{}
	for _, a := range todo {
		switch {
		case a.adopt != nil:
			c.Log().Info().Str("executor", string(a.adopt.ID)).Str("image", a.adopt.Key.Image).Msg("adopting executor")
			r.dispatcher.Tell(msg.Adopt{Record: *a.adopt})
		case a.reap != "":
			r.dispatcher.Tell(msg.Orphan{Executor: a.reap})
		default:
			r.remaining = append(r.remaining, a)
		}
	}
	r.cleanUp(c)
}

// cleanUp fails lost jobs, and closes the logs of jobs whose executors no longer exist.
func (r *recovery) cleanUp(c *actorrt.Ctx[msg.ToRecovery]) {
	spool, todo := r.Spool, r.remaining
	c.Go("clean up", func(context.Context) msg.ToRecovery {
		var errs []error
		for _, a := range todo {
			errs = append(errs, a.execute(spool))
		}
		return msg.CleanedUp{Err: errors.Join(errs...)}
	})
}

func (a action) execute(spool Spool) error {
	if a.lost != nil {
		return endAndCloseLog(spool, a.lost.id, msg.Ending{Outcome: msg.Failed, Message: "the job is lost: " + a.lost.why + lastLines(spool, a.lost.id)})
	}
	return spool.CloseLog(a.closeLog)
}

func (r *recovery) done() {
	known := map[msg.ExecutorID]bool{}
	for _, rec := range r.Spool.Executors() {
		known[rec.ID] = true
	}
	for _, job := range r.Spool.Jobs() { // reports of the previous actors may be lost
		if job.Stage >= msg.HandedOut {
			r.reporter.Tell(msg.Report{Execution: job.Execution, ExecutorDone: !known[job.Executor]})
		}
	}
	r.dispatcher.Tell(msg.AdoptionEnded{})
	r.runner.Tell(msg.Recovered{})
}
