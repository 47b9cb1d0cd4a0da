package gateway

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	msg "runnerd/messages"
)

// endpoint is the HTTP endpoint of one executor. It holds the pending requests and the queue of events for the session.
type endpoint struct {
	// immutable
	g     *Gateway
	id    msg.ExecutorID
	mode  msg.Mode
	token string
	log   zerolog.Logger

	requests  chan struct{} // permits for requests to the Secrets API
	callbacks chan struct{} // permits for callbacks and fetches of inputs
	bodies    chan struct{} // the one permit to hold a callback's body in memory
	ended     chan struct{} // closed when the endpoint closes

	mu           sync.Mutex // guards what follows
	lastRequest  msg.RequestID
	waiting      map[msg.RequestID]*waiting
	watches      map[msg.RequestID]*watch
	current      msg.ExecutionID        // the job that the plugin got last
	delivered    msg.ExecutionID        // the newest job whose input was acknowledged
	deliveries   map[*delivery]struct{} // answers that may not have arrived yet
	sdk          msg.SDK
	closed       bool // only callbacks are accepted
	dismissed    bool // nothing is accepted
	queue        queue
	nextFileRead time.Time // no change of the result file is reported before this time
	readingFile  bool
	fileDirty    bool // the result file changed during the read
	fileTimer    *time.Timer
}

// waiting is a request that waits for the session's answer.
type waiting struct {
	event  msg.SessionEvent
	conn   *connection
	answer chan response
}

// Limits of one executor. The Python SDK opens another watch for every job, and its executor is replaced after 200 jobs.
const (
	maxWatches   = 256
	maxRequests  = maxWatches + 16
	maxCallbacks = 16
)

func newEndpoint(g *Gateway, rec msg.ExecutorRecord) *endpoint {
	return &endpoint{
		g: g, id: rec.ID, mode: rec.Mode, token: g.token(rec.ID),
		log:      g.Log.With().Str("executor", string(rec.ID)).Logger(),
		requests: make(chan struct{}, maxRequests), callbacks: make(chan struct{}, maxCallbacks), bodies: make(chan struct{}, 1),
		ended:   make(chan struct{}),
		waiting: map[msg.RequestID]*waiting{}, watches: map[msg.RequestID]*watch{}, deliveries: map[*delivery]struct{}{},
		current: rec.Job, queue: newQueue(),
	}
}

// await waits until the session answers a request. It returns false if the client disconnects first.
func (e *endpoint) await(ctx context.Context, event func(msg.RequestID) msg.SessionEvent) (response, bool) {
	id, w, refusal := e.park(connectionOf(ctx), event)
	if w == nil {
		return refusal, true
	}
	select {
	case r := <-w.answer:
		return r, true
	case <-ctx.Done():
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.waiting[id] == w {
		delete(e.waiting, id)
		e.queue.endRequest(id)
		return response{}, false
	}
	return <-w.answer, true // the answer came at the same time
}

// park registers a waiting request and queues its event. If the endpoint is closed, it returns no request, but the response that
// refuses it.
func (e *endpoint) park(conn *connection, event func(msg.RequestID) msg.SessionEvent) (msg.RequestID, *waiting, response) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := &waiting{event: event(e.lastRequest + 1), conn: conn, answer: make(chan response, 1)}
	if e.dismissed {
		return 0, nil, statusError(404, "the executor was dismissed")
	}
	if _, callback := w.event.(msg.CallbackReceived); e.closed && !callback {
		return 0, nil, e.g.unavailable()
	}
	e.lastRequest++
	e.waiting[e.lastRequest] = w
	e.queue.add(w.event)
	return e.lastRequest, w, response{}
}

func (e *endpoint) isWaiting(request msg.RequestID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.waiting[request] != nil
}

func (e *endpoint) answer(request msg.RequestID, a msg.Answer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := e.waiting[request]
	if w == nil {
		return
	}
	delete(e.waiting, request)
	r := e.respond(a)
	if job, ok := a.(msg.GiveJob); ok {
		e.current = job.Execution
		e.supersedeGETs()
		r.delivery = &delivery{w.conn, math.MaxInt64, job.Execution}
		e.deliveries[r.delivery] = struct{}{}
	}
	w.answer <- r
}

