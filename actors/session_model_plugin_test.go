package actors

import (
	"errors"
	"slices"

	msg "runnerd/messages"
)

// The plugin of the model, in the manner of the two SDKs (docs/executor-contract.md):
//
//	Go      GET · work · callback and file in any order · LIST, WATCH for its life · (event) GET · …
//	Python  GET · work · file, callback · WATCH, one more for each job · (second event) GET · …

type pluginFacts struct {
	phase  pluginPhase
	job    int8 // that it works on or reports
	last   int8 // the newest that it has run
	bogus  bool // it reports that it could not fetch a job, with the key of last
	write  bool // the result file is still to be written
	call   callPhase
	hears  bool   // Go: its informer runs; Python: it waits for an event
	seen   uint64 // resourceVersion; 0: none
	asks   int8   // events that make it ask, and have not yet
	denied bool   // its GET was lost, and the runner is or was away: it may give up
}

type pluginPhase int8

const (
	noProcess pluginPhase = iota
	booting
	asking
	working
	reporting
	listening
)

type callPhase int8

const (
	noCall callPhase = iota
	callDue
	callUnderWay
)

var errTwice = errors.New("once: a job is run a second time")

// pluginEvents lists what the plugin can do.
func (m lifeModel) pluginEvents(w *world, visit func(lifeEvent)) {
	p, g := w.plugin, &w.gate
	if p.phase == noProcess {
		return
	}
	reaches := g.up && g.admitted
	if p.phase == booting && reaches {
		visit(lifeEvent{kind: pluginAsks, helps: true})
	}
	if p.phase == asking {
		m.askingEvents(w, reaches, visit)
	}
	if p.phase == working && !w.isLaunching() {
		visit(lifeEvent{kind: pluginFinishes, helps: true})
	}
	if p.phase == reporting {
		m.reportingEvents(w, reaches, visit)
	}
	if p.phase == listening && p.asks > 0 && reaches {
		visit(lifeEvent{kind: pluginAsks, helps: true})
	}
	if p.hears {
		m.listeningEvents(w, reaches, visit)
	}
}

// isLaunching: the engine's answer to the start is not there. It takes less time than a job.
func (w *world) isLaunching() bool {
	return slices.ContainsFunc(w.tasks, func(t task) bool { return t.kind == launchTask })
}

func (m lifeModel) askingEvents(w *world, reaches bool, visit func(lifeEvent)) {
	i := w.gate.of(getRequest)
	switch {
	case i < 0 && reaches:
		visit(lifeEvent{kind: pluginAsks, helps: true})
	case i >= 0 && w.gate.requests[i].answer != noAnswer:
		visit(lifeEvent{kind: pluginHearsAnswer, helps: true})
	}
	if i < 0 && w.plugin.denied {
		visit(lifeEvent{kind: pluginGivesUp, helps: true})
	}
}

func (m lifeModel) reportingEvents(w *world, reaches bool, visit func(lifeEvent)) {
	p := w.plugin
	fileFirst := m.sdk == msg.PythonSDK && p.write
	i := w.gate.of(callbackRequest)
	if p.write {
		visit(lifeEvent{kind: pluginWritesFile, helps: true})
	}
	if p.call == callDue && !fileFirst {
		visit(lifeEvent{kind: pluginCalls, helps: true})
	}
	if p.call == callUnderWay {
		switch {
		case i < 0 || w.gate.requests[i].answer != noAnswer:
			visit(lifeEvent{kind: pluginCallEnds, helps: true})
		case w.gate.requests[i].sending:
			visit(lifeEvent{kind: pluginSendsBody, helps: true})
		}
	}
}

func (m lifeModel) listeningEvents(w *world, reaches bool, visit func(lifeEvent)) {
	list, watch := w.gate.of(listRequest), w.newestWatch()
	switch {
	case watch >= 0 && w.gate.requests[watch].held > 0:
		visit(lifeEvent{kind: pluginHearsEvent, helps: true})
	case watch >= 0:
	case list >= 0 && w.gate.requests[list].answer != noAnswer:
		visit(lifeEvent{kind: pluginHearsList, helps: true})
	case list < 0 && reaches && m.sdk == msg.PythonSDK:
		visit(lifeEvent{kind: pluginWatches, helps: true})
	case list < 0 && reaches:
		visit(lifeEvent{kind: pluginLists, helps: true})
	}
}

// newestWatch is the watch that the plugin listens to. Python's older ones stay open and are not read.
func (w *world) newestWatch() int {
	i := w.gate.of(watchRequest)
	if i >= 0 && w.gate.requests[i].job != w.plugin.last {
		return -1
	}
	return i
}

