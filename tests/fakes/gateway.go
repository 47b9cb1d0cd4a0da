package fakes

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"runnerd/actors"
	"runnerd/infra/contract"
	"runnerd/infra/driver/fake"
	"runnerd/infra/seal"
	msg "runnerd/messages"
	"runnerd/spool"
)

// Operations of the gateway, for Script.
const (
	Admit    = "admit"
	HandOut  = "hand out" // the gateway's part: opening the URLs
	ReadFile = "read result"
)

// Gateway is a gateway without a network; the plugins of a PluginHost call it. Like the real gateway it holds requests and decides nothing.
type Gateway struct {
	*fake.Faults
	host *PluginHost
	keys *seal.Identity
	jobs func(msg.ExecutionID) (msg.JobRecord, bool)

	mu        sync.Mutex // guards what follows
	endpoints map[msg.ExecutorID]*endpoint
	closed    bool
}

// endpoint is the endpoint of one executor. Guarded by Gateway.mu.
type endpoint struct {
	last      msg.RequestID
	requests  map[msg.RequestID]*request
	keys      map[msg.ExecutionID]seal.Key // of the jobs whose URLs are open
	newest    msg.ExecutionID              // of keys
	current   msg.ExecutionID              // the last job sent to the plugin
	delivered msg.ExecutionID
	sdk       msg.SDK
	queue     []msg.SessionEvent
	changed   chan struct{}
	err       error // that Requests returns next
	gone      bool
}

// request is a request of a plugin. Guarded by Gateway.mu.
type request struct {
	gateway  *Gateway
	executor msg.ExecutorID
	event    msg.SessionEvent
	answer   msg.Answer       // nil: none yet
	job      receivedJob      // in the answer
	events   []msg.WatchEvent // of a watch
	lost     bool
}

var errNotAdmitted = errors.New("the executor is not admitted")

// OpenGateway returns the gateway of a runner that starts with this spool.
func OpenGateway(host *PluginHost, keys *seal.Identity, s *spool.Spool) *Gateway {
	g := &Gateway{Faults: fake.NewFaults(host.scheduler, host.DecideCall), host: host, keys: keys, jobs: s.Job, endpoints: map[msg.ExecutorID]*endpoint{}}
	for _, rec := range s.Executors() {
		g.admit(rec)
		_ = g.openURLs(rec.ID, actors.CallbackURLs(s, rec))
	}
	host.setGateway(g)
	return g
}

// Close ends the gateway with its runner. All requests are lost.
func (g *Gateway) Close() {
	g.host.setGateway(nil)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, id := range slices.Sorted(maps.Keys(g.endpoints)) {
		e := g.endpoints[id]
		e.loseAll()
		if job, ok := g.jobs(e.delivered); ok && job.Stage == msg.HandedOut && !job.Delivered {
			g.host.deliveryForgotten(e.delivered)
		}
	}
}

// Cut closes the connections of an executor.
func (g *Gateway) Cut(id msg.ExecutorID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.endpoints[id]; e != nil {
		e.loseAll()
		g.host.wake(id)
	}
}

// BreakRequests makes Requests return err. The next call of Requests replays the state.
func (g *Gateway) BreakRequests(id msg.ExecutorID, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.endpoints[id]; e != nil {
		e.err = err
		e.change()
	}
}

// EndpointCount returns the number of admitted executors.
func (g *Gateway) EndpointCount() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.endpoints)
}

func (e *endpoint) change() {
	close(e.changed)
	e.changed = make(chan struct{})
}

func (e *endpoint) add(event msg.SessionEvent) {
	e.queue = append(e.queue, event)
	e.change()
}

func (e *endpoint) loseAll() {
	for _, id := range slices.Sorted(maps.Keys(e.requests)) {
		e.loseRequest(id)
	}
}

