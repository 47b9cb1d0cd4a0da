package actors

import (
	"errors"
	"slices"

	msg "runnerd/messages"
)

// The plugin of the model, which behaves like the two SDKs (docs/executor-contract.md):
//
//	Go      GET · work · callback and file in any order · LIST, WATCH until it exits · (event) GET · …
//	Python  GET · work · file, callback · WATCH, one more for each job · (second event) GET · …

type pluginFacts struct {
	state       pluginState
	job         int8 // that it runs or reports
	last        int8 // the newest that it has run
	bogus       bool // it reports a failed fetch, encrypted with the key of last
	fileDue     bool // it has not written the result file yet
	call        callState
	watching    bool   // Go: its informer runs; Python: it waits for an event
	seen        uint64 // resourceVersion; 0: none
	pendingGets int8   // GETs that events have caused and that it has not sent yet
	denied      bool   // its GET was lost because the runner is or was down: it may give up
}

type pluginState int8

const (
	noProcess pluginState = iota
	booting
	asking
	working
	delivering
	listening
)

type callState int8

const (
	noCall callState = iota
	callDue
	callActive
)

var errTwice = errors.New("once: a job is run a second time")

// pluginEvents lists the plugin's possible events.
func (m sessionModel) pluginEvents(w *modelState, visit func(modelEvent)) {
	p, g := w.plugin, &w.gateway
	if p.state == noProcess {
		return
	}
	reaches := g.up && g.admitted
	if p.state == booting && reaches {
		visit(modelEvent{kind: pluginSendsGet, helps: true})
	}
	if p.state == asking {
		m.askingEvents(w, reaches, visit)
	}
	if p.state == working && !w.isLaunching() {
		visit(modelEvent{kind: pluginFinishes, helps: true})
	}
	if p.state == delivering {
		m.deliveringEvents(w, reaches, visit)
	}
	if p.state == listening && p.pendingGets > 0 && reaches {
		visit(modelEvent{kind: pluginSendsGet, helps: true})
	}
	if p.watching {
		m.listeningEvents(w, reaches, visit)
	}
}

// isLaunching reports whether the engine has not answered the start yet. The answer takes less time than a job, so no job
// finishes before it.
func (w *modelState) isLaunching() bool {
	return slices.ContainsFunc(w.tasks, func(t task) bool { return t.kind == launchTask })
}

func (m sessionModel) askingEvents(w *modelState, reaches bool, visit func(modelEvent)) {
	i := w.gateway.newest(getRequest)
	switch {
	case i < 0 && reaches:
		visit(modelEvent{kind: pluginSendsGet, helps: true})
	case i >= 0 && w.gateway.requests[i].answer != noAnswer:
		visit(modelEvent{kind: pluginReadsAnswer, helps: true})
	}
	if i < 0 && w.plugin.denied {
		visit(modelEvent{kind: pluginGivesUp, helps: true})
	}
}

func (m sessionModel) deliveringEvents(w *modelState, reaches bool, visit func(modelEvent)) {
	p := w.plugin
	fileFirst := m.sdk == msg.PythonSDK && p.fileDue
	i := w.gateway.newest(callbackRequest)
	if p.fileDue {
		visit(modelEvent{kind: pluginWritesFile, helps: true})
	}
	if p.call == callDue && !fileFirst {
		visit(modelEvent{kind: pluginCalls, helps: true})
	}
	if p.call == callActive {
		switch {
		case i < 0 || w.gateway.requests[i].answer != noAnswer:
			visit(modelEvent{kind: pluginCallEnds, helps: true})
		case w.gateway.requests[i].sending:
			visit(modelEvent{kind: pluginSendsBody, helps: true})
		}
	}
}

func (m sessionModel) listeningEvents(w *modelState, reaches bool, visit func(modelEvent)) {
	list, watch := w.gateway.newest(listRequest), w.newestWatch()
	switch {
	case watch >= 0 && w.gateway.requests[watch].eventCount > 0:
		visit(modelEvent{kind: pluginReadsEvent, helps: true})
	case watch >= 0:
	case list >= 0 && w.gateway.requests[list].answer != noAnswer:
		visit(modelEvent{kind: pluginReadsList, helps: true})
	case list < 0 && reaches && m.sdk == msg.PythonSDK:
		visit(modelEvent{kind: pluginWatches, helps: true})
	case list < 0 && reaches:
		visit(modelEvent{kind: pluginLists, helps: true})
	}
}

// newestWatch returns the watch that the plugin reads. Python's older ones stay open and are not read.
func (w *modelState) newestWatch() int {
	i := w.gateway.newest(watchRequest)
	if i >= 0 && w.gateway.requests[i].job != w.plugin.last {
		return -1
	}
	return i
}