// act carries out what the plugin does.
func (m lifeModel) act(w *world, kind lifeEventKind) error {
	p, g := &w.plugin, &w.gate
	switch kind {
	case pluginAsks:
		if p.phase == listening {
			p.asks--
			p.hears = m.sdk != msg.PythonSDK
		}
		p.phase, p.denied = asking, false
		g.park(request{kind: getRequest})
	case pluginHearsAnswer:
		return m.hearAnswer(w)
	case pluginGivesUp:
		m.giveUp(p)
	case pluginFinishes:
		p.phase, p.write, p.call = reporting, true, callDue
	case pluginWritesFile:
		m.writeFile(w)
		m.reported(w)
	case pluginCalls:
		m.call(w)
		m.reported(w)
	case pluginSendsBody:
		r := &g.requests[g.of(callbackRequest)]
		r.sending = false
		g.tell(gateEvent{kind: requestCame, request: r.id})
	case pluginCallEnds:
		if i := g.of(callbackRequest); i >= 0 {
			g.drop(i)
		}
		p.call = noCall
		m.reported(w)
	case pluginLists:
		g.park(request{kind: listRequest, version: p.seen})
	case pluginHearsList:
		i := g.of(listRequest)
		p.hear(g.requests[i].shown, false)
		g.drop(i)
		if g.up && g.admitted {
			g.park(request{kind: watchRequest, version: p.seen, job: p.last})
		}
	case pluginWatches:
		g.park(request{kind: watchRequest, version: p.seen, job: p.last, nested: true, fresh: p.seen == 0})
	case pluginHearsEvent:
		r := &g.requests[w.newestWatch()]
		first := r.events[0]
		copy(r.events[:], r.events[1:])
		r.events[len(r.events)-1] = 0
		r.held--
		p.hear(first%baseline, first >= baseline)
	}
	return nil
}

// hear is an event: a key that the plugin has not seen makes it ask.
func (p *pluginFacts) hear(version uint64, isBaseline bool) {
	if version != p.seen && p.seen != 0 && !isBaseline {
		p.asks = min(p.asks+1, 2)
	}
	p.seen = version
}

func (m lifeModel) hearAnswer(w *world) error {
	p, g := &w.plugin, &w.gate
	i := g.of(getRequest)
	r := g.requests[i]
	g.drop(i)
	switch r.answer {
	case jobAnswer:
		j := w.job(r.job)
		j.started++
		p.phase, p.job, p.bogus = working, r.job, false
		if !r.old && g.current == r.job {
			g.delivered = r.job
			g.tell(gateEvent{kind: jobDelivered, job: r.job})
		}
		switch {
		case j.where == elsewhere || j.started > 1:
			return errTwice
		}
	case urlAnswer: // it has no input
		m.giveUp(p)
	}
	return nil
}

// giveUp is what an SDK does when it gets no job: it reports that as the result of its last one. Before the first it leaves plain
// text in its file, and ends.
func (m lifeModel) giveUp(p *pluginFacts) {
	p.phase, p.bogus, p.write, p.call, p.denied = reporting, true, true, callDue, false
	p.job = p.last
	if p.last == 0 {
		p.call = noCall
	}
}

func (m lifeModel) body(p *pluginFacts) bodyKind {
	switch {
	case p.bogus && p.last == 0:
		return plainBody
	case p.bogus:
		return bogusBody
	}
	return genuineBody
}

func (m lifeModel) writeFile(w *world) {
	w.plugin.write = false
	if w.gate.admitted || !w.gate.up {
		w.gate.file = fileFacts{body: m.body(&w.plugin), job: w.plugin.job}
	}
	if w.gate.up && w.gate.urls[0] != 0 {
		w.gate.tell(gateEvent{kind: fileChanged})
	}
}

// call posts the result to the URL of its job. A URL that leads nowhere and a runner that is away are the same to an SDK.
func (m lifeModel) call(w *world) {
	p, g := &w.plugin, &w.gate
	p.call = callUnderWay
	open := p.job == g.urls[0] || p.job == g.urls[1]
	if g.up && open {
		g.park(request{kind: callbackRequest, sending: true, job: p.job, current: g.current, body: m.body(p), newest: p.job == g.urls[0]})
	}
}

// reported goes on when the result is delivered, as far as that was possible.
func (m lifeModel) reported(w *world) {
	p := &w.plugin
	if p.phase != reporting || p.write || p.call != noCall {
		return
	}
	last := p.job
	switch {
	case p.bogus && (m.sdk == msg.PythonSDK || last == 0), m.mode != msg.Daemon:
		w.boxEnds()
		return
	case m.sdk == msg.PythonSDK: // it opens one more watch
		p.seen, p.asks = 0, 0
	}
	p.phase, p.last, p.job, p.bogus, p.hears = listening, last, 0, false, true
}
