package actors

import (
	"slices"

	msg "runnerd/messages"
)

// happens lets an event happen, in a copy of the state.
func (m lifeModel) happens(w *world, e lifeEvent) error {
	switch e.kind {
	case taskPasses:
		return w.pass(int(e.at))
	case taskTells:
		return m.taskTells(w, int(e.at))
	case gatewayTells:
		first := w.gate.queue[0]
		w.gate.queue = w.gate.queue[1:]
		return w.receive(w.message(first))
	case dispatcherTells:
		return w.obey()
	case timerFires:
		told := w.timerMessage(timerKind(e.at))
		w.timers[e.at] = 0
		if isLong[e.at] && w.left[limitPassed] > 0 {
			w.left[limitPassed]--
		}
		return w.receive(told)
	case lossIsHeard:
		w.gate.ended(int(e.at))
	case answerIsCut:
		m.loseRequest(w, int(e.at))
	case connectionIsCut:
		w.left[connectionCut]--
		m.loseRequest(w, int(e.at))
	case processDies:
		w.left[pluginDies]--
		w.boxEnds()
	case containerIsRestarted, processIsRestarted:
		m.restart(w, e.kind)
	case actorCrashes2:
		w.left[actorCrashes]--
		w.crash()
	case actorStartsAgain:
		m.startAgain(w)
	case runnerIsKilled:
		w.left[runnerKilled]--
		w.kill()
	case powerIsLost:
		w.left[powerLost]--
		w.losePower()
	case runnerStarts:
		return m.startRunner(w)
	case jobArrives2, jobIsAssigned, jobGoesElsewhere, abortComes, retireComes:
		return m.dispatch(w, e)
	default:
		return m.act(w, e.kind)
	}
	return nil
}

func (m lifeModel) taskTells(w *world, i int) (err error) {
	for !w.tasks[i].done {
		if err := w.pass(i); err != nil {
			return err
		}
	}
	t := w.tasks[i]
	w.tasks = slices.Delete(w.tasks, i, i+1)
	switch t.kind {
	case restoreTask:
		var effects []effect
		w.actor = actorRuns
		w.session, effects = begin(w.session, t.hasFile)
		return w.doAll(effects)
	case handOutTask:
		if !t.failed {
			w.idleSince = false
		}
	}
	return w.receive(t.back())
}

func (w *world) obey() error {
	o := w.slot.inbox[0]
	w.slot.inbox = w.slot.inbox[1:]
	switch o.kind {
	case assignOrder:
		return w.receive(msg.Assign{Job: msg.Job{Execution: executions[o.job]}})
	case abortOrder:
		return w.receive(msg.AbortJob{Execution: executions[o.job], Reason: "aborted"})
	default:
		return w.receive(msg.Retire{Reason: "retired"})
	}
}

func (m lifeModel) dispatch(w *world, e lifeEvent) error {
	switch e.kind {
	case jobArrives2:
		w.jobs[e.at-1] = jobFacts{where: waits4it, stage: msg.Confirmed}
	case jobIsAssigned:
		w.job(e.at).where = here
		w.slot.state, w.slot.job = slotBusy, e.at
		w.slot.inbox = append(w.slot.inbox, order{assignOrder, e.at})
	case jobGoesElsewhere:
		j := w.job(e.at)
		j.where = elsewhere
		if j.started > 0 {
			return errElsewhere
		}
	case abortComes:
		w.left[jobIsAborted]--
		w.slot.abort = true
		if j := w.job(w.slot.job); j.stage < msg.Ended {
			j.abort = true
		}
		w.slot.inbox = append(w.slot.inbox, order{abortOrder, w.slot.job})
	case retireComes:
		w.left[executorRetired]--
		if w.slot.state == slotIdle {
			w.slot.state = slotStopping
		}
		w.slot.inbox = append(w.slot.inbox, order{kind: retireOrder})
	}
	return nil
}

// loseRequest is a cut connection. An answer that is cut is a failed fetch to Go; Python repeats the GET.
func (m lifeModel) loseRequest(w *world, i int) {
	r := w.gate.requests[i]
	w.gate.lose(i)
	if r.kind == getRequest && r.answer == jobAnswer && m.sdk != msg.PythonSDK && w.plugin.phase == asking {
		m.giveUp(&w.plugin)
	}
}

