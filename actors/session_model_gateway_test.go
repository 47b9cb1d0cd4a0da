package actors

import (
	"errors"
	"slices"

	msg "runnerd/messages"
)

// The gateway of the model: parked requests, events that were not reported yet, and the result file.

type gatewayModel struct {
	up        bool
	admitted  bool
	listening bool          // an actor receives its events
	last      msg.RequestID // of the newest request
	requests  []request
	queue     []gatewayEvent
	current   int8    // the job that the plugin received last
	delivered int8    // the job whose input was acknowledged; 0: none
	urls      [2]int8 // the jobs whose callback URLs are open: the newest and the previous one
	file      fileFacts
}

// request is one of the plugin's requests. It stays until both sides are done with it.
type request struct {
	id         msg.RequestID
	kind       requestKind
	version    uint64 // that its client has seen
	fresh      bool
	nested     bool
	job        int8 // of a callback, and of an answer
	current    int8 // the gateway's current job when a callback began
	body       bodyKind
	newest     bool // its job was the newest when it began, so its body is decrypted
	sending    bool // its body has not arrived, and it is not parked yet
	answer     answerKind
	lost       bool      // its client is gone, and the gateway has not noticed
	old        bool      // its gateway was killed; its answer may still arrive
	shown      uint64    // the resourceVersion in the answer of a LIST
	events     [3]uint64 // of a watch, oldest first: resourceVersion, plus baseline for an event that shows the present state
	eventCount int8
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

// bodyKind is the content of a callback or a result file. Except for plainBody, it is encrypted with the key of a job.
type bodyKind int8

const (
	noBody bodyKind = iota
	genuineBody
	bogusBody // an SDK's report that it could not fetch the next job
	plainBody // the same report before the first job
)

// fileFacts is the result file.
type fileFacts struct {
	body bodyKind
	job  int8 // the job with whose key it is encrypted
	old  bool // it existed before the newest hand-out
}

// gatewayEvent is an event that no actor has received yet.
type gatewayEvent struct {
	kind    gatewayEventKind
	request msg.RequestID
	job     int8
}

type gatewayEventKind int8

const (
	requestCame gatewayEventKind = iota
	requestGone
	jobDelivered
	fileChanged
)

const baseline = 1 << 32 // marks an event that shows the present state

func (g *gatewayModel) enqueue(e gatewayEvent) {
	if e.kind == fileChanged && slices.Contains(g.queue, e) {
		return
	}
	g.queue = append(g.queue, e)
}

// find returns the index of a request, or -1 if there is none.
func (g *gatewayModel) find(id msg.RequestID) int {
	return slices.IndexFunc(g.requests, func(r request) bool { return r.id == id })
}

// newest returns the index of the plugin's newest live request of a kind, or -1 if there is none.
func (g *gatewayModel) newest(kind requestKind) int {
	for i := len(g.requests) - 1; i >= 0; i-- {
		if r := g.requests[i]; r.kind == kind && !r.lost {
			return i
		}
	}
	return -1
}

func (g *gatewayModel) drop(i int) { g.requests = slices.Delete(g.requests, i, i+1) }

func (g *gatewayModel) park(r request) {
	g.last++
	r.id = g.last
	g.requests = append(g.requests, r)
	if !r.sending {
		g.enqueue(gatewayEvent{kind: requestCame, request: r.id})
	}
}

// clientGone is called when the gateway notices that a request's client is gone.
func (g *gatewayModel) clientGone(i int) {
	id := g.requests[i].id
	waiting := g.requests[i].answer == noAnswer && !g.requests[i].sending
	g.drop(i)
	if !waiting {
		return
	}
	if at := slices.Index(g.queue, gatewayEvent{kind: requestCame, request: id}); at >= 0 {
		g.queue = slices.Delete(g.queue, at, at+1)
	} else {
		g.enqueue(gatewayEvent{kind: requestGone, request: id})
	}
}

// lose drops a request on the client's side. For a LIST or a watch the gateway notices at once.
func (g *gatewayModel) lose(i int) {
	r := &g.requests[i]
	switch {
	case r.old || r.answer != noAnswer || r.sending:
		g.drop(i)
	case r.kind == watchRequest || r.kind == listRequest:
		g.clientGone(i)
	default:
		r.lost = true
	}
}

// loseAll drops all requests because the plugin's process ends.
func (g *gatewayModel) loseAll() {
	for i := len(g.requests) - 1; i >= 0; i-- {
		if !g.requests[i].lost {
			g.lose(i)
		}
	}
}

// replay queues what a new listener receives first.
func (g *gatewayModel) replay() {
	g.listening, g.queue = true, nil
	if g.delivered != 0 {
		g.enqueue(gatewayEvent{kind: jobDelivered, job: g.delivered})
	}
	for _, r := range g.requests {
		if !r.old && !r.sending && r.answer == noAnswer {
			g.enqueue(gatewayEvent{kind: requestCame, request: r.id})
		}
	}
}

// crash ends the gateway's process: parked requests are lost, and answers that were sent may still arrive.
func (g *gatewayModel) crash() {
	answered := g.requests[:0]
	for _, r := range g.requests {
		if !r.lost && r.answer != noAnswer {
			r.old = true
			answered = append(answered, r)
		}
	}
	*g = gatewayModel{last: g.last, requests: answered, file: g.file}
}

var (
	errWrongAnswer  = errors.New("answers: a request gets an answer for another kind of request")
	errNotJournaled = errors.New("journal first: a job is sent before its hand-out is in the spool")
	errGivenTwice   = errors.New("once: a job that a process has started is sent to a plugin again")
	errUnstored     = errors.New("callback: a result is answered with 204 but is not in the spool")
	errEvent        = errors.New("rule 2: an event is sent while a job runs or a GET waits")
	errNotWatch     = errors.New("rule 1: an event is sent to a request that is not a watch")
)

// answer implements the gateway's Answer.
func (w *modelState) answer(id msg.RequestID, a msg.Answer) error {
	i := w.gateway.find(id)
	if i < 0 || w.gateway.requests[i].old || w.gateway.requests[i].answer != noAnswer {
		return nil
	}
	r := &w.gateway.requests[i]
	var err error
	switch a := a.(type) {
	case msg.GiveJob:
		err = w.checkGive(*r, jobNumber(a.Execution))
		r.answer, r.job, w.gateway.current = jobAnswer, jobNumber(a.Execution), jobNumber(a.Execution)
	case msg.GiveURL:
		err = mustBe(*r, getRequest)
		r.answer, r.job = urlAnswer, jobNumber(a.Execution)
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
		w.gateway.drop(i)
	}
	return err
}

func mustBe(r request, kind requestKind) error {
	if r.kind != kind {
		return errWrongAnswer
	}
	return nil
}

func (w *modelState) checkGive(r request, job int8) error {
	j := w.job(job)
	switch {
	case r.kind != getRequest:
		return errWrongAnswer
	case r.lost: // it arrives nowhere
	case j.stage < msg.HandedOut || !j.ours:
		return errNotJournaled
	case j.started > 0:
		return errGivenTwice
	}
	return nil
}

func (w *modelState) checkAccept(r request) error {
	j := w.jobs[r.job-1]
	switch {
	case r.kind != callbackRequest:
		return errWrongAnswer
	case r.body == genuineBody && j.stage < msg.Ended:
		return errUnstored
	}
	return nil
}

// notify implements the gateway's Notify.
func (w *modelState) notify(id msg.RequestID, e msg.WatchEvent) (err error) {
	if e.Kind == msg.WatchModified {
		err = w.checkEvent()
	}
	i := w.gateway.find(id)
	if i < 0 || w.gateway.requests[i].old {
		return err
	}
	r := &w.gateway.requests[i]
	if r.kind != watchRequest {
		return errNotWatch
	}
	if int(r.eventCount) < len(r.events) {
		r.events[r.eventCount] = resourceVersion(e.Version)
		if e.Kind == msg.WatchAdded {
			r.events[r.eventCount] += baseline
		}
		r.eventCount++
	}
	return err
}

// checkEvent checks rule 2 against the state of the plugin, not that of the session.
func (w *modelState) checkEvent() error {
	if w.plugin.state == working && w.jobs[w.plugin.job-1].stage == msg.HandedOut {
		return errEvent
	}
	for _, r := range w.gateway.requests {
		reported := !slices.Contains(w.gateway.queue, gatewayEvent{kind: requestCame, request: r.id})
		if r.kind == getRequest && !r.lost && !r.old && reported && (r.answer == noAnswer && !w.session.job.abandoned || r.answer == jobAnswer) {
			return errEvent
		}
	}
	return nil
}

// message returns the message to the session for an event.
func (w *modelState) message(e gatewayEvent) msg.ToExecutor {
	switch e.kind {
	case requestGone:
		return msg.RequestEnded{Request: e.request}
	case jobDelivered:
		return msg.Delivered{Execution: executions[e.job]}
	case fileChanged:
		return msg.ResultFileChanged{}
	}
	r := w.gateway.requests[w.gateway.find(e.request)]
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
