package actors

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	msg "runnerd/messages"
)

// The container's life: from nothing to a running container, found again after a restart, and its end.

// killed is the exit code of a process that got SIGKILL.
const killed = 128 + 9

// afterExit bounds how long the engine may take to hand on the next of what is left of the output.
const afterExit = 10 * time.Second

// returnsWithin is how long executors that wait for a job may take to ask again after a restart of the runner: it asks them to stay
// away for 10 s, and leaves those that were cut off 12 s to come back by themselves (rules 6 and 7).
const returnsWithin = 30 * time.Second

func (t *transition) prepared(err error) {
	t.busy = false
	switch {
	case t.state == stopping: // it ended meanwhile
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
	case t.state != pulling: // it is to stop
	case m.Err != nil:
		t.notStarted(m.Err.Error())
	default:
		t.tell(msg.ImageFound{Executor: t.id, Image: m.Image})
		t.enter(starting)
		if t.mode == msg.Files {
			t.startHandOut()
		} else {
			t.launch(nil)
		}
	}
}

// launch creates and starts the container. All of it may be repeated. Its end is waited for, even when it comes too late: until
// then nobody knows whether there is a container to be removed.
func (t *transition) launch(env map[string]string) {
	t.busy = true
	t.do(launch{env})
}

func (t *transition) launched(err error) {
	t.busy = false
	if err != nil && !t.state.works() { // else its plugin has asked for a job, so it runs
		t.notStarted(err.Error())
		return
	}
	t.observe()
	switch t.state {
	case starting:
		if t.job.stage != handingOut { // else its plugin has asked already
			t.limit(t.limits.PickUp)
		}
	case stopping:
		t.signal(killStep)
	case fresh, pulling, running, finishing, idle, exited:
	}
}

// observe follows the container's output and its end.
func (t *transition) observe() {
	t.observed = true
	t.do(readLogs{})
	t.do(waitForExit{})
}

// foundContainer goes on from what the engine says of an executor that has lived before.
func (t *transition) foundContainer(m msg.Found) {
	if m.Err != nil { // absence is never guessed
		t.retry(msg.RetryFind, m.Err)
		return
	}
	t.found = true
	defer t.readOrServe() // what was asked meanwhile
	t.tell(msg.Attached{Executor: t.id})
	c := m.Container
	switch {
	case t.state == exited:
		return
	case c == nil, t.job.stop != nil && c.State == msg.ContainerCreated:
		t.exitSeen(msg.Exited{Err: msg.ErrNoExecutor})
		return
	case c.State == msg.ContainerCreated:
		if t.job.stage == handedOut { // messages.Files: what it needs of its job was given to its create
			t.limit(t.runLimit()) // it has not run yet
		}
		t.launch(nil)
		t.abortIfAsked()
		return
	}
	t.observe()
	t.log(zerolog.InfoLevel, "attached to executor again", "to", t.state)
	t.do(closeOlderLogs{})
	switch {
	case m.Restarted:
		t.refuseRestarted()
	case t.job.stop != nil && c.State == msg.ContainerExited: // nobody knows by what
		t.job.stop.resumes = false
	case t.job.stop != nil:
		t.resumeStop()
	case t.job.stage == noJob && t.retire != "":
		t.stop(t.retire)
	case t.state == starting || t.state == finishing:
		t.limit(max(t.limits.Settle, returnsWithin))
	}
	t.abortIfAsked()
}

// refuseRestarted ends an executor whose container somebody restarted while no actor looked: its process is another one.
func (t *transition) refuseRestarted() {
	const why = "its container was restarted by somebody else"
	t.restarted = true
	switch {
	case t.job.stage != handedOut:
		t.stop(why)
	case t.job.stop == nil && t.job.ending == nil:
		t.takeNoMore(why)
		t.conclude(msg.Ending{Outcome: msg.Failed, Message: "the container of its plugin was restarted by somebody else while it ran, and left no result. A job runs once"})
	default:
		t.signal(killStep)
	}
}

