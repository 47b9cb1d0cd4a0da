package actors

import (
	"errors"
	"slices"

	msg "runnerd/messages"
)

// The gateway of the model: requests that are parked, what was not told yet, and the result file.

type gate struct {
	up        bool
	admitted  bool
	listening bool // an actor is told
	last      msg.RequestID
	requests  []request
	queue     []gateEvent
	current   int8 // the job that the plugin was given last
	delivered int8
	urls      [2]int8 // the jobs whose callback URLs are open: the newest, and the one before
	file      fileFacts
}

// request is one of the plugin's. It stays until both sides have done with it.
type request struct {
	id      msg.RequestID
	kind    requestKind
	version uint64 // that its client has seen
	fresh   bool
	nested  bool
	job     int8 // of a callback, and of an answer
	current int8
	body    bodyKind
	newest  bool // its body is kept: the job was the newest when it began
	sending bool // its body is still on its way, and it is not parked yet
	answer  answerKind
	lost    bool // its client has gone, and the gateway has not heard of that
	old     bool // its gateway is no more; its answer may still arrive
	shown   uint64
	events  [3]uint64 // of a watch, oldest first: resourceVersion, negative for a baseline
	held    int8
}

type requestKind int8

const (
	getRequest requestKind = iota
	listRequest
	watchRequest
	callbackRequest
)

type answerKind int8

const (
	noAnswer answerKind = iota
	jobAnswer
	urlAnswer
	listAnswer
	acceptAnswer
	supersededAnswer
)

// bodyKind is what a callback or a result file holds. It is encrypted with the key of a job, but for plain.
type bodyKind int8

const (
	noBody bodyKind = iota
	genuineBody
	bogusBody // an SDK's report that it could not fetch the next job
	plainBody // the same before the first job
)

type fileFacts struct {
	body bodyKind
	job  int8 // whose key it is encrypted with
	old  bool // it was there before the newest hand-out
}

// gateEvent is something that no actor was told yet.
type gateEvent struct {
	kind    gateEventKind
	request msg.RequestID
	job     int8
}

type gateEventKind int8

const (
	requestCame gateEventKind = iota
	requestGone
	jobDelivered
	fileChanged
)

const baseline = 1 << 32 // marks an event that shows what there is

func (g *gate) tell(e gateEvent) {
	if e.kind == fileChanged && slices.Contains(g.queue, e) {
		return
	}
	g.queue = append(g.queue, e)
}

// find returns where the request is; -1: nowhere.
func (g *gate) find(id msg.RequestID) int {
	return slices.IndexFunc(g.requests, func(r request) bool { return r.id == id })
}

// of returns where the plugin's own request of a kind is.
func (g *gate) of(kind requestKind) int {
	for i := len(g.requests) - 1; i >= 0; i-- {
		if r := g.requests[i]; r.kind == kind && !r.lost {
			return i
		}
	}
	return -1
}

func (g *gate) drop(i int) { g.requests = slices.Delete(g.requests, i, i+1) }

func (g *gate) park(r request) {
	g.last++
	r.id = g.last
	g.requests = append(g.requests, r)
	if !r.sending {
		g.tell(gateEvent{kind: requestCame, request: r.id})
	}
}

// ended: the gateway hears that a request's client has gone.
func (g *gate) ended(i int) {
	id := g.requests[i].id
	waiting := g.requests[i].answer == noAnswer && !g.requests[i].sending
	g.drop(i)
	if !waiting {
		return
	}
	if at := slices.Index(g.queue, gateEvent{kind: requestCame, request: id}); at >= 0 {
		g.queue = slices.Delete(g.queue, at, at+1)
	} else {
		g.tell(gateEvent{kind: requestGone, request: id})
	}
}

// lose is the loss of a request by its client. That of a watch is noticed at once.
func (g *gate) lose(i int) {
	r := &g.requests[i]
	switch {
	case r.old || r.answer != noAnswer || r.sending:
		g.drop(i)
	case r.kind == watchRequest || r.kind == listRequest:
		g.ended(i)
	default:
		r.lost = true
	}
}

// loseAll is the end of the plugin's process.
func (g *gate) loseAll() {
	for i := len(g.requests) - 1; i >= 0; i-- {
		if !g.requests[i].lost {
			g.lose(i)
		}
	}
}

// afresh is what a new listener is told first.
func (g *gate) afresh() {
	g.listening, g.queue = true, nil
	if g.delivered != 0 {
		g.tell(gateEvent{kind: jobDelivered, job: g.delivered})
	}
	for _, r := range g.requests {
		if !r.old && !r.sending && r.answer == noAnswer {
			g.tell(gateEvent{kind: requestCame, request: r.id})
		}
	}
}

// dies is the end of the gateway's process: what is parked is lost, and what was answered may still arrive.
func (g *gate) dies() {
	kept := g.requests[:0]
	for _, r := range g.requests {
		if !r.lost && r.answer != noAnswer {
			r.old = true
			kept = append(kept, r)
		}
	}
	*g = gate{last: g.last, requests: kept, file: g.file}
}

