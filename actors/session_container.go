package actors

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	msg "runnerd/messages"
)

// The container: its creation, finding it again after a restart, its exit and its removal.

// exitKilled is the exit code of a process that got SIGKILL.
const exitKilled = 128 + 9

// drainTimeout bounds how long the engine may take after an exit to deliver the next part of the remaining output.
const drainTimeout = 10 * time.Second

// returnTimeout is how long an executor that waited for a job may take to ask again after a restart of the runner. A planned stop asks
// plugins to retry after 10 s; those that were cut off have 12 s to ask again before they get an event (rules 6 and 7).
const returnTimeout = 30 * time.Second

func (t *transition) prepared(err error) {
	t.creating = false
	switch {
	case t.state == stopping: // its stop was requested meanwhile
		t.do(remove{})
	case err != nil:
		t.notStarted(err.Error())
	default:
		t.do(listen{})
		t.do(pull{})
	}
}

func (t *transition) pulled(m msg.Pulled) {
	switch {
	case t.state != pulling: // it is stopping
	case m.Err != nil:
		t.notStarted(m.Err.Error())
	default:
		t.tell(msg.ImageFound{Executor: t.id, ImageID: m.Image})
		t.enter(starting)
		if t.mode == msg.Files {
			t.startHandOut()
		} else {
			t.launch(nil)
		}
	}
}

// launch creates and starts the container. Both steps may be repeated. A stop waits until launch returns, because only then is it known
// whether there is a container to remove.
func (t *transition) launch(env map[string]string) {
	t.creating = true
	t.do(launch{env})
}

func (t *transition) launched(err error) {
	t.creating = false
	hasRun := t.state.canHaveJob() || t.jobs > 0 && t.mode != msg.Files // its plugin has already asked for a job
	if err != nil && !hasRun {
		t.notStarted(err.Error())
		return
	}
	t.observe()
	switch t.state {
	case starting:
		if t.job.handOut != handingOut { // otherwise its plugin has already asked
			t.limit(t.limits.PickUp)
		}
	case stopping:
		t.signal(killStep)
	case fresh, pulling, running, finishing, idle, exited:
	}
}

// observe starts to read the container's output and to wait for its exit.
func (t *transition) observe() {
	t.observed = true
	t.do(readLogs{})
	t.do(waitForExit{})
}

// foundContainer continues an attached executor in the state that the engine reports.
func (t *transition) foundContainer(m msg.Found) {
	if m.Err != nil { // an error does not mean that the container is missing
		t.retry(msg.RetryFind, m.Err)
		return
	}
	t.inspected = true
	defer t.readOrServe() // requests that arrived meanwhile
	t.tell(msg.Attached{Executor: t.id})
	c := m.Container
	switch {
	case t.state == exited:
		return
	case c == nil, t.job.stop != nil && c.State == msg.ContainerCreated:
		t.exitSeen(msg.Exited{Err: msg.ErrNoExecutor})
		return
	case c.State == msg.ContainerCreated:
		if t.job.handOut == handedOut { // mode Files: the container was created with its job
			t.limit(t.runLimit()) // its process has not started yet
		}
		t.launch(nil)
		t.abortIfRequested()
		return
	}
	t.observe()
	t.log(zerolog.InfoLevel, "attached to executor", "state", t.state)
	t.do(closeOlderLogs{})
	switch {
	case m.Restarted:
		t.refuseRestarted()
	case t.job.stop != nil && c.State == msg.ContainerExited: // the signal that ended it is unknown
		t.job.stop.resumes = false
	case t.job.stop != nil:
		t.resumeStop()
	case t.job.handOut == noJob && t.retireReason != "":
		t.stop(t.retireReason)
	case t.state == starting || t.state == finishing:
		t.limit(max(t.limits.Finish, returnTimeout))
	}
	t.abortIfRequested()
}

// refuseRestarted ends an executor whose container was restarted from outside while no actor watched it: it runs another process.
func (t *transition) refuseRestarted() {
	const why = "its container was restarted from outside the runner"
	t.restarted = true
	switch {
	case t.job.handOut != handedOut:
		t.stop(why)
	case t.job.stop == nil && t.job.ending == nil:
		t.retireAfterJob(why)
		t.endWithoutResult(msg.Ending{Outcome: msg.Failed, Message: "the plugin's container was restarted from outside the runner while the job ran, and left no result. A job is not run twice"})
	default:
		t.signal(killStep)
	}
}

