package actors

import (
	"errors"
	"fmt"
	"slices"
	"time"

	msg "runnerd/messages"
)

// What the model's actor does for the session. Work that may block is a task: each of its moments, and then its message, is an
// event of its own, so that a crash may come between any two.

// task is one that was started and whose message was not received yet.
type task struct {
	kind    taskKind
	moment  int8 // how many have passed
	request msg.RequestID
	job     int8
	before  int8
	jobs    int8 // how many the executor had
	last    int8 // its newest
	step    int8 // of the stop sequence
	stop    bool
	again   bool
	version uint64
	outcome msg.Outcome
	body    bodyKind // of a result

	// What its message says.
	done                  bool
	failed                bool // its GET waits no longer
	restarted, hasFile    bool
	found                 boxState
	verdict               msg.Verdict
	kept, isBack, isAbort bool
	handOuts              int8
}

type taskKind int8

const (
	prepareTask taskKind = iota
	pullTask
	launchTask
	restoreTask
	findTask
	logsTask
	waitTask
	signalTask
	examineTask
	removeTask
	handOutTask
	repeatTask
	clearTask
	fileTask
	storeTask
	versionTask
	deliveredTask
	unstartedTask
	retirementTask
	idleTask
	stopTask
	endTask
)

var taskNames = [...]string{"prepare", "pull", "launch", "restore", "find the container", "read the logs", "wait for the exit", "send a signal", "examine", "remove",
	"hand out", "repeat the job", "clear the results", "read the result file", "store the result", "note the version", "note the delivery", "note that it did not start",
	"note the retirement", "note that it is idle", "note the stop", "end the job"}

var (
	errIllegal   = errors.New("illegal: the session panics")
	errIdle      = errors.New("idle: the dispatcher is told that the executor waits, and no GET does")
	errOverTwice = errors.New("over twice: the end of a job is told a second time")
	errNoEnding  = errors.New("no ending: a job is said to be over that has no ending in the spool")
	errStopTwice = errors.New("one end: the actor is stopped twice")
	errRecord    = errors.New("record: the executor's record is removed while its job is open")
	errElsewhere = errors.New("once: a job that was begun here is given to another executor")
	errBogus     = errors.New("genuine: an SDK's report of a failed fetch becomes the result of a job that ran")
)

// receive lets the session decide, and begins what follows.
func (w *world) receive(m msg.ToExecutor) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("%w: %v", errIllegal, reason)
		}
	}()
	var effects []effect
	w.session, effects = step(w.session, m)
	return w.doAll(effects)
}

func (w *world) doAll(effects []effect) (err error) {
	for _, e := range effects {
		if err == nil {
			err = w.do(e)
		}
	}
	return err
}

