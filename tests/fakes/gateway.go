package fakes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"runnerd/infra/seal"
	msg "runnerd/messages"
	"runnerd/spool"
)

// Verbs of the gateway, for Script.
const (
	Admit   = "admit"
	HandOut = "hand out"
	Look    = "look"
)

// Gateway is a gateway without a network: its doors open to the plugins of a site. It keeps the contract of the real one:
// hands out only to a GET that is held, journals before it answers, keeps the first result.
type Gateway struct {
	Faults
	site  *Site
	spool *spool.Spool
	keys  *seal.Identity

	mu     sync.Mutex // guards what follows
	doors  map[msg.ExecutorID]*door
	closed bool
}

// door is one executor's. Guarded by Gateway.mu.
type door struct {
	rec     msg.ExecutorRecord
	open    *given // handed out, without a result
	asked   bool   // Files only: the input was read
	hold    chan given
	result  *msg.ResultStored
	visits  []msg.Visit
	changed chan struct{}
	gone    bool
}

var (
	errAway    = errors.New("the runner is away")
	errNoDoor  = errors.New("the executor is not admitted")
	errNotHeld = errors.New("no GET is held")
)

// OpenGateway is a runner's start: it reads every result file before it serves anybody.
func OpenGateway(site *Site, keys *seal.Identity, s *spool.Spool) (*Gateway, error) {
	g := &Gateway{site: site, spool: s, keys: keys, doors: map[msg.ExecutorID]*door{}}
	for _, rec := range s.Executors() {
		if err := g.restore(rec); err != nil {
			return nil, err
		}
	}
	site.open(g)
	return g, nil
}

func (g *Gateway) restore(rec msg.ExecutorRecord) error {
	d := g.door(rec)
	job, ok := g.spool.Job(rec.Job)
	if !ok || job.Stage < msg.HandedOut {
		return nil
	}
	if job.HasResult {
		d.result = &msg.ResultStored{Execution: rec.Job, Result: msg.Result{ExitCode: job.Ending.ExitCode}}
	}
	if job.Stage != msg.HandedOut {
		return nil
	}
	in, err := g.given(rec.Job)
	if err != nil {
		return err
	}
	d.open, d.asked = &in, true
	return g.look(rec.ID, "its result was found in its file after a restart of the runner")
}

// Close is the runner's end: nobody is answered any more.
func (g *Gateway) Close() {
	g.site.open(nil)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, d := range g.doors {
		d.hold = nil
		d.change()
	}
}

func (g *Gateway) door(rec msg.ExecutorRecord) *door {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.doors[rec.ID]
	if d == nil {
		d = &door{rec: rec, changed: make(chan struct{})}
		g.doors[rec.ID] = d
	}
	return d
}

func (d *door) change() {
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *door) tell(v msg.Visit) {
	d.visits = append(d.visits, v)
	d.change()
}

// Admit opens a door.
func (g *Gateway) Admit(rec msg.ExecutorRecord) (access msg.Access, err error) {
	err = g.do(context.Background(), Admit, func() error {
		g.door(rec)
		access = msg.Access{Env: map[string]string{ModeVariable: string(rec.Mode)}, Files: map[string][]byte{"sa/token": []byte("t")},
			Mounts: []msg.Mount{{Source: "out", Target: "/output"}}}
		return nil
	})
	return access, err
}

// Dismiss closes it.
func (g *Gateway) Dismiss(id msg.ExecutorID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := g.doors[id]; d != nil {
		d.gone = true
		d.change()
		delete(g.doors, id)
	}
	g.site.empty(id)
}

// Doors counts those that are open.
func (g *Gateway) Doors() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.doors)
}

// Watch tells what is so, and then every change.
func (g *Gateway) Watch(ctx context.Context, id msg.ExecutorID, emit func(msg.Visit) error) error {
	g.mu.Lock()
	d := g.doors[id]
	if d == nil {
		g.mu.Unlock()
		return errNoDoor
	}
	var first []msg.Visit
	for _, v := range d.visits {
		switch v.(type) {
		case msg.Held, msg.HoldLost, msg.ResultStored:
		default:
			first = append(first, v)
		}
	}
	if d.result != nil {
		if _, kept := g.spool.Job(d.result.Execution); kept {
			first = append(first, *d.result)
		}
	}
	if d.hold != nil {
		first = append(first, msg.Held{})
	}
	d.visits = first
	g.mu.Unlock()
	for {
		v, changed, err := g.news(d)
		if err != nil {
			return err
		}
		if v == nil {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := emit(v); err != nil {
			return err
		}
	}
}

func (g *Gateway) news(d *door) (msg.Visit, <-chan struct{}, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case d.gone:
		return nil, nil, errNoDoor
	case len(d.visits) == 0:
		return nil, d.changed, nil
	}
	v := d.visits[0]
	d.visits = d.visits[1:]
	return v, nil, nil
}

func (g *Gateway) given(id msg.ExecutionID) (given, error) {
	rec, ok := g.spool.Job(id)
	if !ok {
		return given{}, fmt.Errorf("the spool has no job %s", id)
	}
	key, err := g.keys.OpenKey(rec.SealedKey)
	if err != nil {
		return given{}, err
	}
	input, err := g.spool.Input(id)
	return given{execution: id, key: key, input: input}, err
}

// HandOut answers the GET that is held.
func (g *Gateway) HandOut(ctx context.Context, id msg.ExecutorID, job msg.ExecutionID) (over msg.HandedOver, err error) {
	err = g.do(ctx, HandOut, func() error {
		in, err := g.given(job)
		if err != nil {
			return err
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		d := g.doors[id]
		switch {
		case d == nil:
			return errNoDoor
		case d.rec.Mode != msg.Files && d.hold == nil:
			return errNotHeld
		}
		if rec, _ := g.spool.Job(job); rec.Stage < msg.Confirmed {
			g.site.add("I3: %s is handed out and not confirmed", job)
		}
		over = msg.HandedOver{Execution: job, At: time.Now()}
		if err := g.spool.HandOut(job, id, d.rec.Arming, over.At); err != nil {
			return err
		}
		d.open, d.result = &in, nil
		if d.hold != nil {
			d.hold <- in
			d.hold = nil
		}
		d.tell(msg.Delivered{Execution: job})
		return nil
	})
	return over, err
}