// loseRequest ends a request without an answer.
func (e *endpoint) loseRequest(id msg.RequestID) {
	r := e.requests[id]
	r.lost = true
	if _, ok := r.event.(msg.SecretRequested); ok {
		r.gateway.host.observer().PollLost(r.executor)
	}
	delete(e.requests, id)
	known := !slices.ContainsFunc(e.queue, func(v msg.SessionEvent) bool { return v.OpenedRequest() == id })
	e.queue = slices.DeleteFunc(e.queue, func(v msg.SessionEvent) bool { return v.OpenedRequest() == id })
	if known {
		e.add(msg.RequestEnded{Request: id})
	}
}

// Admit creates the endpoint of an executor.
func (g *Gateway) Admit(rec msg.ExecutorRecord) (access msg.Access, err error) {
	err = g.Do(context.Background(), Admit, func() error {
		g.admit(rec)
		access = msg.Access{Env: map[string]string{ModeVariable: string(rec.Mode)}, Files: map[string][]byte{"sa/token": []byte("t")},
			Mounts: []msg.Mount{{Source: "out", Target: "/output"}}}
		return nil
	})
	return access, err
}

func (g *Gateway) admit(rec msg.ExecutorRecord) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.endpoints[rec.ID] == nil {
		g.endpoints[rec.ID] = &endpoint{requests: map[msg.RequestID]*request{}, keys: map[msg.ExecutionID]seal.Key{},
			current: rec.Job, changed: make(chan struct{})}
	}
}

// Dismiss removes the endpoint of an executor.
func (g *Gateway) Dismiss(id msg.ExecutorID) {
	g.host.scheduler.Do("dismiss", func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if e := g.endpoints[id]; e != nil {
			e.gone = true
			e.loseAll()
			e.change()
			delete(g.endpoints, id)
		}
		g.host.removeFile(id)
	})
}

// OpenURLs opens the URLs of jobs, as a part of a hand-out.
func (g *Gateway) OpenURLs(id msg.ExecutorID, jobs ...msg.JobURL) error {
	return g.Do(context.Background(), HandOut, func() error { return g.openURLs(id, jobs) })
}

func (g *Gateway) openURLs(id msg.ExecutorID, jobs []msg.JobURL) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.endpoints[id]
	if e == nil {
		return errNotAdmitted
	}
	keys := map[msg.ExecutionID]seal.Key{}
	for _, job := range jobs {
		key := e.keys[job.Execution]
		if len(job.SealedKey) > 0 {
			key, _ = g.keys.OpenKey(job.SealedKey)
		} else if unsealed, err := g.keys.Unseal(job.Key); err == nil && len(unsealed) == 1 {
			copy(key[:], unsealed[0])
		}
		keys[job.Execution], e.newest = key, job.Execution
	}
	e.keys = keys
	return nil
}

// Requests emits events that describe the present state, and then every change.
func (g *Gateway) Requests(ctx context.Context, id msg.ExecutorID, emit func(msg.SessionEvent) error) error {
	var e *endpoint
	for {
		var v msg.SessionEvent
		var err error
		ended := g.host.scheduler.Until(ctx, "requests", func() (done bool, changed <-chan struct{}, again time.Time) {
			g.mu.Lock()
			defer g.mu.Unlock()
			if e == nil {
				if e = g.endpoints[id]; e != nil {
					e.replay()
				}
			}
			switch {
			case e == nil || e.gone:
				err = errNotAdmitted
			case e.err != nil:
				err, e.err = e.err, nil
			case ctx.Err() != nil:
				return false, nil, again
			case len(e.queue) == 0:
				return false, e.changed, again
			default:
				v, e.queue = e.queue[0], e.queue[1:]
			}
			return true, nil, again
		})
		if ended != nil || err != nil {
			return errors.Join(ended, err)
		}
		if err := emit(v); err != nil {
			return err
		}
	}
}

func (e *endpoint) replay() {
	e.queue = nil
	if e.sdk != "" {
		e.queue = append(e.queue, msg.SDKDetected{SDK: e.sdk})
	}
	if e.delivered != "" {
		e.queue = append(e.queue, msg.Delivered{Execution: e.delivered})
	}
	for _, id := range slices.Sorted(maps.Keys(e.requests)) {
		e.queue = append(e.queue, e.requests[id].event)
	}
}