// restart is a second process. The exit of a container is seen or missed; that of a process in it is not seen.
func (m lifeModel) restart(w *world, kind lifeEventKind) {
	w.gate.loseAll()
	if kind == processIsRestarted {
		w.left[pluginRestarted]--
		w.plugin = pluginFacts{phase: booting}
		return
	}
	w.left[containerRestarted]--
	w.startProcess()
}

// crash ends the actor. Tasks that have begun come to their end before the next actor starts.
func (w *world) crash() {
	tasks := slices.DeleteFunc(slices.Clone(w.tasks), func(t task) bool { return t.done || t.back() != nil && leavesNothing(t.kind) })
	w.forgetActor()
	w.tasks, w.actor = tasks, actorCrashed
	if w.slot.state == slotIdle {
		w.slot.state = slotBusy
	}
}

// leavesNothing: such a task only asks.
func leavesNothing(k taskKind) bool {
	return k == logsTask || k == waitTask || k == findTask || k == restoreTask || k == pullTask
}

// startAgain is the dispatcher's revive. Tasks that have not begun never do.
func (m lifeModel) startAgain(w *world) {
	w.tasks = nil
	open := w.slot.job != 0 && w.job(w.slot.job).stage < msg.Ended
	onItsWay := w.slot.state == slotStopping || w.slot.state == slotFreed
	if !open {
		w.slot.job = 0
	}
	if !w.record.exists && (onItsWay || !open) {
		w.release()
		w.bury()
		return
	}
	if w.record.exists {
		w.spawnKnown(m, false)
	} else {
		w.spawnNew(m)
	}
	if open {
		w.tellAgain()
	}
	if onItsWay {
		w.slot.inbox = append(w.slot.inbox, order{kind: retireOrder})
	}
}

func (w *world) tellAgain() {
	j := w.job(w.slot.job)
	if j.stage < msg.HandedOut {
		w.slot.inbox = append(w.slot.inbox, order{assignOrder, w.slot.job})
	}
	if w.slot.abort || j.abort {
		w.slot.inbox = append(w.slot.inbox, order{abortOrder, w.slot.job})
	}
}

func (w *world) bury() {
	if w.box.state == runs {
		w.boxEnds()
	}
	w.box.state = noBox
	w.dismiss()
	w.actor, w.slot.state = nothingLeft, slotFreed
}

// kill leaves the disk, the container, and what the kernel has taken.
func (w *world) kill() {
	w.forgetActor()
	w.actor, w.slot = runnerDown, slotFacts{}
	w.gate.dies()
	w.plugin.denied = w.plugin.phase == asking
	for i := range w.jobs {
		if j := &w.jobs[i]; j.where == here && j.stage < msg.HandedOut {
			j.where = waits4it
		}
	}
}

// losePower also takes the container, and what was not synced: how far a delivery came, and the executor's record but for its jobs.
func (w *world) losePower() {
	if w.box.state == runs {
		w.boxEnds()
	}
	w.kill()
	w.box.state = noBox
	w.gate.requests = nil
	w.record.version, w.record.notified, w.record.idle, w.record.retired, w.record.startedAt = 0, false, false, false, 0
	for i := range w.jobs {
		w.jobs[i].delivered = false
	}
}

// startRunner opens the gateway and adopts what is there.
func (m lifeModel) startRunner(w *world) error {
	w.gate.up, w.gate.current = true, w.record.job
	w.slot.state = slotBusy
	if !w.record.exists {
		w.bury()
		for _, j := range w.jobs {
			if j.ours && j.stage == msg.HandedOut {
				return errRecord
			}
		}
		return nil
	}
	w.gate.admitted, w.gate.urls = true, [2]int8{w.record.job, w.record.before}
	if w.record.job != 0 && w.job(w.record.job).ours && w.job(w.record.job).stage == msg.HandedOut {
		w.slot.job = w.record.job
	}
	w.spawnKnown(m, true)
	return nil
}
