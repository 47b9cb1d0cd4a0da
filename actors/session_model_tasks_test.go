package actors

import (
	"errors"
	"fmt"
	"slices"
	"time"

	msg "runnerd/messages"
)

// What the model's actor does for the session. Work that may block is a task. Each of its steps, and then its message, is an
// event of its own, so that a crash can happen between any two.

// task is a started task whose message was not received yet.
type task struct {
	kind           taskKind
	stepsDone      int8 // number of steps done
	request        msg.RequestID
	job            int8
	previous       int8
	jobs           int8 // number of jobs that the executor had
	lastJob        int8 // its newest
	step           int8 // of the stop sequence; in a findTask, the process that the record names
	stop           bool // of an examination: its job was being stopped
	again          bool // of a hand-out or an examination: the plugin did not start the job
	unacknowledged bool // of an examination
	version        uint64
	outcome        msg.Outcome
	body           bodyKind // of a result

	// The content of its message.
	done                                 bool
	failed                               bool // its hand-out failed
	restarted, hasFile                   bool
	found                                containerState
	verdict                              msg.Verdict
	stored, notHandedOut, abortRequested bool
	handOuts                             int8
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
	resendTask
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
	"hand out", "resend the job", "clear the results", "read the result file", "store the result", "record the version", "record the delivery",
	"record that it did not start", "record the retirement", "record that it is idle", "record the stop", "end the job"}

var (
	errIllegal   = errors.New("illegal")
	errIdle      = errors.New("idle: the dispatcher is told that the executor is idle, but no GET waits")
	errDoneTwice = errors.New("done twice: the end of a job is reported a second time")
	errNoEnding  = errors.New("no ending: a job is reported as done without an ending in the spool")
	errStopTwice = errors.New("one end: the actor is stopped twice")
	errRecord    = errors.New("record: the executor's record is removed while its job is open")
	errElsewhere = errors.New("once: a job that was started here is given to another executor")
	errBogus     = errors.New("genuine: an SDK's report of a failed fetch becomes the result of a job that ran")
)

// receive passes a message to the session and carries out the effects.
func (w *modelState) receive(m msg.ToExecutor) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("%w: the session panics: %v", errIllegal, reason)
		}
	}()
	var effects []effect
	w.session, effects = step(w.session, m)
	return w.doAll(effects)
}

func (w *modelState) doAll(effects []effect) (err error) {
	for _, e := range effects {
		if err == nil {
			err = w.do(e)
		}
	}
	return err
}