// WasDelivered reports whether the plugin has received the job.
func (g *Gateway) WasDelivered(id msg.ExecutorID, job msg.ExecutionID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.endpoints[id]
	return e != nil && e.delivered == job
}

// IsWaiting reports whether a request has no answer yet.
func (g *Gateway) IsWaiting(id msg.ExecutorID, n msg.RequestID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.endpoints[id]
	return e != nil && e.requests[n] != nil
}

// Answer answers a request.
func (g *Gateway) Answer(id msg.ExecutorID, n msg.RequestID, a msg.Answer) {
	g.host.scheduler.Do("answer", func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		e := g.endpoints[id]
		if e == nil || e.requests[n] == nil {
			return
		}
		r := e.requests[n]
		r.answer = a
		delete(e.requests, n)
		if job, ok := a.(msg.GiveJob); ok {
			e.current = job.Execution
			r.job = receivedJob{job.Execution, e.keys[job.Execution], job.Input}
		}
		if _, ok := r.event.(msg.SecretRequested); ok {
			g.host.observer().PollAnswered(id, r.job.execution)
		}
		g.host.wake(id)
	})
}

// Notify sends an event to a watch.
func (g *Gateway) Notify(id msg.ExecutorID, n msg.RequestID, event msg.WatchEvent) {
	g.host.scheduler.Do("notify", func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if event.Kind == msg.WatchModified && g.host.isWorking(id) {
			g.host.add("rule 2: event sent to %s while its job runs", id)
		}
		if e := g.endpoints[id]; e != nil && e.requests[n] != nil {
			e.requests[n].events = append(e.requests[n].events, event)
			g.host.wake(id)
		}
	})
}

// HasResultFile reports whether there is a result file.
func (g *Gateway) HasResultFile(id msg.ExecutorID) bool { return g.host.file(id) != nil }

// tooLarge is the body of a result that exceeds the gateway's limit.
var tooLarge = []byte("too large")

// ReadResult reads the result file.
func (g *Gateway) ReadResult(id msg.ExecutorID, f msg.ResultFile) (got msg.ReceivedBody, err error) {
	err = g.Do(context.Background(), ReadFile, func() error {
		g.mu.Lock()
		defer g.mu.Unlock()
		e, body := g.endpoints[id], g.host.file(id)
		switch {
		case e == nil:
			return errNotAdmitted
		case body == nil:
			return nil
		}
		got = decryptResult(e.keys[f.Execution], body)
		got.Result.Via = msg.ViaFile
		if got.Verdict == msg.NoResult && f.Previous != "" && decryptResult(e.keys[f.Previous], body).Verdict == msg.IsResult {
			got.Verdict = msg.NotStarted
		}
		return nil
	})
	return got, err
}

// decryptResult decrypts a body with a job's key and classifies it.
func decryptResult(key seal.Key, body []byte) (got msg.ReceivedBody) {
	if bytes.Equal(body, tooLarge) {
		return msg.ReceivedBody{Verdict: msg.TooLarge, Size: 1 << 20, Limit: 1 << 19}
	}
	text, err := seal.Decrypt(key, body)
	if err != nil {
		return got
	}
	var inside contract.Result
	if err := json.Unmarshal(text, &inside); err != nil {
		return got
	}
	return msg.ReceivedBody{Verdict: msg.IsResult, Result: msg.Result{Body: body, ExitCode: inside.ExitCode}}
}

// ClearResults removes the result file.
func (g *Gateway) ClearResults(id msg.ExecutorID) {
	g.host.scheduler.Do("clear", func() { g.host.removeFile(id) })
}

// WriteInput writes the input of an executor in mode messages.Files before its process starts.
func (g *Gateway) WriteInput(id msg.ExecutorID, execution msg.ExecutionID, input string) (map[string]string, error) {
	g.host.scheduler.Do("write input", func() { g.host.setInput(id, receivedJob{execution, g.key(id, execution), input}) })
	return map[string]string{}, nil
}

func (g *Gateway) key(id msg.ExecutorID, execution msg.ExecutionID) seal.Key {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.endpoints[id].keys[execution]
}