// act carries out one of the plugin's events.
func (m sessionModel) act(w *modelState, kind modelEventKind) error {
	p, g := &w.plugin, &w.gateway
	switch kind {
	case pluginSendsGet:
		if p.state == listening {
			p.pendingGets--
			p.watching = m.sdk != msg.PythonSDK
		}
		p.state, p.denied = asking, false
		g.park(request{kind: getRequest})
	case pluginReadsAnswer:
		return m.readAnswer(w)
	case pluginGivesUp:
		m.giveUp(p)
	case pluginFinishes:
		p.state, p.fileDue, p.call = delivering, true, callDue
	case pluginWritesFile:
		m.writeFile(w)
		m.finishReport(w)
	case pluginCalls:
		m.call(w)
		m.finishReport(w)
	case pluginSendsBody:
		r := &g.requests[g.newest(callbackRequest)]
		r.sending = false
		g.enqueue(gatewayEvent{kind: requestCame, request: r.id})
	case pluginCallEnds:
		if i := g.newest(callbackRequest); i >= 0 {
			g.drop(i)
		}
		p.call = noCall
		m.finishReport(w)
	case pluginLists:
		g.park(request{kind: listRequest, version: p.seen})
	case pluginReadsList:
		i := g.newest(listRequest)
		p.seeVersion(g.requests[i].shown, false)
		g.drop(i)
		if g.up && g.admitted {
			g.park(request{kind: watchRequest, version: p.seen, job: p.last})
		}
	case pluginWatches:
		g.park(request{kind: watchRequest, version: p.seen, job: p.last, nested: true, fresh: p.seen == 0})
	case pluginReadsEvent:
		r := &g.requests[w.newestWatch()]
		first := r.events[0]
		copy(r.events[:], r.events[1:])
		r.events[len(r.events)-1] = 0
		r.eventCount--
		p.seeVersion(first%baseline, first >= baseline)
	}
	return nil
}

// seeVersion handles an event. A key that the plugin has not seen makes it ask.
func (p *pluginFacts) seeVersion(version uint64, isBaseline bool) {
	if version != p.seen && p.seen != 0 && !isBaseline {
		p.pendingGets = min(p.pendingGets+1, 2)
	}
	p.seen = version
}

func (m sessionModel) readAnswer(w *modelState) error {
	p, g := &w.plugin, &w.gateway
	i := g.newest(getRequest)
	r := g.requests[i]
	g.drop(i)
	switch r.answer {
	case jobAnswer:
		j := w.job(r.job)
		j.started++
		p.state, p.job, p.bogus = working, r.job, false
		if !r.old && g.current == r.job {
			g.delivered = r.job
			g.enqueue(gatewayEvent{kind: jobDelivered, job: r.job})
		}
		switch {
		case j.where == elsewhere || j.started > 1:
			return errTwice
		}
	case urlAnswer: // it contains no input
		m.giveUp(p)
	}
	return nil
}

// giveUp is what an SDK does when it gets no job: it reports that as the result of its last job. Before the first job it writes plain
// text into its result file, and exits.
func (m sessionModel) giveUp(p *pluginFacts) {
	p.state, p.bogus, p.fileDue, p.call, p.denied = delivering, true, true, callDue, false
	p.job = p.last
	if p.last == 0 {
		p.call = noCall
	}
}

func (m sessionModel) body(p *pluginFacts) bodyKind {
	switch {
	case p.bogus && p.last == 0:
		return plainBody
	case p.bogus:
		return bogusBody
	}
	return genuineBody
}

func (m sessionModel) writeFile(w *modelState) {
	w.plugin.fileDue = false
	if w.gateway.admitted || !w.gateway.up {
		w.gateway.file = fileFacts{body: m.body(&w.plugin), job: w.plugin.job}
	}
	if w.gateway.up && w.gateway.urls[0] != 0 {
		w.gateway.enqueue(gatewayEvent{kind: fileChanged})
	}
}

// call posts the result to the URL of its job. To an SDK, a closed URL and a runner that is down look the same.
func (m sessionModel) call(w *modelState) {
	p, g := &w.plugin, &w.gateway
	p.call = callActive
	open := p.job == g.urls[0] || p.job == g.urls[1]
	if g.up && open {
		g.park(request{kind: callbackRequest, sending: true, job: p.job, current: g.current, body: m.body(p), newest: p.job == g.urls[0]})
	}
}

// finishReport continues when all attempts to deliver the result are done.
func (m sessionModel) finishReport(w *modelState) {
	p := &w.plugin
	if p.state != delivering || p.fileDue || p.call != noCall {
		return
	}
	last := p.job
	switch {
	case p.bogus && (m.sdk == msg.PythonSDK || last == 0), m.mode != msg.Daemon:
		w.containerExits()
		return
	case m.sdk == msg.PythonSDK: // it opens one more watch
		p.seen, p.pendingGets = 0, 0
	}
	p.state, p.last, p.job, p.bogus, p.watching = listening, last, 0, false, true
}
