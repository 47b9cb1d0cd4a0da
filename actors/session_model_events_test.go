package actors

import (
	"fmt"
	"slices"

	msg "runnerd/messages"
)

// The events of the model and their descriptions.

// modelEvent is one event. A path to the goal may use events that help; the others are faults, and requests from outside.
type modelEvent struct {
	kind  modelEventKind
	at    int8
	helps bool
}

type modelEventKind int8

const (
	taskSteps modelEventKind = iota
	taskReports
	gatewayReports
	orderArrives
	timerFires
	pluginSendsGet
	pluginReadsAnswer
	pluginGivesUp
	pluginFinishes
	pluginWritesFile
	pluginCalls
	pluginSendsBody
	pluginCallEnds
	pluginLists
	pluginReadsList
	pluginWatches
	pluginReadsEvent
	lossIsNoticed
	answerIsCut
	jobIsOffered
	jobIsAssigned
	jobGoesElsewhere
	abortComes
	retireComes
	actorIsCrashed
	actorIsRestarted
	runnerIsKilled
	powerIsLost
	runnerStarts
	connectionIsCut
	processDies
	containerIsRestarted
	processIsRestarted
)

var modelEventNames = [...]string{"task: ", "message: ", "the gateway reports ", "the dispatcher's order arrives: ", "timer fires: ", "the plugin sends a GET", "the plugin reads the answer of its GET",
	"the plugin gives up its GET", "the plugin has its result", "the plugin writes its result file", "the plugin begins its callback", "the callback's body arrives",
	"the plugin's callback ends", "the plugin sends a LIST", "the plugin reads the answer of its LIST and watches", "the plugin opens a watch", "the plugin reads an event",
	"the gateway notices a lost request", "the answer is cut", "another job arrives", "the dispatcher assigns job ", "another executor gets job ", "the job is aborted",
	"the dispatcher retires the executor", "FAULT: the actor crashes", "the actor is restarted", "FAULT: the runner is killed", "FAULT: power is lost", "the runner starts",
	"FAULT: the plugin's connection is cut", "FAULT: the plugin's process dies", "FAULT: somebody restarts the container", "FAULT: the entrypoint restarts the plugin"}

// next visits each event that is possible in a state, with the state after it or the invariant that it breaks.
func (m sessionModel) next(w *modelState, visit func(modelEvent, *modelState, error)) {
	m.events(w, func(e modelEvent) {
		to := w.clone()
		err := m.apply(to, e)
		visit(e, to, err)
	})
}

func (m sessionModel) events(w *modelState, visit func(modelEvent)) {
	waits := true
	m.immediateEvents(w, func(e modelEvent) {
		waits = waits && !e.helps
		visit(e)
	})
	for k, due := range w.timers {
		if due != 0 && isLongTimer[k] && w.canFire(timerKind(k)) && (waits || w.remainingFaults[limitPassed] > 0) {
			visit(modelEvent{timerFires, int8(k), true})
		}
	}
}

// isLongTimer marks the timers that fire only when no other event is possible, or else as a fault.
var isLongTimer = [timerKinds]bool{limitTimerDue: true, pollTimerDue: true, deliveryTimerDue: true}

func (m sessionModel) immediateEvents(w *modelState, visit func(modelEvent)) {
	if w.actor == runnerDown {
		visit(modelEvent{kind: runnerStarts, helps: true})
		m.pluginEvents(w, visit)
		m.faultEvents(w, visit)
		return
	}
	if e, ok := w.urgent(); ok {
		visit(e)
		return
	}
	for i, t := range w.tasks {
		switch {
		case !t.done && w.isAtomic(t):
			if w.canStep(t) && w.canReport(t) {
				visit(modelEvent{taskReports, int8(i), true})
			}
		case !t.done && w.canStep(t):
			visit(modelEvent{taskSteps, int8(i), true})
		case t.done && w.actor != actorCrashed && w.canReport(t):
			visit(modelEvent{taskReports, int8(i), true})
		}
	}
	switch w.actor {
	case actorRuns, actorRestores:
		m.actorEvents(w, visit)
	case actorCrashed:
		if !slices.ContainsFunc(w.tasks, func(t task) bool { return t.stepsDone > 0 }) {
			visit(modelEvent{kind: actorIsRestarted, helps: true})
		}
	}
	m.pluginEvents(w, visit)
	m.dispatcherEvents(w, visit)
	m.faultEvents(w, visit)
}

