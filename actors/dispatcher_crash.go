package actors

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

// How the dispatcher handles the crash of an executor's actor: it starts a new actor, fails the job after maxJobCrashes, and removes the
// executor after maxExecutorCrashes.

// executorRestart is the backoff before a crashed actor of an executor is replaced.
var executorRestart = backoff{min: 100 * time.Millisecond, max: 10 * time.Second, jitter: 0.2}

func (d *dispatcher) crashed(c *actorrt.Ctx[msg.ToDispatcher], x *member, crash *actorrt.Crash) {
	c.Cancel(evictionTimer(x.id))
	if time.Since(x.spawned) >= stableAfter {
		x.crashes = 0
	}
	x.crashes++
	if x.state.isEvictable() {
		x.state = slotBusy
	}
	counted := msg.CrashCounted{Executor: x.id, Execution: cmp.Or(msg.ExecutionID(crash.Subject), x.jobID())}
	if counted.Execution == "" {
		d.crashCounted(c, counted)
		return
	}
	spool := d.Spool
	c.Go("count crash", func(context.Context) msg.ToDispatcher {
		counted.Crashes = countCrash(spool, counted.Execution, crash.Actor)
		return counted
	})
}

func (d *dispatcher) crashCounted(c *actorrt.Ctx[msg.ToDispatcher], m msg.CrashCounted) {
	x := d.members[m.Executor]
	if x == nil {
		return
	}
	if m.Crashes >= maxJobCrashes {
		if x.job != nil && x.job.job.Execution == m.Execution {
			x.job = nil
		}
		d.reporter.Tell(msg.Report{Execution: m.Execution})
	}
	if x.crashes >= maxExecutorCrashes {
		c.Log().Error().Str("executor", string(x.id)).Int("crashes", x.crashes).Msg("actors of an executor keep crashing, removing it: please report this with the runner's log")
		d.reap(c, x)
		return
	}
	c.After("restart "+string(x.id), executorRestart.after(x.crashes, c.Jitter()), msg.RestartDue{Executor: x.id})
}

// restart starts a new actor for an executor whose actor crashed, unless nothing of the executor remains. It repeats an assignment that
// was not handed out.
func (d *dispatcher) restart(c *actorrt.Ctx[msg.ToDispatcher], x *member) {
	if x == nil {
		return
	}
	d.reportAll(x.id, false) // the actor's last reports may be lost
	stopping := x.state == slotStopping || x.state == slotFreed
	open := d.jobIsOpen(c, x)
	if !open {
		x.job = nil
	}
	if !d.hasRecord(x.id) && (stopping || !open) { // not created yet, or removed
		d.requeueUnstarted(c, x)
		d.reap(c, x) // the gateway may have an endpoint for it
		return
	}
	d.spawn(c, x, false)
	if open {
		d.repeatOrders(x)
	}
	if stopping {
		x.ref.Tell(msg.Retire{Reason: "it was stopping when its actor crashed"})
	}
}

// repeatOrders sends an executor's new actor the orders about its job that the previous one had. The spool may lack the abort.
func (d *dispatcher) repeatOrders(x *member) {
	rec, _ := d.Spool.Job(x.jobID())
	if rec.Stage < msg.HandedOut {
		x.ref.Tell(msg.Assign{Job: x.job.job, Seq: x.seq})
	}
	if reason := cmp.Or(x.job.abort, rec.Abort); reason != "" {
		x.ref.Tell(msg.AbortJob{Execution: x.jobID(), Reason: reason})
	}
}

// jobIsOpen reports whether the executor's job has no ending yet. If the job has an ending but was never handed out, it closes the job's
// log and reports it, because no executor will.
func (d *dispatcher) jobIsOpen(c *actorrt.Ctx[msg.ToDispatcher], x *member) bool {
	rec, ok := d.Spool.Job(x.jobID())
	if ok && rec.Stage >= msg.Ended && rec.Executor == "" {
		d.endWaitingJob(c, msg.EndWaitingJob{Job: rec.Job, Ending: rec.Ending})
	}
	return ok && rec.Stage < msg.Ended
}

func (d *dispatcher) hasRecord(id msg.ExecutorID) bool {
	return slices.ContainsFunc(d.Spool.Executors(), func(rec msg.ExecutorRecord) bool { return rec.ID == id })
}

