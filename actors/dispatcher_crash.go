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

// What the dispatcher does when an executor's actor crashes: it starts another, gives the job up, and in the end the executor.

// executorRestart is the wait before an executor's actor that crashed is started again.
var executorRestart = backoff{min: 100 * time.Millisecond, max: 10 * time.Second, jitter: 0.2}

func (d *dispatcher) crashed(c *actorrt.Ctx[msg.ToDispatcher], x *member, crash *actorrt.Crash) {
	c.Cancel(evictionTimer(x.id))
	if time.Since(x.spawned) >= stableAfter {
		x.crashes = 0
	}
	x.crashes++
	if x.state.mayGiveWay() {
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
	if m.Crashes >= poisonAfter {
		if x.job != nil && x.job.job.Execution == m.Execution {
			x.job = nil
		}
		d.reporter.Tell(msg.Report{Execution: m.Execution})
	}
	if x.crashes >= giveUpAfter {
		c.Log().Error().Str("executor", string(x.id)).Int("crashes", x.crashes).Msg("executor is given up: please report this with the runner's log")
		d.reap(c, x)
		return
	}
	c.After("respawn "+string(x.id), executorRestart.after(x.crashes, c.Jitter()), msg.RestartDue{Executor: x.id})
}

// restart gives an executor whose actor crashed a new one, if anything is left of it. An assignment that was not handed out
// is repeated.
func (d *dispatcher) restart(c *actorrt.Ctx[msg.ToDispatcher], x *member) {
	if x == nil {
		return
	}
	d.reportAll(x.id, false) // what the actor had to say of them may be lost
	onItsWay := x.state == slotStopping || x.state == slotFreed
	open := d.jobIsOpen(c, x)
	if !open {
		x.job = nil
	}
	if !d.hasRecord(x.id) && (onItsWay || !open) { // not made yet, or cleared away
		d.requeueUnstarted(c, x)
		d.reap(c, x) // its door may be open
		return
	}
	d.spawn(c, x, false)
	if open {
		d.repeatOrders(x)
	}
	if onItsWay {
		x.ref.Tell(msg.Retire{Reason: "it was on its way out"})
	}
}

// repeatOrders repeats to an executor's new actor what the one before was told of its job. The spool may lack the abort.
func (d *dispatcher) repeatOrders(x *member) {
	rec, _ := d.Spool.Job(x.jobID())
	if rec.Stage < msg.HandedOut {
		x.ref.Tell(msg.Assign{Job: x.job.job, Seq: x.seq})
	}
	if reason := cmp.Or(x.job.abort, rec.Abort); reason != "" {
		x.ref.Tell(msg.AbortJob{Execution: x.jobID(), Reason: reason})
	}
}

// jobIsOpen reports whether the executor's job has no ending yet. One that has is reported; if it was never handed out, nobody
// else knows of its log any more.
func (d *dispatcher) jobIsOpen(c *actorrt.Ctx[msg.ToDispatcher], x *member) bool {
	rec, ok := d.Spool.Job(x.jobID())
	if ok && rec.Stage >= msg.Ended && rec.Executor == "" {
		d.endWaiting(c, msg.EndWaiting{Job: rec.Job, Ending: rec.Ending})
	}
	return ok && rec.Stage < msg.Ended
}

func (d *dispatcher) hasRecord(id msg.ExecutorID) bool {
	return slices.ContainsFunc(d.Spool.Executors(), func(rec msg.ExecutorRecord) bool { return rec.ID == id })
}

func (d *dispatcher) reportAll(of msg.ExecutorID, over bool) {
	for _, job := range d.Spool.JobsOf(of) {
		d.reporter.Tell(msg.Report{Execution: job.Execution, ExecutorDone: over})
	}
}

// countCrash journals an actor's crash with the job that it was about, and fails the job when it has had enough of them.
func countCrash(spool Spool, id msg.ExecutionID, actor string) int {
	n, err := spool.Crash(id, actor)
	if err != nil || n < poisonAfter { // not in the spool (any more): nothing to count
		return n
	}
	where := actor[strings.LastIndexByte(actor, '/')+1:]
	ending := msg.Ending{Outcome: msg.Failed, Message: fmt.Sprintf(
		"the runner gave this job up: %d times an actor (last: %s) crashed on it. Please report this with the runner's log.", n, where)}
	if rec, _ := spool.Job(id); rec.Executor == "" {
		_ = endUnlogged(spool, id, ending) // an error leaves the job as it is, and so to the next crash
	} else { // its executor's output is still being read: the executor's end closes the log
		_, _ = spool.End(id, ending)
	}
	return n
}

// orphan takes in a container that nobody needs: until it is removed it is one of those that exist.
func (d *dispatcher) orphan(c *actorrt.Ctx[msg.ToDispatcher], id msg.ExecutorID) {
	if d.members[id] == nil {
		d.members[id] = &member{slot: slot{id: id}}
		d.reap(c, d.members[id])
	}
}

// reap clears an executor away without an actor of its own, for as long as it takes.
func (d *dispatcher) reap(c *actorrt.Ctx[msg.ToDispatcher], x *member) {
	if x.state != slotFreed {
		x.state = slotStopping
	}
	x.reapAttempts++
	deps, id, open := d.ExecutorDeps, x.id, x.jobID()
	c.Go("bury "+string(id), func(ctx context.Context) msg.ToDispatcher {
		return msg.Reaped{Executor: id, Err: reapExecutor(ctx, deps, id, open)}
	})
}

func (d *dispatcher) reaped(c *actorrt.Ctx[msg.ToDispatcher], m msg.Reaped) {
	x := d.members[m.Executor]
	if m.Err != nil {
		wait := towardsEngine.after(x.reapAttempts, c.Jitter())
		c.Log().Warn().Err(m.Err).Str("executor", string(x.id)).Int("attempt", x.reapAttempts).Dur("retry", wait).Msg("executor that nobody needs is not removed yet")
		c.After("bury "+string(x.id), wait, msg.ReapDue{Executor: x.id})
		return
	}
	c.Log().Info().Str("executor", string(x.id)).Msg("executor that nobody needs is removed")
	d.reportAll(x.id, true)
	if x.job != nil {
		d.reporter.Tell(msg.Report{Execution: x.jobID(), ExecutorDone: true})
	}
	d.removeMember(c, x)
}

// reap kills and removes an executor, ends what is open of its job and its logs, and takes away what is left. A result that
// it has left behind still counts.
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
		if job.Log.Ended {
			continue
		}
		if job.Stage == msg.HandedOut {
			if _, _, err := storeResultFile(deps, id, msg.ResultFile{Execution: job.Execution, Written: true}); err != nil { // an ending would shut the result out
				errs = append(errs, err)
				continue
			}
		}
		errs = append(errs, endUnlogged(deps.Spool, job.Execution, msg.Ending{Outcome: msg.Failed, Message: fmt.Sprintf(
			"the runner gave the plugin's executor up: its actors crashed %d times in a row. Please report this with the runner's log.", giveUpAfter)}))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	deps.Gateway.Dismiss(id)
	return deps.Spool.RemoveExecutor(id)
}

// endUnlogged decides the ending of a job that will write no more log. It may be repeated after an error.
func endUnlogged(spool Spool, id msg.ExecutionID, ending msg.Ending) error {
	if _, err := spool.End(id, ending); err != nil {
		return err
	}
	return spool.EndLog(id)
}
