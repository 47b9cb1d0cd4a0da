package actors

import (
	"fmt"
	"slices"

	msg "runnerd/messages"
)

// What can happen in the model, and in which words.

// lifeEvent is one event. Those that help may be needed to come to the end; the others are faults, and what is asked from outside.
type lifeEvent struct {
	kind  lifeEventKind
	at    int8
	helps bool
}

type lifeEventKind int8

const (
	taskPasses lifeEventKind = iota
	taskTells
	gatewayTells
	dispatcherTells
	timerFires
	pluginAsks
	pluginHearsAnswer
	pluginGivesUp
	pluginFinishes
	pluginWritesFile
	pluginCalls
	pluginSendsBody
	pluginCallEnds
	pluginLists
	pluginHearsList
	pluginWatches
	pluginHearsEvent
	lossIsHeard
	answerIsCut
	jobArrives2
	jobIsAssigned
	jobGoesElsewhere
	abortComes
	retireComes
	actorCrashes2
	actorStartsAgain
	runnerIsKilled
	powerIsLost
	runnerStarts
	connectionIsCut
	processDies
	containerIsRestarted
	processIsRestarted
)

var lifeEventNames = [...]string{"task: ", "message: ", "the gateway tells ", "the dispatcher's order comes: ", "timer fires: ", "the plugin sends a GET", "the plugin takes the answer of its GET",
	"the plugin gives up its GET", "the plugin has its result", "the plugin writes its result file", "the plugin begins its callback", "the callback's body has arrived",
	"the plugin's callback ends", "the plugin sends a LIST", "the plugin takes the answer of its LIST and watches", "the plugin opens a watch", "the plugin hears an event",
	"the gateway notices a lost request", "the answer is cut", "another job arrives", "the dispatcher assigns job ", "another executor gets job ", "the job is aborted",
	"the dispatcher retires the executor", "FAULT: the actor crashes", "the actor is started again", "FAULT: the runner is killed", "FAULT: power is lost", "the runner starts",
	"FAULT: the plugin's connection is cut", "FAULT: the plugin's process dies", "FAULT: somebody restarts the container", "FAULT: its entrypoint starts the plugin again"}

// resumePosition lists what can happen in a state.
func (m lifeModel) next(w *world, visit func(lifeEvent, *world, error)) {
	m.events(w, func(e lifeEvent) {
		to := w.clone()
		err := m.happens(to, e)
		visit(e, to, err)
	})
}

func (m lifeModel) events(w *world, visit func(lifeEvent)) {
	waits := true
	m.eventsNow(w, func(e lifeEvent) {
		waits = waits && !e.helps
		visit(e)
	})
	for k, due := range w.timers {
		if due != 0 && isLong[k] && w.mayFire(timerKind(k)) && (waits || w.left[limitPassed] > 0) {
			visit(lifeEvent{timerFires, int8(k), true})
		}
	}
}

// isLong: these timers fire when nothing else is left to happen, and only as a fault before that.
var isLong = [timerKinds]bool{limitDue: true, assignmentIsDue: true, deliveryIsDue: true}

func (m lifeModel) eventsNow(w *world, visit func(lifeEvent)) {
	if w.actor == runnerDown {
		visit(lifeEvent{kind: runnerStarts, helps: true})
		m.pluginEvents(w, visit)
		m.accidents(w, visit)
		return
	}
	if e, ok := w.urgent(); ok {
		visit(e)
		return
	}
	for i, t := range w.tasks {
		switch {
		case !t.done && w.isOneEvent(t):
			if w.mayPass(t) && w.mayTell(t) {
				visit(lifeEvent{taskTells, int8(i), true})
			}
		case !t.done && w.mayPass(t):
			visit(lifeEvent{taskPasses, int8(i), true})
		case t.done && w.actor != actorCrashed && w.mayTell(t):
			visit(lifeEvent{taskTells, int8(i), true})
		}
	}
	switch w.actor {
	case actorRuns, actorRestores:
		m.actorEvents(w, visit)
	case actorCrashed:
		if !slices.ContainsFunc(w.tasks, func(t task) bool { return t.moment > 0 }) {
			visit(lifeEvent{kind: actorStartsAgain, helps: true})
		}
	}
	m.pluginEvents(w, visit)
	m.dispatcherEvents(w, visit)
	m.accidents(w, visit)
}

// urgent is an event that changes nothing for any other, so that there is no need to explore the others before it.
func (w *world) urgent() (lifeEvent, bool) {
	if w.actor != actorRuns {
		return lifeEvent{}, false
	}
	for i, t := range w.tasks {
		if t.kind == signalTask && w.box.state != runs {
			return lifeEvent{taskTells, int8(i), true}, true
		}
	}
	ends := w.session.state == stopping || w.session.state == exited
	if ends && w.gate.listening && len(w.gate.queue) > 0 && w.gate.queue[0].kind == requestGone {
		return lifeEvent{kind: gatewayTells, helps: true}, true
	}
	return lifeEvent{}, false
}

func (m lifeModel) actorEvents(w *world, visit func(lifeEvent)) {
	if w.gate.listening && len(w.gate.queue) > 0 {
		visit(lifeEvent{kind: gatewayTells, helps: true})
	}
	if len(w.slot.inbox) > 0 {
		visit(lifeEvent{kind: dispatcherTells, helps: true})
	}
	for k, due := range w.timers {
		if due != 0 && !isLong[k] && w.mayFire(timerKind(k)) {
			visit(lifeEvent{timerFires, int8(k), true})
		}
	}
}