func (d *dispatcher) reportAll(of msg.ExecutorID, executorDone bool) {
	for _, job := range d.Spool.JobsOf(of) {
		d.reporter.Tell(msg.Report{Execution: job.Execution, ExecutorDone: executorDone})
	}
}

// countCrash journals an actor's crash with the job that it was about, and fails the job after maxJobCrashes. It returns the number of
// crashes.
func countCrash(spool Spool, id msg.ExecutionID, actor string) int {
	n, err := spool.Crash(id, actor)
	if err != nil || n < maxJobCrashes { // an error: the spool does not have the job
		return n
	}
	where := actor[strings.LastIndexByte(actor, '/')+1:]
	ending := msg.Ending{Outcome: msg.Failed, Message: fmt.Sprintf(
		"the runner gave up this job: its actors crashed on it %d times (last: %s). Please report this with the runner's log.", n, where)}
	if rec, _ := spool.Job(id); rec.Executor == "" {
		_ = endAndCloseLog(spool, id, ending) // after an error the next crash tries again
	} else { // the executor's output is still being read, and its end will close the log
		_, _ = spool.End(id, ending)
	}
	return n
}

// orphan reaps a container that has no record. It counts as an executor until it is removed.
func (d *dispatcher) orphan(c *actorrt.Ctx[msg.ToDispatcher], id msg.ExecutorID) {
	if d.members[id] == nil {
		d.members[id] = &member{slot: slot{id: id}}
		d.reap(c, d.members[id])
	}
}

// reap removes an executor that has no actor, and retries until that succeeds.
func (d *dispatcher) reap(c *actorrt.Ctx[msg.ToDispatcher], x *member) {
	if x.state != slotFreed {
		x.state = slotStopping
	}
	x.reapAttempts++
	deps, id, open := d.ExecutorDeps, x.id, x.jobID()
	c.Go("reap "+string(id), func(ctx context.Context) msg.ToDispatcher {
		return msg.Reaped{Executor: id, Err: reapExecutor(ctx, deps, id, open)}
	})
}

func (d *dispatcher) reaped(c *actorrt.Ctx[msg.ToDispatcher], m msg.Reaped) {
	x := d.members[m.Executor]
	if m.Err != nil {
		wait := towardsEngine.after(x.reapAttempts, c.Jitter())
		c.Log().Warn().Err(m.Err).Str("executor", string(x.id)).Int("attempt", x.reapAttempts).Dur("retry", wait).Msg("orphaned container could not be removed; will retry")
		c.After("reap "+string(x.id), wait, msg.ReapDue{Executor: x.id})
		return
	}
	c.Log().Info().Str("executor", string(x.id)).Msg("removed orphaned container")
	d.reportAll(x.id, true)
	if x.job != nil {
		d.reporter.Tell(msg.Report{Execution: x.jobID(), ExecutorDone: true})
	}
	d.removeMember(c, x)
}

// reapExecutor kills and removes an executor, ends its open jobs, closes their logs, and removes its directory. A result in its directory is
// stored first.
func reapExecutor(ctx context.Context, deps ExecutorDeps, id msg.ExecutorID, open msg.ExecutionID) error {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	if err := deps.Driver.Remove(ctx, id); err != nil {
		return err
	}
	jobs := deps.Spool.JobsOf(id)
	if job, ok := deps.Spool.Job(open); ok && job.Executor != id {
		jobs = append(jobs, job)
	}
	var errs []error
	for _, job := range jobs {
		if job.Log.Closed {
			continue
		}
		if job.Stage == msg.HandedOut { // once the job has an ending, its result would be rejected
			if _, _, err := storeResultFile(deps, id, msg.ResultFile{Execution: job.Execution, Written: true}); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		errs = append(errs, endAndCloseLog(deps.Spool, job.Execution, msg.Ending{Outcome: msg.Failed, Message: fmt.Sprintf(
			"the runner gave up the executor of the job: its actors crashed %d times in a row. Please report this with the runner's log.", maxExecutorCrashes)}))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	deps.Gateway.Dismiss(id)
	return deps.Spool.RemoveExecutor(id)
}

// endAndCloseLog ends a job that will produce no more output. It may be called again after an error.
func endAndCloseLog(spool Spool, id msg.ExecutionID, ending msg.Ending) error {
	if _, err := spool.End(id, ending); err != nil {
		return err
	}
	return spool.CloseLog(id)
}
