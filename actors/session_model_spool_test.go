package actors

import (
	msg "runnerd/messages"
)

// The steps of the tasks: what they do to the spool, the engine and the gateway.

// canStep reports whether the next step of a task is possible now.
func (w *modelState) canStep(t task) bool {
	switch t.kind {
	case logsTask, waitTask:
		return w.container.state != containerRunning
	}
	return true
}

// isAtomic reports whether all steps of a task, and its message, are one event, because nothing can observe the states between them. A
// task that changes the spool, the engine or the gateway is atomic only if no restart can follow, which would observe them.
func (w *modelState) isAtomic(t task) bool {
	if w.actor == actorCrashed {
		return false
	}
	switch t.kind {
	case pullTask, logsTask, waitTask, restoreTask, findTask:
		return true
	case prepareTask, examineTask, removeTask, versionTask:
		return w.restartImpossible()
	case signalTask:
		return t.step != killStep
	}
	return false
}

// restartImpossible reports whether no actor will restart, so that what only a restart reads does not matter.
func (w *modelState) restartImpossible() bool {
	return w.remainingFaults[actorCrashes]+w.remainingFaults[runnerKilled]+w.remainingFaults[powerLost] == 0 && (w.actor == actorRuns || w.actor == actorGone || w.actor == nothingLeft)
}

// runStep carries out the next step of a task. Its error is the invariant that the step violates.
func (w *modelState) runStep(i int) error {
	t := w.tasks[i]
	err := w.carryOut(&t)
	t.stepsDone++
	w.tasks[i] = t
	if t.done && (t.message() == nil || w.actor == actorCrashed) {
		w.tasks = append(w.tasks[:i], w.tasks[i+1:]...)
	}
	return err
}

func (w *modelState) carryOut(t *task) error {
	t.done = true
	switch t.kind {
	case prepareTask:
		w.gateway.admitted = true
		w.record.exists = true
	case launchTask:
		w.launchStep(t)
	case restoreTask:
		t.hasFile = w.gateway.file.body != noBody
	case findTask:
		t.found, t.restarted = w.container.state, t.step != 0 && w.container.process != t.step
	case waitTask:
		t.found = w.container.state
	case signalTask:
		w.signalStep(int(t.step))
	case examineTask:
		return w.examineStep(t)
	case removeTask:
		return w.removeStep(t)
	case handOutTask:
		return w.handOutStep(t)
	case resendTask:
		return w.answer(t.request, msg.GiveJob{Execution: executions[t.job]})
	case clearTask:
		w.gateway.file = fileFacts{}
	case fileTask:
		return w.fileStep(t)
	case storeTask:
		return w.storeStep(t, t.body)
	case versionTask:
		w.record.version, w.record.notified = t.version, true
	case deliveredTask:
		if j := w.job(t.job); j.stage == msg.HandedOut && !j.unstarted {
			j.delivered = true
		}
	case unstartedTask:
		if j := w.job(t.job); j.stage == msg.HandedOut {
			j.unstarted, j.delivered = true, false
		}
	case retirementTask:
		w.record.retired = true
	case idleTask:
		w.record.idle = w.record.idle || w.record.jobs == t.jobs
	case stopTask:
		w.recordStopped(t.job)
	case endTask:
		j := w.job(t.job)
		if j.stage < msg.Ended {
			j.stage, j.outcome = msg.Ended, t.outcome
		}
		t.outcome, t.stored = j.outcome, j.hasResult
	}
	return nil
}

// launchStep is one step of a launch: it creates the container, then starts it, then records its start.
func (w *modelState) launchStep(t *task) {
	t.done = t.stepsDone == 2
	switch {
	case t.stepsDone == 0 && w.container.state == noContainer:
		w.container.state = containerCreated
	case t.stepsDone == 1 && w.container.state == containerCreated:
		w.startProcess()
	case t.stepsDone == 2:
		w.record.startedAt = w.container.process
	}
}

func (w *modelState) startProcess() {
	w.container.state = containerRunning
	w.container.process++
	w.plugin = pluginFacts{state: booting}
}

func (w *modelState) signalStep(step int) {
	if w.container.state == containerRunning && step == killStep {
		w.containerExits()
	}
}

func (w *modelState) containerExits() {
	w.container.state = containerExited
	w.plugin = pluginFacts{}
	w.gateway.loseAll()
}

