package actors

import (
	"slices"

	msg "runnerd/messages"
)

// apply applies an event to a copy of the state.
func (m sessionModel) apply(w *modelState, e modelEvent) error {
	switch e.kind {
	case taskSteps:
		return w.runStep(int(e.at))
	case taskReports:
		return m.finishTask(w, int(e.at))
	case gatewayReports:
		first := w.gateway.queue[0]
		w.gateway.queue = w.gateway.queue[1:]
		return w.receive(w.message(first))
	case orderArrives:
		return w.receiveOrder()
	case timerFires:
		m := w.timerMessage(timerKind(e.at))
		w.timers[e.at] = 0
		if isLongTimer[e.at] && w.remainingFaults[limitPassed] > 0 {
			w.remainingFaults[limitPassed]--
		}
		return w.receive(m)
	case lossIsNoticed:
		w.gateway.clientGone(int(e.at))
	case answerIsCut:
		m.loseRequest(w, int(e.at))
	case connectionIsCut:
		w.remainingFaults[connectionCut]--
		m.loseRequest(w, int(e.at))
	case processDies:
		w.remainingFaults[pluginDies]--
		w.containerExits()
	case containerIsRestarted, processIsRestarted:
		m.restartProcess(w, e.kind)
	case actorIsCrashed:
		w.remainingFaults[actorCrashes]--
		w.crash()
	case actorIsRestarted:
		m.restartActor(w)
	case runnerIsKilled:
		w.remainingFaults[runnerKilled]--
		w.kill()
	case powerIsLost:
		w.remainingFaults[powerLost]--
		w.losePower()
	case runnerStarts:
		return m.startRunner(w)
	case jobIsOffered, jobIsAssigned, jobGoesElsewhere, abortComes, retireComes:
		return m.dispatch(w, e)
	default:
		return m.act(w, e.kind)
	}
	return nil
}