var (
	errWrongAnswer = errors.New("answers: a request gets an answer that is not for its kind")
	errNotJournal  = errors.New("journal first: a job is given before its hand-out is in the spool")
	errGivenTwice  = errors.New("once: a job that a process has begun is given to a plugin again")
	errUnstored    = errors.New("callback: a result is answered 204 and is not in the spool")
	errEvent       = errors.New("rule 2: an event is sent while a job runs or a GET waits")
	errCarriesJob  = errors.New("rule 1: a watch gets something that is no event")
)

// answer is the gateway's Answer.
func (w *world) answer(id msg.RequestID, a msg.Answer) error {
	i := w.gate.find(id)
	if i < 0 || w.gate.requests[i].old || w.gate.requests[i].answer != noAnswer {
		return nil
	}
	r := &w.gate.requests[i]
	var err error
	switch a := a.(type) {
	case msg.GiveJob:
		err = w.checkGive(*r, jobNo(a.Execution))
		r.answer, r.job, w.gate.current = jobAnswer, jobNo(a.Execution), jobNo(a.Execution)
	case msg.GiveURL:
		err = mustBe(*r, getRequest)
		r.answer, r.job = urlAnswer, jobNo(a.Execution)
	case msg.Superseded:
		err = mustBe(*r, getRequest)
		r.answer = supersededAnswer
	case msg.GiveList:
		if err = mustBe(*r, listRequest); err == nil && r.version != 0 && resourceVersion(a.Version) > r.version {
			err = w.checkEvent()
		}
		r.answer, r.shown = listAnswer, resourceVersion(a.Version)
	case msg.Accept:
		err = w.checkAccept(*r)
		r.answer = acceptAnswer
	}
	if r.lost {
		w.gate.drop(i)
	}
	return err
}

func mustBe(r request, kind requestKind) error {
	if r.kind != kind {
		return errWrongAnswer
	}
	return nil
}

func (w *world) checkGive(r request, job int8) error {
	j := w.job(job)
	switch {
	case r.kind != getRequest:
		return errWrongAnswer
	case r.lost: // nobody gets it
	case j.stage < msg.HandedOut || !j.ours:
		return errNotJournal
	case j.started > 0:
		return errGivenTwice
	}
	return nil
}

func (w *world) checkAccept(r request) error {
	j := w.jobs[r.job-1]
	switch {
	case r.kind != callbackRequest:
		return errWrongAnswer
	case r.body == genuineBody && j.stage < msg.Ended:
		return errUnstored
	}
	return nil
}

// notify is the gateway's Notify.
func (w *world) notify(id msg.RequestID, e msg.WatchEvent) (err error) {
	if e.Kind == msg.WatchModified {
		err = w.checkEvent()
	}
	i := w.gate.find(id)
	if i < 0 || w.gate.requests[i].old {
		return err
	}
	r := &w.gate.requests[i]
	if r.kind != watchRequest {
		return errCarriesJob
	}
	if int(r.held) < len(r.events) {
		r.events[r.held] = resourceVersion(e.Version)
		if e.Kind == msg.WatchAdded {
			r.events[r.held] += baseline
		}
		r.held++
	}
	return err
}

// checkEvent is rule 2, by what is so at the plugin and not by what the session thinks.
func (w *world) checkEvent() error {
	if w.plugin.phase == working && w.jobs[w.plugin.job-1].stage == msg.HandedOut {
		return errEvent
	}
	for _, r := range w.gate.requests {
		told := !slices.Contains(w.gate.queue, gateEvent{kind: requestCame, request: r.id})
		if r.kind == getRequest && !r.lost && !r.old && told && (r.answer == noAnswer && !w.session.job.abandoned || r.answer == jobAnswer) {
			return errEvent
		}
	}
	return nil
}

// message is what the session hears of an event.
func (w *world) message(e gateEvent) msg.ToExecutor {
	switch e.kind {
	case requestGone:
		return msg.RequestEnded{Request: e.request}
	case jobDelivered:
		return msg.Delivered{Execution: executions[e.job]}
	case fileChanged:
		return msg.ResultFileChanged{}
	}
	r := w.gate.requests[w.gate.find(e.request)]
	switch r.kind {
	case listRequest:
		return msg.SecretListed{Request: r.id, Version: r.version}
	case watchRequest:
		return msg.WatchOpened{Request: r.id, Nested: r.nested, Fresh: r.fresh, Version: r.version}
	case callbackRequest:
		m := msg.CallbackReceived{Request: r.id, Execution: executions[r.job], Current: executions[r.current]}
		if r.newest {
			m.Verdict, m.Result.Via = msg.IsResult, msg.ViaCallback
			if r.body == bogusBody {
				m.Result.ExitCode = 1
			}
		}
		return m
	}
	return msg.SecretRequested{Request: r.id}
}