func (w *modelState) recordStopped(job int8) {
	if rec := w.jobRecord(job); rec.Stopping() {
		w.job(job).stopped = true
	}
}

// examineStep models finalExamination.
func (w *modelState) examineStep(t *task) (err error) {
	last := t.lastJob
	if last != 0 {
		if rec := w.jobRecord(last); rec.Executor == modelExecutor && (rec.Stage == msg.HandedOut || rec.Stopping()) {
			err = w.fileStep(&task{job: last, previous: t.previous})
		}
		if j := w.job(last); j.stage == msg.HandedOut && t.again && !(t.unacknowledged && w.gateway.delivered == last) {
			j.unstarted, j.delivered = true, false
		}
		if j := w.job(last); j.stage == msg.HandedOut && j.unstarted && j.ours {
			*j = jobFacts{where: j.where, stage: msg.Confirmed, handOuts: j.handOuts, abort: j.abort, started: j.started, doneReported: j.doneReported}
		}
	}
	if t.job == 0 {
		t.stored = true
		return err
	}
	if t.stop {
		w.recordStopped(t.job)
	}
	j := w.job(t.job)
	t.handOuts = j.handOuts
	t.stored, t.notHandedOut, t.abortRequested = j.stage >= msg.Ended, j.stage < msg.HandedOut, j.abort
	return err
}

// removeStep is one step of a removal: it removes the container, then its endpoint in the gateway and its record in the spool.
func (w *modelState) removeStep(t *task) error {
	t.done = t.stepsDone == 1
	if t.stepsDone == 0 {
		if w.container.state == containerRunning {
			w.containerExits()
		}
		w.container.state = noContainer
		return nil
	}
	w.dismiss()
	for _, j := range w.jobs {
		if j.ours && j.stage == msg.HandedOut {
			return errRecord
		}
	}
	return nil
}

func (w *modelState) dismiss() {
	w.gateway.loseAll()
	w.gateway = gatewayModel{up: w.gateway.up, last: w.gateway.last, listening: w.gateway.listening}
	w.record = recordFacts{}
}

// handOutStep is one step of a hand-out: it opens the URLs and checks that the GET still waits, then writes to the spool, then answers.
func (w *modelState) handOutStep(t *task) error {
	t.done = false
	j := w.job(t.job)
	switch t.stepsDone {
	case 0:
		if t.again {
			w.gateway.file = fileFacts{}
		}
		w.gateway.urls = [2]int8{t.job, t.previous}
		w.gateway.file.old = w.gateway.file.body != noBody
		i := w.gateway.find(t.request)
		t.failed = i < 0 || w.gateway.requests[i].answer != noAnswer
		t.done = t.failed
	case 1:
		t.failed = j.stage >= msg.Ended
		t.done = t.failed
		if t.failed {
			return nil
		}
		j.stage, j.ours, j.unstarted, j.delivered = msg.HandedOut, true, false, false
		j.handOuts++
		if w.record.job != t.job {
			w.record.previous, w.record.job = w.record.job, t.job
			w.record.jobs++
		}
		w.record.idle, w.record.notified = false, false
	case 2:
		t.done = true
		return w.answer(t.request, msg.GiveJob{Execution: executions[t.job]})
	}
	return nil
}

// fileStep reads the result file and stores a result that is in it.
func (w *modelState) fileStep(t *task) error {
	f := w.gateway.file
	known := t.job == w.gateway.urls[0] || t.job == w.gateway.urls[1]
	switch {
	case f.body == noBody:
	case f.job == t.job && f.body != plainBody && known:
		t.verdict = msg.IsResult
		return w.storeStep(t, f.body)
	case f.old:
	case t.previous == 0 && f.body == plainBody, t.previous != 0 && f.job == t.previous && f.body != plainBody && t.previous == w.gateway.urls[1]:
		t.verdict = msg.NotStarted
	}
	return nil
}

func (w *modelState) storeStep(t *task, body bodyKind) error {
	j := w.job(t.job)
	if !j.hasResult && (j.stage < msg.Ended || j.outcome != msg.Failed) && !j.stopped {
		if body == bogusBody && j.started > 0 {
			return errBogus
		}
		j.hasResult, j.genuine = true, body == genuineBody
		if j.stage < msg.Ended {
			j.stage, j.outcome = msg.Ended, msg.Completed
		}
	}
	t.stored = j.hasResult
	return nil
}