// limitPassed: the state, or what it waits for, has lasted too long.
func (t *transition) limitPassed() {
	if t.job.stage == handingOut { // whether it is out is not known yet: it must not move
		t.log(zerolog.WarnLevel, "handing out a job takes long", "job", t.job.Execution)
		t.limit(t.limits.PickUp)
		return
	}
	switch t.state {
	case pulling:
		t.notStarted(fmt.Sprintf("image %s was not there after %v. Check the registry and the network, or raise --pull-timeout", t.image, t.limits.Pull))
	case starting:
		t.notStarted(fmt.Sprintf("the plugin of image %s did not ask for its job within %v. Is it built with the integration SDK? "+
			"An image that is slow to start needs a higher --pickup-timeout", t.image, t.limits.PickUp))
	case running:
		if t.job.ending == nil {
			t.conclude(msg.Ending{Outcome: msg.TimedOut, Message: fmt.Sprintf("the plugin had no result after %v and was stopped", t.runLimit())})
		}
	case finishing:
		t.stop(fmt.Sprintf("it neither asked for its next job nor ended within %v after its result", t.limits.Settle))
	case exited:
		if !t.logsEnded {
			t.log(zerolog.WarnLevel, "engine did not deliver the rest of the executor's output")
			t.logsEnded = true
			t.examine()
		}
	case fresh, idle, stopping:
	}
}

// notStarted fails the job that the executor was started for, and gives the executor up.
func (t *transition) notStarted(why string) {
	if t.state == stopping || t.state == exited {
		t.do(remove{})
		return
	}
	t.retire = why
	switch {
	case t.job.stage == noJob:
		t.stop(why)
	case t.job.ending == nil:
		t.conclude(msg.Ending{Outcome: msg.Failed, Message: why})
	}
}

// stop ends an executor that has no job handed out, at once and without grace. A job that was only assigned moves on.
func (t *transition) stop(why string) {
	if t.state == stopping || t.state == exited {
		return
	}
	t.retire = why
	if t.job.stage != noJob {
		t.giveBack(why)
	}
	if !t.found { // there may be nothing to stop
		return
	}
	t.tell(msg.Retired{Executor: t.id, Reason: why})
	t.do(cancelPull{})
	t.enter(stopping)
	switch {
	case t.busy: // its answer must not be overtaken
	case t.observed:
		t.signal(killStep)
	default:
		t.do(remove{})
	}
}

// exitSeen frees the slot, so that what is left is removed on nobody's path. After an end that nobody expected it may be starting
// once more (docker restart), and would run beside the next one: then its slot is free when it is removed. So it is where somebody
// has restarted the container before: he may do so again.
func (t *transition) exitSeen(m msg.Exited) {
	absent := errors.Is(m.Err, msg.ErrNoExecutor)
	if m.Err != nil && !absent {
		t.retry(msg.RetryWait, m.Err)
		return
	}
	t.exit = &m.Exit
	if absent {
		t.exit, t.vanished = &msg.Exit{Code: -1}, true
	}
	switch was := t.state; {
	case absent || t.mode == msg.Files || (was == stopping || was == finishing) && !t.restarted && t.exit.Code >= 0:
		t.free()
	case was == idle:
		t.do(notIdle{})
	}
	if t.state != exited {
		t.enter(exited)
	}
	t.do(cancelTimer{stopTimer})
	t.do(cancelTimer{deliveryTimer})
	t.limit(afterExit)
	t.log(zerolog.InfoLevel, "executor exited", "exit", t.exit.Code, "oom", t.exit.OOM)
	if absent || t.logsEnded {
		t.logsEnded = true
		t.examine()
	}
}

func (t *transition) free() {
	if !t.freed {
		t.freed = true
		t.tell(msg.Gone{Executor: t.id, Reason: t.retire})
	}
}

func (t *transition) logsRead(m msg.LogsEnded) {
	switch {
	case t.logsEnded: // too late
	case m.Err != nil && !errors.Is(m.Err, msg.ErrNoExecutor):
		if m.Ours && t.state == exited {
			t.limit(afterExit) // it is not the engine that keeps us waiting
		}
		t.retry(msg.RetryLogs, m.Err)
	default:
		t.logsEnded = true
		if t.exit != nil {
			t.examine()
		}
	}
}

