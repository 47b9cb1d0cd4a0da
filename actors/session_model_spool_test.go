package actors

import (
	msg "runnerd/messages"
)

// The moments of the tasks: what they do to the spool, the engine and the gateway.

// mayPass reports whether the next moment of a task can be now.
func (w *world) mayPass(t task) bool {
	switch t.kind {
	case logsTask, waitTask:
		return w.box.state != runs
	}
	return true
}

// isOneEvent reports whether all moments of a task, and its message, are one event: between them there is nothing to be seen. While
// a restart may still come there is, where the task leaves something behind.
func (w *world) isOneEvent(t task) bool {
	if w.actor == actorCrashed {
		return false
	}
	switch t.kind {
	case pullTask, logsTask, waitTask, restoreTask, findTask:
		return true
	case prepareTask, examineTask, removeTask, versionTask:
		return w.mayNotRestart()
	case signalTask:
		return t.step != killStep
	}
	return false
}

// mayNotRestart: nobody will read again what only a restart needs.
func (w *world) mayNotRestart() bool {
	return w.left[actorCrashes]+w.left[runnerKilled]+w.left[powerLost] == 0 && (w.actor == actorRuns || w.actor == actorGone || w.actor == nothingLeft)
}

// pass carries out the next moment of the task, and returns what is broken by it.
func (w *world) pass(i int) error {
	t := w.tasks[i]
	err := w.moment(&t)
	t.moment++
	w.tasks[i] = t
	if t.done && (t.back() == nil || w.actor == actorCrashed) {
		w.tasks = append(w.tasks[:i], w.tasks[i+1:]...)
	}
	return err
}

func (w *world) moment(t *task) error {
	t.done = true
	switch t.kind {
	case prepareTask:
		w.gate.admitted = true
		w.record.exists = true
	case launchTask:
		w.launchMoment(t)
	case restoreTask:
		t.hasFile = w.gate.file.body != noBody
	case findTask:
		t.found, t.restarted = w.box.state, t.step != 0 && w.box.process != t.step
	case waitTask:
		t.found = w.box.state
	case signalTask:
		w.signalMoment(int(t.step))
	case examineTask:
		return w.examineMoment(t)
	case removeTask:
		return w.removeMoment(t)
	case handOutTask:
		return w.handOutMoment(t)
	case repeatTask:
		return w.answer(t.request, msg.GiveJob{Execution: executions[t.job]})
	case clearTask:
		w.gate.file = fileFacts{}
	case fileTask:
		return w.takeFile(t)
	case storeTask:
		return w.storeMoment(t, t.body)
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
		w.stopped(t.job)
	case endTask:
		j := w.job(t.job)
		if j.stage < msg.Ended {
			j.stage, j.outcome = msg.Ended, t.outcome
		}
		t.outcome, t.kept = j.outcome, j.hasResult
	}
	return nil
}

// launchMoment creates the container, then starts it, then notes when it was started.
func (w *world) launchMoment(t *task) {
	t.done = t.moment == 2
	switch {
	case t.moment == 0 && w.box.state == noBox:
		w.box.state = created
	case t.moment == 1 && w.box.state == created:
		w.startProcess()
	case t.moment == 2:
		w.record.startedAt = w.box.process
	}
}

func (w *world) startProcess() {
	w.box.state = runs
	w.box.process++
	w.plugin = pluginFacts{phase: booting}
}

func (w *world) signalMoment(step int) {
	if w.box.state == runs && step == killStep {
		w.boxEnds()
	}
}

func (w *world) boxEnds() {
	w.box.state = boxExited
	w.plugin = pluginFacts{}
	w.gate.loseAll()
}

func (w *world) stopped(job int8) {
	if rec := w.jobRecord(job); rec.Stopping() {
		w.job(job).stopped = true
	}
}

// examineMoment is finalExamination.
func (w *world) examineMoment(t *task) (err error) {
	last := t.last
	if last != 0 {
		if rec := w.jobRecord(last); rec.Executor == lifeID && (rec.Stage == msg.HandedOut || rec.Stopping()) {
			err = w.takeFile(&task{job: last, before: t.before})
		}
		if j := w.job(last); j.stage == msg.HandedOut && t.again {
			j.unstarted, j.delivered = true, false
		}
		if j := w.job(last); j.stage == msg.HandedOut && j.unstarted && j.ours {
			*j = jobFacts{where: j.where, stage: msg.Confirmed, handOuts: j.handOuts, abort: j.abort, started: j.started, overTold: j.overTold}
		}
	}
	if t.job == 0 {
		t.kept = true
		return err
	}
	if t.stop {
		w.stopped(t.job)
	}
	j := w.job(t.job)
	t.handOuts = j.handOuts
	t.kept, t.isBack, t.isAbort = j.stage >= msg.Ended, j.stage < msg.HandedOut, j.abort
	return err
}

// removeMoment takes away the container, and then all that the gateway and the spool have.
func (w *world) removeMoment(t *task) error {
	t.done = t.moment == 1
	if t.moment == 0 {
		if w.box.state == runs {
			w.boxEnds()
		}
		w.box.state = noBox
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

func (w *world) dismiss() {
	w.gate.loseAll()
	w.gate = gate{up: w.gate.up, last: w.gate.last, listening: w.gate.listening}
	w.record = recordFacts{}
}

// handOutMoment opens the URLs and looks whether the GET still waits, then writes the spool, then answers.
func (w *world) handOutMoment(t *task) error {
	t.done = false
	j := w.job(t.job)
	switch t.moment {
	case 0:
		if t.again {
			w.gate.file = fileFacts{}
		}
		w.gate.urls = [2]int8{t.job, t.before}
		w.gate.file.old = w.gate.file.body != noBody
		i := w.gate.find(t.request)
		t.failed = i < 0 || w.gate.requests[i].answer != noAnswer
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
			w.record.before, w.record.job = w.record.job, t.job
			w.record.jobs++
		}
		w.record.idle, w.record.notified = false, false
	case 2:
		t.done = true
		return w.answer(t.request, msg.GiveJob{Execution: executions[t.job]})
	}
	return nil
}

// storeResultFile reads the result file and stores what is in it.
func (w *world) takeFile(t *task) error {
	f := w.gate.file
	known := t.job == w.gate.urls[0] || t.job == w.gate.urls[1]
	switch {
	case f.body == noBody:
	case f.job == t.job && f.body != plainBody && known:
		t.verdict = msg.IsResult
		return w.storeMoment(t, f.body)
	case f.old:
	case t.before == 0 && f.body == plainBody, t.before != 0 && f.job == t.before && f.body != plainBody && t.before == w.gate.urls[1]:
		t.verdict = msg.NotStarted
	}
	return nil
}

func (w *world) storeMoment(t *task, body bodyKind) error {
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
	t.kept = j.hasResult
	return nil
}