func (w *modelState) do(e effect) error {
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
		w.add(task{kind: examineTask, job: jobNumber(e.job), previous: jobNumber(e.previous), lastJob: jobNumber(e.last), again: e.unstarted, unacknowledged: e.unacknowledged, stop: e.stop != nil})
	case remove:
		w.add(task{kind: removeTask})
	case stopActor:
		if w.actor == actorGone {
			return errStopTwice
		}
		w.actorStops()
	case listen:
		w.gateway.replay()
	case answerRequest:
		return w.answer(e.request, e.answer)
	case sendEvent:
		return w.notify(e.watch, e.event)
	case handOut:
		w.add(task{kind: handOutTask, request: e.request, job: jobNumber(e.execution), again: e.again, previous: w.previousJob(e.again)})
	case resendJob:
		w.add(task{kind: resendTask, request: e.request, job: jobNumber(e.execution)})
	case clearResults:
		w.add(task{kind: clearTask})
	case readFile:
		w.add(task{kind: fileTask, job: jobNumber(e.execution), previous: jobNumber(e.previous)})
	case storeResult:
		w.add(task{kind: storeTask, request: e.request, job: jobNumber(e.execution), body: bodyOfResult(e.result)})
	case recordVersion:
		w.add(task{kind: versionTask, version: e.version})
	case recordDelivered:
		w.addRecordTask(task{kind: deliveredTask, job: jobNumber(e.execution)})
	case recordNotStarted:
		w.add(task{kind: unstartedTask, job: jobNumber(e.execution)})
	case recordRetirement:
		w.addRecordTask(task{kind: retirementTask})
	case recordStop:
		w.add(task{kind: stopTask, job: jobNumber(e.execution)})
	case endJob:
		w.add(task{kind: endTask, job: jobNumber(e.execution), outcome: e.ending.Outcome})
	case tellDispatcher:
		return w.tellDispatcher(e.m)
	case tellIdle:
		return w.becomesIdle()
	case tellNotIdle:
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

// addRecordTask adds a task whose outcome matters only after a restart.
func (w *modelState) addRecordTask(t task) {
	if !w.restartImpossible() {
		w.add(t)
	}
}

func bodyOfResult(r msg.Result) bodyKind {
	if r.ExitCode != 0 {
		return bogusBody
	}
	return genuineBody
}

// previousJob returns the job whose URL stays open during a hand-out, as the actor determines it.
func (w *modelState) previousJob(again bool) int8 {
	if again {
		return jobNumber(w.session.previous)
	}
	return jobNumber(w.session.last)
}

func (w *modelState) startTimer(e startTimer) {
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

func (w *modelState) retry(e retryLater) error {
	switch e.what {
	case msg.RetryHandOut:
		w.timers[retryHandOutDue] = 1
	case msg.RetryFile:
		w.timers[retryFileDue] = 1
	case msg.RetryExamine:
		w.timers[retryExamineDue] = 1
	default:
		return fmt.Errorf("%w: %s is retried although nothing failed", errIllegal, e.what)
	}
	return nil
}

// becomesIdle tells the dispatcher that the executor is idle. Assignments are numbered: if one is on its way, the dispatcher ignores the
// message.
func (w *modelState) becomesIdle() error {
	i := w.gateway.find(w.session.poll)
	ended := slices.Contains(w.gateway.queue, gatewayEvent{kind: requestGone, request: w.session.poll})
	if w.session.poll == 0 || !ended && (i < 0 || w.gateway.requests[i].answer != noAnswer) {
		return errIdle
	}
	if !w.idleSince {
		w.idleSince = true
		w.addRecordTask(task{kind: idleTask, jobs: int8(w.session.jobs)})
	}
	if !w.isAssigning() && w.slot.job == 0 && w.slot.state == slotBusy {
		w.slot.state = slotIdle
	}
	return nil
}

func (w *modelState) isAssigning() bool {
	return slices.ContainsFunc(w.slot.inbox, func(o order) bool { return o.kind == assignOrder })
}

func (w *modelState) tellDispatcher(m msg.ToDispatcher) error {
	switch m := m.(type) {
	case msg.JobDone:
		j := w.job(jobNumber(m.Execution))
		switch {
		case j.stage < msg.Ended:
			return errNoEnding
		case j.doneReported:
			return errDoneTwice
		}
		j.doneReported = true
		if w.slot.job == jobNumber(m.Execution) {
			w.slot.job, w.slot.abort = 0, false
		}
	case msg.JobReturned:
		if w.slot.job == jobNumber(m.Execution) {
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

// jobWaitsAgain returns the job to the queue. If its abort is known, the dispatcher ends it instead.
func (w *modelState) jobWaitsAgain() {
	j := w.job(w.slot.job)
	j.where = waitingHere
	if (w.slot.abort || j.abort) && j.stage < msg.Ended {
		j.stage, j.outcome = msg.Ended, msg.Aborted
	}
	w.slot.job, w.slot.abort = 0, false
}

// release is what the dispatcher does with the job of an actor that has ended.
func (w *modelState) release() {
	if w.slot.job != 0 && w.job(w.slot.job).stage < msg.HandedOut {
		w.jobWaitsAgain()
	}
	w.slot.job = 0
}

func (w *modelState) actorStops() {
	w.forgetActor()
	w.actor = actorGone
	w.slot.state = slotFreed
	w.release()
}

// forgetActor discards everything that was only in memory.
func (w *modelState) forgetActor() {
	w.session, w.timers, w.tasks, w.slot.inbox, w.idleSince = session{}, [timerKinds]int8{}, nil, nil, false
	w.gateway.listening = false
	for i := range w.jobs {
		w.jobs[i].doneReported = false
	}
}

// message returns the message of a task, or nil if it sends none.
func (t task) message() msg.ToExecutor {
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
		case containerCreated:
			return msg.Found{Container: &msg.Container{State: msg.ContainerCreated}}
		case containerRunning:
			return msg.Found{Container: &msg.Container{State: msg.ContainerRunning}, Restarted: t.restarted}
		case containerExited:
			return msg.Found{Container: &msg.Container{State: msg.ContainerExited}, Restarted: t.restarted}
		}
		return msg.Found{}
	case logsTask:
		return msg.LogsEnded{}
	case waitTask:
		if t.found == noContainer {
			return msg.Exited{Err: msg.ErrNoExecutor}
		}
		return msg.Exited{}
	case signalTask:
		return msg.Signalled{Step: int(t.step), Elapsed: time.Second}
	case examineTask:
		return msg.Examined{HasEnding: t.stored, NotHandedOut: t.notHandedOut, Abort: reasonIf(t.abortRequested), HandOuts: int(t.handOuts)}
	case removeTask:
		return msg.Removed{}
	case handOutTask:
		m := msg.HandOutDone{Execution: execution, Request: t.request}
		if t.failed {
			m.Err = msg.ErrNotPolling
		}
		return m
	case resendTask:
		return msg.InputRead{Execution: execution, Request: t.request}
	case clearTask:
		return msg.ResultsCleared{}
	case fileTask:
		return msg.FileRead{Execution: execution, ReceivedBody: msg.ReceivedBody{Verdict: t.verdict}, Stored: t.stored}
	case storeTask:
		return msg.ResultStored{Execution: execution, Request: t.request, Stored: t.stored}
	case versionTask:
		return msg.VersionRecorded{Version: t.version}
	case stopTask:
		return msg.StopRecorded{Execution: execution}
	case endTask:
		return msg.JobEnded{Execution: execution, Ending: msg.Ending{Outcome: t.outcome}, HasResult: t.stored}
	}
	return nil
}
