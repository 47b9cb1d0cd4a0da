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

// Verbs of the gateway, for Script.
const (
	Admit   = "admit"
	HandOut = "hand out" // its part: the URLs of the job are opened
	Look    = "look"
)

// Gateway is a gateway without a network: plugins of a site call it. Like the real one it parks requests, and decides nothing.
type Gateway struct {
	*fake.Faults
	site *Site
	keys *seal.Identity

	mu        sync.Mutex // guards what follows
	endpoints map[msg.ExecutorID]*endpoint
	closed    bool
}

// endpoint is one executor's. Guarded by Gateway.mu.
type endpoint struct {
	last      msg.RequestID
	open      map[msg.RequestID]*request
	keys      map[msg.ExecutionID]seal.Key // of the jobs whose URLs are open
	newest    msg.ExecutionID              // of them
	current   msg.ExecutionID              // the job that the plugin was given last
	delivered msg.ExecutionID
	sdk       msg.SDK
	queue     []msg.SessionEvent
	changed   chan struct{}
	broken    error // ends Requests
	gone      bool
}

// request is one that a plugin made. Guarded by Gateway.mu.
type request struct {
	at     *Gateway
	of     msg.ExecutorID
	event  msg.SessionEvent
	answer msg.Answer       // nil: none yet
	given  given            // with it
	events []msg.WatchEvent // of a watch
	lost   bool
}

var errNotAdmitted = errors.New("the executor is not admitted")

// OpenGateway is a runner's start.
func OpenGateway(site *Site, keys *seal.Identity, s *spool.Spool) *Gateway {
	g := &Gateway{Faults: fake.On(site.stage, site.Fate), site: site, keys: keys, endpoints: map[msg.ExecutorID]*endpoint{}}
	for _, rec := range s.Executors() {
		g.admit(rec)
		_ = g.openURLs(rec.ID, actors.CallbackURLs(s, rec))
	}
	site.open(g)
	return g
}

// Close is the runner's end: nobody is answered any more.
func (g *Gateway) Close() {
	g.site.open(nil)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, id := range slices.Sorted(maps.Keys(g.endpoints)) {
		g.endpoints[id].loseAll()
	}
}

// Cut is the loss of the connections of an executor.
func (g *Gateway) Cut(id msg.ExecutorID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.endpoints[id]; e != nil {
		e.loseAll()
		g.site.wake(id)
	}
}

// Break ends Requests. What happens meanwhile is told when somebody asks again.
func (g *Gateway) Break(id msg.ExecutorID, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.endpoints[id]; e != nil {
		e.broken = err
		e.change()
	}
}

// Doors counts the executors that are admitted.
func (g *Gateway) Doors() int {
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
	for _, id := range slices.Sorted(maps.Keys(e.open)) {
		e.end(id)
	}
}

// end is the loss of a request.
func (e *endpoint) end(id msg.RequestID) {
	r := e.open[id]
	r.lost = true
	if _, ok := r.event.(msg.SecretRequested); ok {
		r.at.site.witness().Lost(r.of)
	}
	delete(e.open, id)
	told := !slices.ContainsFunc(e.queue, func(v msg.SessionEvent) bool { return v.OpenedRequest() == id })
	e.queue = slices.DeleteFunc(e.queue, func(v msg.SessionEvent) bool { return v.OpenedRequest() == id })
	if told {
		e.add(msg.RequestEnded{Request: id})
	}
}

// Admit lets a plugin in.
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
		g.endpoints[rec.ID] = &endpoint{open: map[msg.RequestID]*request{}, keys: map[msg.ExecutionID]seal.Key{}, current: rec.Job, changed: make(chan struct{})}
	}
}

// Dismiss shuts it out.
func (g *Gateway) Dismiss(id msg.ExecutorID) {
	g.site.stage.Do("dismiss", func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if e := g.endpoints[id]; e != nil {
			e.gone = true
			e.loseAll()
			e.change()
			delete(g.endpoints, id)
		}
		g.site.empty(id)
	})
}

// OpenURLs is part of a hand-out.
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
		} else if kept, err := g.keys.Unseal(job.Key); err == nil && len(kept) == 1 {
			copy(key[:], kept[0])
		}
		keys[job.Execution], e.newest = key, job.Execution
	}
	e.keys = keys
	return nil
}