// urgent returns an event that does not affect any other event, so that the others need not be explored before it.
func (w *modelState) urgent() (modelEvent, bool) {
	if w.actor != actorRuns {
		return modelEvent{}, false
	}
	for i, t := range w.tasks {
		if t.kind == signalTask && w.container.state != containerRunning {
			return modelEvent{taskReports, int8(i), true}, true
		}
	}
	ends := w.session.state == stopping || w.session.state == exited
	if ends && w.gateway.listening && len(w.gateway.queue) > 0 && w.gateway.queue[0].kind == requestGone {
		return modelEvent{kind: gatewayReports, helps: true}, true
	}
	return modelEvent{}, false
}

func (m sessionModel) actorEvents(w *modelState, visit func(modelEvent)) {
	if w.gateway.listening && len(w.gateway.queue) > 0 {
		visit(modelEvent{kind: gatewayReports, helps: true})
	}
	if len(w.slot.inbox) > 0 {
		visit(modelEvent{kind: orderArrives, helps: true})
	}
	for k, due := range w.timers {
		if due != 0 && !isLongTimer[k] && w.canFire(timerKind(k)) {
			visit(modelEvent{timerFires, int8(k), true})
		}
	}
}

// canFire and canReport restrict the order of events to what real time allows: an acknowledgement by the kernel is reported within a
// second, while the delivery timer runs for minutes, and a container's exit is reported after what its kernel did before.
func (w *modelState) canFire(k timerKind) bool {
	switch k {
	case deliveryTimerDue:
		return !w.isDeliveryPending()
	case limitTimerDue: // the engine delivers the rest of the output
		return w.session.state != exited
	case stopTimerDue: // an exit is reported sooner
		return w.container.state == containerRunning
	case notifyTimerDue: // no event is sent any more
		return w.session.state != stopping && w.session.state != exited
	}
	return true
}

func (w *modelState) canReport(t task) bool { return t.kind != waitTask || !w.isDeliveryPending() }

func (w *modelState) isDeliveryPending() bool {
	return slices.ContainsFunc(w.gateway.queue, func(e gatewayEvent) bool { return e.kind == jobDelivered && e.job != 0 })
}

func (m sessionModel) dispatcherEvents(w *modelState, visit func(modelEvent)) {
	for n := range m.jobs {
		j := w.jobs[n]
		switch {
		case j.where == notOffered:
			visit(modelEvent{kind: jobIsOffered, at: int8(n + 1)})
		case j.where == waitingHere && j.stage < msg.Ended:
			visit(modelEvent{jobGoesElsewhere, int8(n + 1), true})
			if w.slot.state == slotIdle {
				visit(modelEvent{jobIsAssigned, int8(n + 1), true})
			}
		}
	}
	if w.slot.job != 0 && w.remainingFaults[jobIsAborted] > 0 {
		visit(modelEvent{kind: abortComes})
	}
	if w.remainingFaults[executorRetired] > 0 && (w.slot.state == slotIdle || w.slot.state == slotBusy) {
		visit(modelEvent{kind: retireComes})
	}
}