func (m sessionModel) finishTask(w *modelState, i int) (err error) {
	for !w.tasks[i].done {
		if err := w.runStep(i); err != nil {
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
	return w.receive(t.message())
}

func (w *modelState) receiveOrder() error {
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

func (m sessionModel) dispatch(w *modelState, e modelEvent) error {
	switch e.kind {
	case jobIsOffered:
		w.jobs[e.at-1] = jobFacts{where: waitingHere, stage: msg.Confirmed}
	case jobIsAssigned:
		w.job(e.at).where = assignedHere
		w.slot.state, w.slot.job = slotBusy, e.at
		w.slot.inbox = append(w.slot.inbox, order{assignOrder, e.at})
	case jobGoesElsewhere:
		j := w.job(e.at)
		j.where = elsewhere
		if j.started > 0 {
			return errElsewhere
		}
	case abortComes:
		w.remainingFaults[jobIsAborted]--
		w.slot.abort = true
		if j := w.job(w.slot.job); j.stage < msg.Ended {
			j.abort = true
		}
		w.slot.inbox = append(w.slot.inbox, order{abortOrder, w.slot.job})
	case retireComes:
		w.remainingFaults[executorRetired]--
		if w.slot.state == slotIdle {
			w.slot.state = slotStopping
		}
		w.slot.inbox = append(w.slot.inbox, order{kind: retireOrder})
	}
	return nil
}

// loseRequest cuts a connection. For the Go SDK a cut answer is a failed fetch; Python repeats the GET.
func (m sessionModel) loseRequest(w *modelState, i int) {
	r := w.gateway.requests[i]
	w.gateway.lose(i)
	if r.kind == getRequest && r.answer == jobAnswer && m.sdk != msg.PythonSDK && w.plugin.state == asking {
		m.giveUp(&w.plugin)
	}
}

// restartProcess starts a second process, in the container or by a restart of the container. The runner does not see the first one's exit:
// an exit that it sees is the fault pluginDies.
func (m sessionModel) restartProcess(w *modelState, kind modelEventKind) {
	w.gateway.loseAll()
	if kind == processIsRestarted {
		w.remainingFaults[pluginRestarted]--
		w.plugin = pluginFacts{state: booting}
		return
	}
	w.remainingFaults[containerRestarted]--
	w.startProcess()
}

// crash ends the actor. Tasks that have begun end before the next actor starts.
func (w *modelState) crash() {
	tasks := slices.DeleteFunc(slices.Clone(w.tasks), func(t task) bool { return t.done || t.message() != nil && onlyReads(t.kind) })
	w.forgetActor()
	w.tasks, w.actor = tasks, actorCrashed
	if w.slot.state == slotIdle {
		w.slot.state = slotBusy
	}
}

// onlyReads reports whether a task changes nothing.
func onlyReads(k taskKind) bool {
	return k == logsTask || k == waitTask || k == findTask || k == restoreTask || k == pullTask
}

// restartActor is the dispatcher's restart of the actor. Tasks that have not begun are discarded.
func (m sessionModel) restartActor(w *modelState) {
	w.tasks = nil
	open := w.slot.job != 0 && w.job(w.slot.job).stage < msg.Ended
	stopping := w.slot.state == slotStopping || w.slot.state == slotFreed
	if !open {
		w.slot.job = 0
	}
	if !w.record.exists && (stopping || !open) {
		w.release()
		w.reap()
		return
	}
	if w.record.exists {
		w.startRestored(m, false)
	} else {
		w.startNew(m)
	}
	if open {
		w.resendOrders()
	}
	if stopping {
		w.slot.inbox = append(w.slot.inbox, order{kind: retireOrder})
	}
}

func (w *modelState) resendOrders() {
	j := w.job(w.slot.job)
	if j.stage < msg.HandedOut {
		w.slot.inbox = append(w.slot.inbox, order{assignOrder, w.slot.job})
	}
	if w.slot.abort || j.abort {
		w.slot.inbox = append(w.slot.inbox, order{abortOrder, w.slot.job})
	}
}

func (w *modelState) reap() {
	if w.container.state == containerRunning {
		w.containerExits()
	}
	w.container.state = noContainer
	w.dismiss()
	w.actor, w.slot.state = nothingLeft, slotFreed
}

// kill kills the runner. It leaves the disk, the container, and the data that the kernel has accepted.
func (w *modelState) kill() {
	w.forgetActor()
	w.actor, w.slot = runnerDown, slotFacts{}
	w.gateway.crash()
	w.plugin.denied = w.plugin.state == asking
	for i := range w.jobs {
		if j := &w.jobs[i]; j.where == assignedHere && j.stage < msg.HandedOut {
			j.where = waitingHere
		}
	}
}

// losePower also loses the container and what was not synced: the records of deliveries, and the executor's record except for its jobs.
func (w *modelState) losePower() {
	if w.container.state == containerRunning {
		w.containerExits()
	}
	w.kill()
	w.container.state = noContainer
	w.gateway.requests = nil
	w.record.version, w.record.notified, w.record.idle, w.record.retired, w.record.startedAt = 0, false, false, false, 0
	for i := range w.jobs {
		w.jobs[i].delivered = false
	}
}

// startRunner opens the gateway and adopts or reaps the executor.
func (m sessionModel) startRunner(w *modelState) error {
	w.gateway.up, w.gateway.current = true, w.record.job
	w.slot.state = slotBusy
	if !w.record.exists {
		w.reap()
		for _, j := range w.jobs {
			if j.ours && j.stage == msg.HandedOut {
				return errRecord
			}
		}
		return nil
	}
	w.gateway.admitted, w.gateway.urls = true, [2]int8{w.record.job, w.record.previous}
	if w.record.job != 0 && w.job(w.record.job).ours && w.job(w.record.job).stage == msg.HandedOut {
		w.slot.job = w.record.job
	}
	w.startRestored(m, true)
	return nil
}