// limitPassed is called when the state, or what the session waits for, has lasted too long.
func (t *transition) limitPassed() {
	if t.job.handOut == handingOut { // whether the hand-out succeeds is not known yet, so the job must not move
		t.log(zerolog.WarnLevel, "handing out a job is slow", "execution", t.job.Execution, "limit", t.limits.PickUp)
		t.limit(t.limits.PickUp)
		return
	}
	switch t.state {
	case pulling:
		t.notStarted(fmt.Sprintf("image %s was not pulled within %v. Check the registry and the network, or raise --pull-timeout", t.image, t.limits.Pull))
	case starting:
		t.notStarted(fmt.Sprintf("the plugin of image %s did not ask for its job within %v. Check that it is built with the integration SDK; "+
			"if it is slow to start, raise --pickup-timeout", t.image, t.limits.PickUp))
	case running:
		if t.job.ending == nil {
			t.endWithoutResult(msg.Ending{Outcome: msg.TimedOut, Message: fmt.Sprintf("the plugin returned no result after %v and was stopped", t.runLimit())})
		}
	case finishing:
		t.stop(fmt.Sprintf("its plugin neither asked for its next job nor exited within %v after its result", t.limits.Finish))
	case exited:
		if !t.logsEnded {
			t.log(zerolog.WarnLevel, "engine did not deliver the rest of the executor's output")
			t.logsEnded = true
			t.examine()
		}
	case fresh, idle, stopping:
	}
}

// notStarted fails the job that the executor was started for, and ends the executor.
func (t *transition) notStarted(why string) {
	if t.state == stopping || t.state == exited {
		t.do(remove{})
		return
	}
	t.retireReason = why
	switch {
	case t.job.handOut == noJob:
		t.stop(why)
	case t.job.ending == nil:
		t.endWithoutResult(msg.Ending{Outcome: msg.Failed, Message: why})
	}
}

// stop kills an executor whose job is not handed out, without a grace time. A job that was only assigned moves to another executor.
func (t *transition) stop(why string) {
	if t.state == stopping || t.state == exited {
		return
	}
	t.retireReason = why
	if t.job.handOut != noJob {
		t.returnJob(why)
	}
	if !t.inspected { // there may be no container to stop
		return
	}
	t.tell(msg.Retired{Executor: t.id, Reason: why})
	t.do(cancelPull{})
	t.enter(stopping)
	switch {
	case t.creating: // the launch must return first
	case t.observed:
		t.signal(killStep)
	default:
		t.do(remove{})
	}
}

// exitSeen frees the slot, so that no job waits for the container's removal. After an unexpected exit the container may be starting again
// (docker restart) and would then run beside its successor: in that case the slot is freed only by the removal. The same holds if the
// container was restarted from outside before, because that may happen again.
func (t *transition) exitSeen(m msg.Exited) {
	absent := errors.Is(m.Err, msg.ErrNoExecutor)
	if m.Err != nil && !absent {
		t.retry(msg.RetryWait, m.Err)
		return
	}
	t.exit = &m.Exit
	if absent {
		t.exit, t.containerMissing = &msg.Exit{Code: -1}, true
	}
	was := t.state
	switch {
	case absent || t.mode == msg.Files || (was == stopping || was == finishing) && !t.restarted && t.exit.Code >= 0:
		t.freeSlot()
	case was == idle:
		t.do(tellNotIdle{})
	}
	if t.state != exited {
		t.enter(exited)
	}
	t.do(cancelTimer{stopTimer})
	t.do(cancelTimer{deliveryTimer})
	t.limit(drainTimeout)
	if was == stopping && !t.exit.OOM { // the runner ended it, so its exit code says nothing
		t.log(zerolog.InfoLevel, "executor stopped", "reason", t.retireReason)
	} else {
		t.log(zerolog.InfoLevel, "executor exited", "exit", t.exit.Code, "oom", t.exit.OOM)
	}
	if absent || t.logsEnded {
		t.logsEnded = true
		t.examine()
	}
}

func (t *transition) freeSlot() {
	if !t.slotFreed {
		t.slotFreed = true
		t.tell(msg.SlotFreed{Executor: t.id, Reason: t.retireReason})
	}
}

func (t *transition) logsRead(m msg.LogsEnded) {
	switch {
	case t.logsEnded: // too late
	case m.Err != nil && !errors.Is(m.Err, msg.ErrNoExecutor):
		if m.SpoolFailed && t.state == exited {
			t.limit(drainTimeout) // the spool failed, not the engine
		}
		t.retry(msg.RetryLogs, m.Err)
	default:
		t.logsEnded = true
		if t.exit != nil {
			t.examine()
		}
	}
}