// examine looks for the last time: only now is it known that there is no result.
func (t *transition) examine() {
	t.limit(0)
	e := examine{job: t.job.Execution, last: t.last, before: t.before, unstarted: t.provedUnstarted()}
	if t.job.stop != nil {
		stop := *t.job.stop
		if stop.signal() == msg.SIGKILL && t.exit.Code >= 0 && t.exit.Code != killed { // it came too late
			stop.sent, stop.sending = msg.SIGTERM, ""
		}
		e.stop = &stop
	}
	t.do(e)
}

// provedUnstarted reports whether the plugin of the open job did not start it: it said so, or its machine did not acknowledge the
// input while the container lived.
func (t *transition) provedUnstarted() bool {
	return t.job.isOpen() && (t.job.unstarted || t.job.abandoned && !t.job.delivered)
}

func (t *transition) examined(m msg.Examined) {
	switch {
	case m.Err != nil:
		t.retry(msg.RetryExamine, m.Err)
	case t.job.stage == noJob:
		t.do(remove{})
	case t.job.stage == handingOut:
		t.retry(msg.RetryExamine, errors.New("its job is being handed out"))
	case m.Over:
		t.jobOver()
	case t.job.stage == handedOut && m.Back && !t.job.unstarted && !t.job.abandoned && m.HandOuts < t.job.handOuts: // the hand-out crossed the examination
		t.examine()
	case t.job.stage == handedOut && m.Back && t.job.ending == nil:
		t.giveBack(t.whyNotStarted())
		t.do(remove{})
	case t.job.stage == assigned && (t.jobs > 0 || t.attached):
		t.giveBack("the executor ended before it took the job")
		t.do(remove{})
	case t.job.ending == nil:
		t.job.abort = cmp.Or(t.job.abort, m.Abort)
		if t.abortIfAsked(); t.job.ending == nil {
			t.conclude(msg.Ending{Outcome: msg.Failed, ExitCode: t.exit.Code, Message: cmp.Or(m.Refused, t.exitReason())})
		}
	}
}

func (t *transition) whyNotStarted() string {
	if t.job.abandoned {
		return fmt.Sprintf("its executor did not acknowledge the input within %v, and was ended", t.limits.PickUp)
	}
	return "the executor ended and did not start it"
}

// exitReason says why there is no result, to the one who waits for it.
func (t *transition) exitReason() string {
	what := "without a result"
	if t.job.stage != handedOut {
		what = "before it asked for its job"
	}
	switch {
	case t.job.abandoned:
		return fmt.Sprintf("the plugin was stopped because it had not received its input within %v; it arrived too late, so the plugin may have begun "+
			"and the job is not run again. Check the network between the runner and its executors, or raise --pickup-timeout", t.limits.PickUp)
	case t.exit.OOM:
		return fmt.Sprintf("the plugin was killed for lack of memory %s. Its executor may use more if the memory limit is raised", what)
	case t.exit.Code == killed: // not by the runner: that kills no executor whose job is open
		return fmt.Sprintf("the plugin was killed (signal 9) %s, most often for lack of memory: of the machine, or of its own. "+
			"Its executor may use more if the memory limit is raised", what)
	case t.exit.Code < 0 && t.mode == msg.Files:
		return "the runner was restarted while the job ran in a child process, which ends with its runner. " +
			"Run the job again, or use the driver docker, whose containers outlive a restart"
	case t.vanished:
		return fmt.Sprintf("the plugin's container is gone %s: somebody removed it, or the machine was restarted", what)
	case t.exit.Code < 0:
		return fmt.Sprintf("the plugin ended %s, and the engine does not know how: somebody restarted its container", what)
	default:
		return fmt.Sprintf("the plugin exited with code %d %s", t.exit.Code, what)
	}
}

func (t *transition) removed(err error) {
	if t.state == exited {
		t.free() // also if not all of it can be removed: the engine has killed it, or can start nothing
	}
	if err != nil {
		t.retry(msg.RetryRemove, err)
		return
	}
	if t.state != exited {
		t.enter(exited)
		t.free()
	}
	if t.job.stop != nil { // its container never was
		t.do(report{msg.Report{Execution: t.job.Execution, Over: true}})
	}
	t.do(stopActor{})
}