// supersedeGETs makes the clients of all pending GETs retry, because another GET gets a job. They may come from another process of
// the plugin; when they retry, it is known whether the first process has the job. The caller holds mu.
func (e *endpoint) supersedeGETs() {
	for id, w := range e.waiting {
		if _, get := w.event.(msg.SecretRequested); get {
			w.answer <- e.respond(msg.Superseded{})
			delete(e.waiting, id)
			e.queue.endRequest(id)
		}
	}
}

// close answers pending requests with r and ends all watches. Unless the executor is dismissed, callbacks continue, so that a planned stop
// does not lose results in flight.
func (e *endpoint) close(r response, dismissed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		close(e.ended)
	}
	e.closed, e.dismissed = true, e.dismissed || dismissed
	for id, w := range e.waiting {
		if _, callback := w.event.(msg.CallbackReceived); callback && !dismissed {
			continue
		}
		w.answer <- r
		delete(e.waiting, id)
		e.queue.endRequest(id)
	}
	for id, w := range e.watches {
		w.end()
		delete(e.watches, id)
		e.queue.endRequest(id)
	}
	if e.fileTimer != nil {
		e.fileTimer.Stop()
	}
}

func (e *endpoint) currentJob() msg.ExecutionID {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.current
}

func (e *endpoint) detectSDK(sdk msg.SDK) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sdk == "" {
		e.sdk = sdk
		e.queue.add(msg.SDKDetected{SDK: sdk})
	}
}

// markDelivered queues Delivered if the job is the current one.
func (e *endpoint) markDelivered(job msg.ExecutionID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current == job {
		e.delivered = job
		e.queue.add(msg.Delivered{Execution: job})
	}
}

func (e *endpoint) resultDir() string { return filepath.Join(e.g.Store.ExecutorDir(e.id), outDir) }

// queue holds the events that no session has received. Requests cannot fill it: one that ends before its event was
// received leaves nothing.
type queue struct {
	events       []msg.SessionEvent
	changed      chan struct{}
	cancelReader context.CancelCauseFunc // ends the present call of deliverEvents
}

func newQueue() queue { return queue{changed: make(chan struct{}, 1)} }

func (q *queue) add(event msg.SessionEvent) {
	q.events = append(q.events, event)
	q.signal()
}

// endRequest queues RequestEnded, or removes the request's event if no session has received it.
func (q *queue) endRequest(request msg.RequestID) {
	if i := slices.IndexFunc(q.events, func(e msg.SessionEvent) bool { return e.OpenedRequest() == request }); i >= 0 {
		q.events = slices.Delete(q.events, i, i+1)
		return
	}
	q.add(msg.RequestEnded{Request: request})
}

func (q *queue) signal() {
	select {
	case q.changed <- struct{}{}:
	default:
	}
}

var errNewerCall = errors.New("replaced by a newer call of Requests")

// deliverEvents calls emit for every event until ctx ends.
func (e *endpoint) deliverEvents(ctx context.Context, emit func(msg.SessionEvent) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	e.resetQueue(stop)
	for {
		for event, ok := e.nextEvent(ctx); ok; event, ok = e.nextEvent(ctx) {
			if err := emit(event); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-e.queue.changed:
		}
	}
}

func (e *endpoint) nextEvent(ctx context.Context) (msg.SessionEvent, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ctx.Err() != nil || len(e.queue.events) == 0 {
		return nil, false
	}
	event := e.queue.events[0]
	e.queue.events = slices.Delete(e.queue.events, 0, 1)
	return event, true
}

// resetQueue replaces the queue by the present state and ends the earlier call of deliverEvents, whose session may have crashed after it
// received some events.
func (e *endpoint) resetQueue(stop context.CancelCauseFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.queue.cancelReader != nil {
		e.queue.cancelReader(errNewerCall)
	}
	e.queue.cancelReader = stop
	e.queue.events = nil
	if e.sdk != "" {
		e.queue.events = append(e.queue.events, msg.SDKDetected{SDK: e.sdk})
	}
	if e.delivered != "" {
		e.queue.events = append(e.queue.events, msg.Delivered{Execution: e.delivered})
	}
	var open []msg.SessionEvent
	for _, w := range e.waiting {
		open = append(open, w.event)
	}
	for _, w := range e.watches {
		open = append(open, w.event)
	}
	slices.SortFunc(open, func(a, b msg.SessionEvent) int { return int(a.OpenedRequest()) - int(b.OpenedRequest()) })
	e.queue.events = append(e.queue.events, open...)
	e.queue.signal()
}
