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

// endpoint is where one executor's plugin arrives: its requests that wait, and what has happened and was told to nobody.
type endpoint struct {
	// fixed
	g     *Gateway
	id    msg.ExecutorID
	mode  msg.Mode
	token string
	log   zerolog.Logger

	requests  chan struct{} // permits for requests that are being answered
	callbacks chan struct{} // permits for callbacks and fetches that are being answered
	bodies    chan struct{} // the permit for a callback's body in memory
	ended     chan struct{} // closed with the endpoint

	mu         sync.Mutex // guards what follows
	last       msg.RequestID
	waiting    map[msg.RequestID]*waiting
	watches    map[msg.RequestID]*watch
	current    msg.ExecutionID        // the job that the plugin was given last
	delivered  msg.ExecutionID        // the newest whose input was acknowledged
	deliveries map[*delivery]struct{} // of which it is not known whether they arrived
	sdk        msg.SDK
	closed     bool // no request is taken any more, but callbacks
	dismissed  bool // nor those
	queue      queue
	fileRests  time.Time // the result file is not worth a look before
	fileRead   bool      // it is being read
	fileDirty  bool      // and has changed since
	fileTimer  *time.Timer
}

// waiting is a request that waits for its answer.
type waiting struct {
	event  msg.SessionEvent
	conn   *connection
	answer chan response
}

// Bounds of one executor. Python nests a watch per job, and is retired after 200.
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

// await parks a request until it is answered, or until nobody waits for the answer. false: the client has gone.
func (e *endpoint) await(ctx context.Context, event func(msg.RequestID) msg.SessionEvent) (response, bool) {
	id, w, busy := e.park(connectionOf(ctx), event)
	if w == nil {
		return busy, true
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
		e.queue.end(id)
		return response{}, false
	}
	return <-w.answer, true // the answer crossed the loss
}

func (e *endpoint) park(conn *connection, event func(msg.RequestID) msg.SessionEvent) (msg.RequestID, *waiting, response) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := &waiting{event: event(e.last + 1), conn: conn, answer: make(chan response, 1)}
	if e.dismissed {
		return 0, nil, refusal(404, "the executor was dismissed")
	}
	if _, callback := w.event.(msg.CallbackReceived); e.closed && !callback {
		return 0, nil, e.g.comeAgain("the runner is being restarted")
	}
	e.last++
	e.waiting[e.last] = w
	e.queue.add(w.event)
	return e.last, w, response{}
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

// supersedeGETs lets GETs that wait while another one gets a job come again: they may be another process's, and when they do it is known
// whether the first has the job. mu is held.
func (e *endpoint) supersedeGETs() {
	for id, w := range e.waiting {
		if _, get := w.event.(msg.SecretRequested); get {
			w.answer <- e.respond(msg.Superseded{})
			delete(e.waiting, id)
			e.queue.end(id)
		}
	}
}

// close ends everything that goes on here; requests that wait get r. Not dismissed, it goes on with callbacks: a planned stop takes the
// results that are on their way.
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
		e.queue.end(id)
	}
	for id, w := range e.watches {
		w.end()
		delete(e.watches, id)
		e.queue.end(id)
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

// isDelivered notes that the executor's machine has acknowledged a job.
func (e *endpoint) isDelivered(job msg.ExecutionID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.current == job {
		e.delivered = job
		e.queue.add(msg.Delivered{Execution: job})
	}
}

func (e *endpoint) out() string { return filepath.Join(e.g.Store.ExecutorDir(e.id), outDir) }

// queue is what has happened and was told to nobody. It does not grow with time: a request that comes and goes leaves nothing.
type queue struct {
	events  []msg.SessionEvent
	changed chan struct{}
	stop    context.CancelCauseFunc // of whoever is being told
}

func newQueue() queue { return queue{changed: make(chan struct{}, 1)} }

func (q *queue) add(event msg.SessionEvent) {
	q.events = append(q.events, event)
	q.wake()
}

// end says that a request is over, unless nobody has heard of it yet.
func (q *queue) end(request msg.RequestID) {
	if i := slices.IndexFunc(q.events, func(e msg.SessionEvent) bool { return e.OpenedRequest() == request }); i >= 0 {
		q.events = slices.Delete(q.events, i, i+1)
		return
	}
	q.add(msg.RequestEnded{Request: request})
}

func (q *queue) wake() {
	select {
	case q.changed <- struct{}{}:
	default:
	}
}

var errNewerListener = errors.New("a newer listener took over")

// tell hands on events until ctx ends.
func (e *endpoint) tell(ctx context.Context, emit func(msg.SessionEvent) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	e.tellAfresh(stop)
	for {
		for event, ok := e.take(ctx); ok; event, ok = e.take(ctx) {
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

func (e *endpoint) take(ctx context.Context) (msg.SessionEvent, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ctx.Err() != nil || len(e.queue.events) == 0 {
		return nil, false
	}
	event := e.queue.events[0]
	e.queue.events = slices.Delete(e.queue.events, 0, 1)
	return event, true
}

// tellAfresh begins with what is so now: the listener before may have been told, and have crashed on it.
func (e *endpoint) tellAfresh(stop context.CancelCauseFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.queue.stop != nil {
		e.queue.stop(errNewerListener)
	}
	e.queue.stop = stop
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
	e.queue.wake()
}