// mayFire and mayTell are where the order of time is fixed: what the kernel has acknowledged is told within a second. The delivery timer
// runs for minutes, and the exit of a container comes after what its kernel did.
func (w *world) mayFire(k timerKind) bool {
	switch k {
	case deliveryIsDue:
		return !w.isDeliveryUntold()
	case limitDue: // the engine hands on the rest of the output
		return w.session.state != exited
	case stopStepIsDue: // an exit is told sooner
		return w.box.state == runs
	case notifyIsDue: // it says nothing any more
		return w.session.state != stopping && w.session.state != exited
	}
	return true
}

func (w *world) mayTell(t task) bool { return t.kind != waitTask || !w.isDeliveryUntold() }

func (w *world) isDeliveryUntold() bool {
	return slices.ContainsFunc(w.gate.queue, func(e gateEvent) bool { return e.kind == jobDelivered && e.job != 0 })
}

func (m lifeModel) dispatcherEvents(w *world, visit func(lifeEvent)) {
	for n := range m.jobs {
		j := w.jobs[n]
		switch {
		case j.where == absent:
			visit(lifeEvent{kind: jobArrives2, at: int8(n + 1)})
		case j.where == waits4it && j.stage < msg.Ended:
			visit(lifeEvent{jobGoesElsewhere, int8(n + 1), true})
			if w.slot.state == slotIdle {
				visit(lifeEvent{jobIsAssigned, int8(n + 1), true})
			}
		}
	}
	if w.slot.job != 0 && w.left[jobIsAborted] > 0 {
		visit(lifeEvent{kind: abortComes})
	}
	if w.left[executorRetired] > 0 && (w.slot.state == slotIdle || w.slot.state == slotBusy) {
		visit(lifeEvent{kind: retireComes})
	}
}

// accidents are the faults, and how their consequences are noticed.
func (m lifeModel) accidents(w *world, visit func(lifeEvent)) {
	may := func(f fault, e lifeEventKind, at int8) {
		if w.left[f] > 0 {
			visit(lifeEvent{kind: e, at: at})
		}
	}
	for i, r := range w.gate.requests {
		switch {
		case r.lost && w.gate.up:
			visit(lifeEvent{lossIsHeard, int8(i), true})
		case r.kind == getRequest && r.answer == jobAnswer && r.old:
			visit(lifeEvent{answerIsCut, int8(i), true})
		case !r.lost && r.kind != listRequest:
			may(connectionCut, connectionIsCut, int8(i))
		}
	}
	if w.actor == actorRuns || w.actor == actorRestores {
		may(actorCrashes, actorCrashes2, 0)
	}
	if w.actor != runnerDown && w.actor != nothingLeft {
		if w.box.process < 2 || !w.isUndelivered() {
			may(runnerKilled, runnerIsKilled, 0)
		}
	}
	if w.actor != nothingLeft {
		may(powerLost, powerIsLost, 0)
	}
	if w.box.state == runs {
		may(pluginDies, processDies, 0)
		if !w.isDeliveryLost() || w.actor == runnerDown && w.record.startedAt != 0 {
			may(containerRestarted, containerIsRestarted, 0)
		}
		if !w.isDeliveryLost() {
			may(pluginRestarted, processIsRestarted, 0)
		}
	}
}

// isDeliveryLost: the runner was killed between the acknowledgement of an input and its note. A second process that is started by the
// entrypoint then, or by somebody while the runner is up again or before its first start was noted, cannot be told from the first:
// these faults are not explored together.
func (w *world) isDeliveryLost() bool {
	return w.isUndelivered() && w.gate.delivered == 0 && w.left[runnerKilled]+w.left[powerLost] == 0
}

func (w *world) isUndelivered() bool {
	return slices.ContainsFunc(w.jobs[:], func(j jobFacts) bool { return j.started > 0 && j.stage == msg.HandedOut && !j.delivered })
}

// describe says what happened, and how things are then.
func (m lifeModel) describe(from *world, e lifeEvent, to *world) string {
	text := lifeEventNames[e.kind]
	switch e.kind {
	case taskPasses, taskTells:
		t := from.tasks[e.at]
		if text += taskNames[t.kind]; e.kind == taskPasses && t.moment > 0 {
			text += fmt.Sprintf(", moment %d", t.moment+1)
		}
		if after := from.clone(); e.kind == taskTells {
			for !t.done {
				_ = after.pass(int(e.at))
				t = after.tasks[e.at]
			}
			text += " " + taskOutcome(t)
		}
	case gatewayTells:
		text += fmt.Sprintf("%T", from.message(from.gate.queue[0]))
	case dispatcherTells:
		text += [...]string{"assign", "retire", "abort"}[from.slot.inbox[0].kind]
	case timerFires:
		text += timerNames[e.at]
	case jobIsAssigned, jobGoesElsewhere:
		text += fmt.Sprint(e.at)
	case connectionIsCut:
		text += [...]string{" (GET)", " (LIST)", " (watch)", " (callback)"}[from.gate.requests[e.at].kind]
	}
	return text + to.inWords()
}

func taskOutcome(t task) string {
	t.done = true
	m := t.back()
	return fmt.Sprintf("%T%+v", m, m)
}

func (w *world) inWords() string {
	s := w.session
	text := " [session " + string(s.state)
	if s.job.stage != noJob {
		text += fmt.Sprintf(", job %s %s", s.job.Execution, [...]string{"", "assigned", "being handed out", "handed out"}[s.job.stage])
	}
	for word, is := range map[string]bool{"a GET waits": s.poll != 0, "delivered": s.job.delivered, "did not start": s.job.unstarted} {
		if is {
			text += ", " + word
		}
	}
	for n, j := range w.jobs {
		if j.where != absent {
			text += fmt.Sprintf("; job %d %s, begun %d times", n+1, j.stage, j.started)
		}
	}
	return text + "]"
}