func (w *world) do(e effect) error {
	switch e := e.(type) {
	case prepare:
		w.add(task{kind: prepareTask})
	case pull:
		w.add(task{kind: pullTask})
	case cancelPull:
		w.tasks = slices.DeleteFunc(w.tasks, func(t task) bool { return t.kind == pullTask })
	case launch:
		w.add(task{kind: launchTask})
	case findContainer:
		w.add(task{kind: findTask, step: w.record.startedAt})
	case readLogs:
		w.add(task{kind: logsTask})
	case waitForExit:
		w.add(task{kind: waitTask})
	case sendSignal:
		w.add(task{kind: signalTask, step: int8(e.step)})
	case examine:
		w.add(task{kind: examineTask, job: jobNo(e.job), before: jobNo(e.before), last: jobNo(e.last), again: e.unstarted, stop: e.stop != nil})
	case remove:
		w.add(task{kind: removeTask})
	case stopActor:
		if w.actor == actorGone {
			return errStopTwice
		}
		w.actorEnds()
	case listen:
		w.gate.afresh()
	case answerRequest:
		return w.answer(e.request, e.answer)
	case sendEvent:
		return w.notify(e.watch, e.event)
	case handOut:
		w.add(task{kind: handOutTask, request: e.request, job: jobNo(e.execution), again: e.again, before: w.handOutBefore(e.again)})
	case repeatJob:
		w.add(task{kind: repeatTask, request: e.request, job: jobNo(e.execution)})
	case clearResults:
		w.add(task{kind: clearTask})
	case readFile:
		w.add(task{kind: fileTask, job: jobNo(e.execution), before: jobNo(e.before)})
	case storeResult:
		w.add(task{kind: storeTask, request: e.request, job: jobNo(e.execution), body: bodyOfResult(e.result)})
	case recordVersion:
		w.add(task{kind: versionTask, version: e.version})
	case recordDelivered:
		w.note(task{kind: deliveredTask, job: jobNo(e.execution)})
	case recordNotStarted:
		w.add(task{kind: unstartedTask, job: jobNo(e.execution)})
	case recordRetirement:
		w.note(task{kind: retirementTask})
	case recordStop:
		w.add(task{kind: stopTask, job: jobNo(e.execution)})
	case endJob:
		w.add(task{kind: endTask, job: jobNo(e.execution), outcome: e.ending.Outcome})
	case tellDispatcher:
		return w.tellDispatcher(e.m)
	case isIdle:
		return w.becomesIdle()
	case notIdle:
		if w.slot.state == slotIdle {
			w.slot.state = slotBusy
		}
	case startTimer:
		w.startTimer(e)
	case cancelTimer:
		w.timers[timerOf(e.timer)] = 0
	case retryLater:
		return w.retry(e)
	}
	return nil
}

// writeBeside adds a task whose trace only a restart sees.
func (w *world) note(t task) {
	if !w.mayNotRestart() {
		w.add(t)
	}
}

func bodyOfResult(r msg.Result) bodyKind {
	if r.ExitCode != 0 {
		return bogusBody
	}
	return genuineBody
}

// handOutBefore is the job whose URL stays open, as the actor finds it out.
func (w *world) handOutBefore(again bool) int8 {
	if again {
		return jobNo(w.session.before)
	}
	return jobNo(w.session.last)
}

func (w *world) startTimer(e startTimer) {
	k := timerOf(e.timer)
	switch m := e.m.(type) {
	case msg.StopStepDue:
		w.timers[k] = int8(m.Step)
	default:
		w.timers[k] = 1
	}
	if e.after <= 0 {
		w.timers[k] = 0
	}
}

func (w *world) retry(e retryLater) error {
	switch e.what {
	case msg.RetryHandOut:
		w.timers[retryHandOutDue] = 1
	case msg.RetryFile:
		w.timers[retryFileDue] = 1
	case msg.RetryExamine:
		w.timers[retryExamineDue] = 1
	default:
		return fmt.Errorf("%w: %s is to be repeated, and nothing has failed", errIllegal, e.what)
	}
	return nil
}

// becomesIdle tells the dispatcher. Its assignments are numbered: while one is on its way this is out of date.
func (w *world) becomesIdle() error {
	i := w.gate.find(w.session.poll)
	ended := slices.Contains(w.gate.queue, gateEvent{kind: requestGone, request: w.session.poll})
	if w.session.poll == 0 || !ended && (i < 0 || w.gate.requests[i].answer != noAnswer) {
		return errIdle
	}
	if !w.idleSince {
		w.idleSince = true
		w.note(task{kind: idleTask, jobs: int8(w.session.jobs)})
	}
	if !w.isAssigning() && w.slot.job == 0 && w.slot.state == slotBusy {
		w.slot.state = slotIdle
	}
	return nil
}

func (w *world) isAssigning() bool {
	return slices.ContainsFunc(w.slot.inbox, func(o order) bool { return o.kind == assignOrder })
}