// examine reads the result file for the last time: only after the exit is a missing result final.
func (t *transition) examine() {
	t.limit(0)
	e := examine{job: t.job.Execution, last: t.last, previous: t.previous, unstarted: t.provedUnstarted(), unacknowledged: !t.job.unstarted}
	if t.job.stop != nil {
		stop := *t.job.stop
		if stop.signal() == msg.SIGKILL && t.exit.Code >= 0 && t.exit.Code != exitKilled { // the plugin exited before the SIGKILL
			stop.sent, stop.sending = msg.SIGTERM, ""
		}
		e.stop = &stop
	}
	t.do(e)
}

// provedUnstarted reports whether the plugin is proven not to have started the open job: it proved that itself, or the input was not
// acknowledged while the container ran.
func (t *transition) provedUnstarted() bool {
	return t.job.isOpen() && (t.job.unstarted || t.job.abandoned && !t.job.delivered)
}

func (t *transition) examined(m msg.Examined) {
	switch {
	case m.Err != nil:
		t.retry(msg.RetryExamine, m.Err)
	case t.job.handOut == noJob:
		t.do(remove{})
	case t.job.handOut == handingOut:
		t.retry(msg.RetryExamine, errors.New("job is still being handed out"))
	case m.HasEnding:
		t.closeJob()
	case t.job.handOut == handedOut && m.NotHandedOut && !t.job.unstarted && !t.job.abandoned && m.HandOuts < t.job.handOuts:
		t.examine() // it read the spool before the hand-out was recorded
	case t.job.handOut == handedOut && m.NotHandedOut && t.job.ending == nil:
		t.returnJob(t.notStartedReason())
		t.do(remove{})
	case t.job.handOut == assigned && (t.jobs > 0 || t.attached):
		t.returnJob("executor exited before it received the job")
		t.do(remove{})
	case t.job.ending == nil:
		t.job.abortReason = cmp.Or(t.job.abortReason, m.Abort)
		if t.abortIfRequested(); t.job.ending == nil {
			t.endWithoutResult(msg.Ending{Outcome: msg.Failed, ExitCode: t.exit.Code, Message: cmp.Or(m.Refused, t.exitReason())})
		}
	}
}

func (t *transition) notStartedReason() string {
	if t.job.abandoned {
		return fmt.Sprintf("executor did not acknowledge the input within %v and was killed", t.limits.PickUp)
	}
	return "executor exited without starting the job"
}

// exitReason tells the user why there is no result.
func (t *transition) exitReason() string {
	what := "without a result"
	if t.job.handOut != handedOut {
		what = "before it asked for its job"
	}
	switch {
	case t.job.abandoned:
		return fmt.Sprintf("the plugin was stopped because it had not received its input within %v. The input arrived late, so the plugin may have begun "+
			"and the job is not run again. Check the network between the runner and its executors, or raise --pickup-timeout", t.limits.PickUp)
	case t.exit.OOM:
		return fmt.Sprintf("the plugin ran out of memory and was killed %s. Let it use less memory, or raise the job's memory limit or --executor-memory", what)
	case t.exit.Code == exitKilled: // not by the runner, which kills no executor whose job is open
		return fmt.Sprintf("the plugin was killed (signal 9) %s, most often because the machine or the plugin itself ran out of memory. "+
			"Check the machine's memory, or raise the job's memory limit or --executor-memory", what)
	case t.exit.Code < 0 && t.mode == msg.Files:
		return "the runner was restarted while the job ran in a child process, which ends with the runner. " +
			"Run the job again, or use --driver=docker, whose containers survive a restart"
	case t.containerMissing:
		return fmt.Sprintf("the plugin's container disappeared %s: it was removed from outside the runner, or the machine was restarted", what)
	case t.exit.Code < 0:
		return fmt.Sprintf("the plugin exited %s, with an unknown exit code because its container was restarted from outside the runner", what)
	default:
		return fmt.Sprintf("the plugin exited with code %d %s", t.exit.Code, what)
	}
}

func (t *transition) removed(err error) {
	if t.state == exited {
		t.freeSlot() // even if removal failed: the process has exited, or the engine could not start another one anyway
	}
	if err != nil {
		t.retry(msg.RetryRemove, err)
		return
	}
	if t.state != exited {
		t.enter(exited)
		t.freeSlot()
	}
	if t.job.stop != nil { // its container was never created
		t.do(tellReporter{msg.Report{Execution: t.job.Execution, ExecutorDone: true}})
	}
	t.do(stopActor{})
}