// Requests tells what is so, and then every change.
func (g *Gateway) Requests(ctx context.Context, id msg.ExecutorID, emit func(msg.SessionEvent) error) error {
	var e *endpoint
	for {
		var v msg.SessionEvent
		var err error
		ended := g.site.stage.Until(ctx, "requests", func() (done bool, changed <-chan struct{}, again time.Time) {
			g.mu.Lock()
			defer g.mu.Unlock()
			if e == nil {
				if e = g.endpoints[id]; e != nil {
					e.afresh()
				}
			}
			switch {
			case e == nil || e.gone:
				err = errNotAdmitted
			case e.broken != nil:
				err, e.broken = e.broken, nil
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

func (e *endpoint) afresh() {
	e.queue = nil
	if e.sdk != "" {
		e.queue = append(e.queue, msg.SDKDetected{SDK: e.sdk})
	}
	if e.delivered != "" {
		e.queue = append(e.queue, msg.Delivered{Execution: e.delivered})
	}
	for _, id := range slices.Sorted(maps.Keys(e.open)) {
		e.queue = append(e.queue, e.open[id].event)
	}
}

// IsWaiting reports whether a request has no answer yet.
func (g *Gateway) IsWaiting(id msg.ExecutorID, n msg.RequestID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.endpoints[id]
	return e != nil && e.open[n] != nil
}

// Answer answers a request.
func (g *Gateway) Answer(id msg.ExecutorID, n msg.RequestID, a msg.Answer) {
	g.site.stage.Do("answer", func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		e := g.endpoints[id]
		if e == nil || e.open[n] == nil {
			return
		}
		r := e.open[n]
		r.answer = a
		delete(e.open, n)
		if job, ok := a.(msg.GiveJob); ok {
			e.current = job.Execution
			r.given = given{job.Execution, e.keys[job.Execution], job.Input}
		}
		if _, ok := r.event.(msg.SecretRequested); ok {
			g.site.witness().Answered(id, r.given.execution)
		}
		g.site.wake(id)
	})
}

// Notify sends a watch an event.
func (g *Gateway) Notify(id msg.ExecutorID, n msg.RequestID, event msg.WatchEvent) {
	g.site.stage.Do("notify", func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if event.Kind == msg.WatchModified && g.site.isWorking(id) {
			g.site.add("rule 2: %s is sent an event while its job runs", id)
		}
		if e := g.endpoints[id]; e != nil && e.open[n] != nil {
			e.open[n].events = append(e.open[n].events, event)
			g.site.wake(id)
		}
	})
}

// HasResultFile reports whether there is one.
func (g *Gateway) HasResultFile(id msg.ExecutorID) bool { return g.site.file(id) != nil }

// tooLarge is the body of a result that no runner takes.
var tooLarge = []byte("too large")

// ReadResult reads the result file.
func (g *Gateway) ReadResult(id msg.ExecutorID, f msg.ResultFile) (got msg.Delivery, err error) {
	err = g.Do(context.Background(), Look, func() error {
		g.mu.Lock()
		defer g.mu.Unlock()
		e, body := g.endpoints[id], g.site.file(id)
		switch {
		case e == nil:
			return errNotAdmitted
		case body == nil:
			return nil
		}
		got = judge(e.keys[f.Execution], body)
		got.Result.Via = msg.ViaFile
		if got.Verdict == msg.NoDelivery && f.Before != "" && judge(e.keys[f.Before], body).Verdict == msg.IsResult {
			got.Verdict = msg.NotStarted
		}
		return nil
	})
	return got, err
}

// judge says what a body is to a key.
func judge(key seal.Key, body []byte) (got msg.Delivery) {
	if bytes.Equal(body, tooLarge) {
		return msg.Delivery{Verdict: msg.TooLarge, Size: 1 << 20, Limit: 1 << 19}
	}
	text, err := seal.Decrypt(key, body)
	if err != nil {
		return got
	}
	var inside contract.Result
	if err := json.Unmarshal(text, &inside); err != nil {
		return got
	}
	return msg.Delivery{Verdict: msg.IsResult, Result: msg.Result{Body: body, ExitCode: inside.ExitCode}}
}

// ClearResults empties the result directory.
func (g *Gateway) ClearResults(id msg.ExecutorID) {
	g.site.stage.Do("clear", func() { g.site.empty(id) })
}

// WriteInput leaves a job for a plugin that is not there yet.
func (g *Gateway) WriteInput(id msg.ExecutorID, execution msg.ExecutionID, input string) (map[string]string, error) {
	g.site.stage.Do("write input", func() { g.site.leaveInput(id, given{execution, g.key(id, execution), input}) })
	return map[string]string{}, nil
}

func (g *Gateway) key(id msg.ExecutorID, execution msg.ExecutionID) seal.Key {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.endpoints[id].keys[execution]
}