func (w *world) tellDispatcher(m msg.ToDispatcher) error {
	switch m := m.(type) {
	case msg.JobOver:
		j := w.job(jobNo(m.Execution))
		switch {
		case j.stage < msg.Ended:
			return errNoEnding
		case j.overTold:
			return errOverTwice
		}
		j.overTold = true
		if w.slot.job == jobNo(m.Execution) {
			w.slot.job, w.slot.abort = 0, false
		}
	case msg.JobReturned:
		if w.slot.job == jobNo(m.Execution) {
			w.jobWaitsAgain()
		}
	case msg.Retired:
		if w.slot.state != slotFreed {
			w.slot.state = slotStopping
		}
	case msg.SlotFreed:
		w.slot.state = slotFreed
	}
	return nil
}

// jobWaitsAgain: the dispatcher ends it instead where its abort is known.
func (w *world) jobWaitsAgain() {
	j := w.job(w.slot.job)
	j.where = waits4it
	if (w.slot.abort || j.abort) && j.stage < msg.Ended {
		j.stage, j.outcome = msg.Ended, msg.Aborted
	}
	w.slot.job, w.slot.abort = 0, false
}

// requeueUnstarted is what the dispatcher does when the actor has gone and only the spool knows of its job.
func (w *world) release() {
	if w.slot.job != 0 && w.job(w.slot.job).stage < msg.HandedOut {
		w.jobWaitsAgain()
	}
	w.slot.job = 0
}

func (w *world) actorEnds() {
	w.forgetActor()
	w.actor = actorGone
	w.slot.state = slotFreed
	w.release()
}

// forgetActor leaves nothing of what was only in memory.
func (w *world) forgetActor() {
	w.session, w.timers, w.tasks, w.slot.inbox, w.idleSince = session{}, [timerKinds]int8{}, nil, nil, false
	w.gate.listening = false
	for i := range w.jobs {
		w.jobs[i].overTold = false
	}
}

// back is the message of a task; nil: it has none.
func (t task) back() msg.ToExecutor {
	execution := executions[t.job]
	switch t.kind {
	case prepareTask:
		return msg.Prepared{}
	case pullTask:
		return msg.Pulled{}
	case launchTask:
		return msg.Launched{}
	case restoreTask:
		return msg.Restored{HasFile: t.hasFile}
	case findTask:
		switch t.found {
		case created:
			return msg.Found{Container: &msg.Container{State: msg.ContainerCreated}}
		case runs:
			return msg.Found{Container: &msg.Container{State: msg.ContainerRunning}, Restarted: t.restarted}
		case boxExited:
			return msg.Found{Container: &msg.Container{State: msg.ContainerExited}, Restarted: t.restarted}
		}
		return msg.Found{}
	case logsTask:
		return msg.LogsEnded{}
	case waitTask:
		if t.found == noBox {
			return msg.Exited{Err: msg.ErrNoExecutor}
		}
		return msg.Exited{}
	case signalTask:
		return msg.Signalled{Step: int(t.step), Elapsed: time.Second}
	case examineTask:
		return msg.Examined{HasEnding: t.kept, NotHandedOut: t.isBack, Abort: reasonIf(t.isAbort), HandOuts: int(t.handOuts)}
	case removeTask:
		return msg.Removed{}
	case handOutTask:
		m := msg.HandOutDone{Execution: execution, Request: t.request}
		if t.failed {
			m.Err = msg.ErrNotPolling
		}
		return m
	case repeatTask:
		return msg.InputRead{Execution: execution, Request: t.request}
	case clearTask:
		return msg.ResultsCleared{}
	case fileTask:
		return msg.FileRead{Execution: execution, Delivery: msg.Delivery{Verdict: t.verdict}, Stored: t.kept}
	case storeTask:
		return msg.ResultStored{Execution: execution, Request: t.request, Stored: t.kept}
	case versionTask:
		return msg.VersionRecorded{Version: t.version}
	case stopTask:
		return msg.StopRecorded{Execution: execution}
	case endTask:
		return msg.JobEnded{Execution: execution, Ending: msg.Ending{Outcome: t.outcome}, HasResult: t.kept}
	}
	return nil
}