// faultEvents lists the faults, and the events by which their consequences are noticed.
func (m sessionModel) faultEvents(w *modelState, visit func(modelEvent)) {
	may := func(f fault, e modelEventKind, at int8) {
		if w.remainingFaults[f] > 0 {
			visit(modelEvent{kind: e, at: at})
		}
	}
	for i, r := range w.gateway.requests {
		switch {
		case r.lost && w.gateway.up:
			visit(modelEvent{lossIsNoticed, int8(i), true})
		case r.kind == getRequest && r.answer == jobAnswer && r.old:
			visit(modelEvent{answerIsCut, int8(i), true})
		case !r.lost && r.kind != listRequest:
			may(connectionCut, connectionIsCut, int8(i))
		}
	}
	if w.actor == actorRuns || w.actor == actorRestores {
		may(actorCrashes, actorIsCrashed, 0)
	}
	if w.actor != runnerDown && w.actor != nothingLeft {
		if w.container.process < 2 || !w.isUndelivered() {
			may(runnerKilled, runnerIsKilled, 0)
		}
	}
	if w.actor != nothingLeft {
		may(powerLost, powerIsLost, 0)
	}
	if w.container.state == containerRunning {
		may(pluginDies, processDies, 0)
		if !w.isDeliveryLost() || w.actor == runnerDown && w.record.startedAt != 0 {
			may(containerRestarted, containerIsRestarted, 0)
		}
		if !w.isDeliveryLost() {
			may(pluginRestarted, processIsRestarted, 0)
		}
	}
}

// isDeliveryLost reports whether the runner was killed between the acknowledgement of an input and the record of it. If the entrypoint then
// starts a second process, or somebody restarts the container while the runner is up or before the first start was recorded, the runner
// cannot distinguish the second process from the first. These faults are not explored together.
func (w *modelState) isDeliveryLost() bool {
	return w.isUndelivered() && w.gateway.delivered == 0 && w.remainingFaults[runnerKilled]+w.remainingFaults[powerLost] == 0
}

func (w *modelState) isUndelivered() bool {
	return slices.ContainsFunc(w.jobs[:], func(j jobFacts) bool { return j.started > 0 && j.stage == msg.HandedOut && !j.delivered })
}

// describe describes an event and the state after it.
func (m sessionModel) describe(from *modelState, e modelEvent, to *modelState) string {
	text := modelEventNames[e.kind]
	switch e.kind {
	case taskSteps, taskReports:
		t := from.tasks[e.at]
		if text += taskNames[t.kind]; e.kind == taskSteps && t.stepsDone > 0 {
			text += fmt.Sprintf(", step %d", t.stepsDone+1)
		}
		if after := from.clone(); e.kind == taskReports {
			for !t.done {
				_ = after.runStep(int(e.at))
				t = after.tasks[e.at]
			}
			text += " " + taskOutcome(t)
		}
	case gatewayReports:
		text += fmt.Sprintf("%T", from.message(from.gateway.queue[0]))
	case orderArrives:
		text += [...]string{"assign", "retire", "abort"}[from.slot.inbox[0].kind]
	case timerFires:
		text += timerNames[e.at]
	case jobIsAssigned, jobGoesElsewhere:
		text += fmt.Sprint(e.at)
	case connectionIsCut:
		text += [...]string{" (GET)", " (LIST)", " (watch)", " (callback)"}[from.gateway.requests[e.at].kind]
	}
	return text + to.summary()
}

func taskOutcome(t task) string {
	t.done = true
	m := t.message()
	return fmt.Sprintf("%T%+v", m, m)
}

func (w *modelState) summary() string {
	s := w.session
	text := " [session " + string(s.state)
	if s.job.handOut != noJob {
		text += fmt.Sprintf(", job %s %s", s.job.Execution, [...]string{"", "assigned", "being handed out", "handed out"}[s.job.handOut])
	}
	for word, is := range map[string]bool{"a GET waits": s.poll != 0, "delivered": s.job.delivered, "did not start": s.job.unstarted} {
		if is {
			text += ", " + word
		}
	}
	for n, j := range w.jobs {
		if j.where != notOffered {
			text += fmt.Sprintf("; job %d %s, started %d times", n+1, j.stage, j.started)
		}
	}
	return text + "]"
}
