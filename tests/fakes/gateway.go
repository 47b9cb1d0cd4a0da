package fakes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"runnerd/infra/contract"
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

// get is a plugin's question for its Secret: it is held until a job is there. While one is open, nothing makes a plugin ask.
func (g *Gateway) get(ctx context.Context, id msg.ExecutorID) (given, error) {
	if err := g.Look(id); err != nil {
		return given{}, fmt.Errorf("look: %w", err)
	}
	for {
		hold, in, changed, err := g.reply(id)
		if err != nil {
			return given{}, err
		}
		if in != nil {
			return *in, nil
		}
		if hold == nil {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return given{}, context.Cause(ctx)
			}
		}
		return g.held(ctx, id, hold)
	}
}

func (g *Gateway) reply(id msg.ExecutorID) (hold chan given, in *given, changed <-chan struct{}, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.doors[id]
	switch {
	case g.closed:
		return nil, nil, nil, errAway
	case d == nil:
		return nil, nil, nil, errNoDoor
	case d.open != nil && d.rec.Mode == msg.Files && !d.asked:
		d.asked = true
		return nil, d.open, nil, nil
	case d.open != nil:
		return nil, nil, d.changed, nil
	}
	d.hold = make(chan given, 1)
	g.site.empty(id)
	d.tell(msg.Held{})
	return d.hold, nil, nil, nil
}

// held waits; a job that crosses the loss of the connection is handed out.
func (g *Gateway) held(ctx context.Context, id msg.ExecutorID, hold chan given) (given, error) {
	for {
		g.mu.Lock()
		d := g.doors[id]
		if g.closed || d == nil {
			g.mu.Unlock()
			select {
			case in := <-hold:
				return in, nil
			default:
				return given{}, errAway
			}
		}
		changed := d.changed
		g.mu.Unlock()
		select {
		case in := <-hold:
			return in, nil
		case <-changed:
		case <-ctx.Done():
			g.mu.Lock()
			if d.hold == hold {
				d.hold = nil
				d.tell(msg.HoldLost{})
			}
			g.mu.Unlock()
			return given{}, context.Cause(ctx)
		}
	}
}

// callback takes a result; nil: the answer is 204.
func (g *Gateway) callback(id msg.ExecutorID, job msg.ExecutionID, body []byte) error {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed {
		return errAway
	}
	return g.take(id, job, body, msg.ViaCallback, "")
}

// Look reads the result file.
func (g *Gateway) Look(id msg.ExecutorID) error {
	return g.do(context.Background(), Look, func() error { return g.look(id, "") })
}

func (g *Gateway) look(id msg.ExecutorID, retire string) error {
	g.mu.Lock()
	d := g.doors[id]
	var job msg.ExecutionID
	if d != nil && d.open != nil {
		job = d.open.execution
	}
	g.mu.Unlock()
	switch body := g.site.file(id); {
	case d == nil:
		return errNoDoor
	case job == "" || body == nil:
		return nil
	default:
		return g.take(id, job, body, msg.ViaFile, retire)
	}
}

// take stores the first result of the open job.
func (g *Gateway) take(id msg.ExecutorID, job msg.ExecutionID, body []byte, via msg.Via, retire string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.doors[id]
	if d == nil || d.open == nil || d.open.execution != job {
		return nil
	}
	text, err := seal.Decrypt(d.open.key, body)
	if err != nil {
		return nil
	}
	var inside contract.Result
	if err := json.Unmarshal(text, &inside); err != nil {
		return nil
	}
	res := msg.Result{Body: body, ExitCode: inside.ExitCode, Via: via}
	stored, err := g.spool.StoreResult(job, res)
	if err != nil {
		return err
	}
	d.open = nil
	if rec, ok := g.spool.Job(job); stored || ok && rec.HasResult {
		res.Body = nil
		d.result = &msg.ResultStored{Execution: job, Result: res, Retire: retire}
		d.tell(*d.result)
	} else {
		d.change()
	}
	return nil
}

// refuse is a result that is too large.
func (g *Gateway) refuse(id msg.ExecutorID, job msg.ExecutionID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := g.doors[id]; d != nil {
		d.tell(msg.ResultRefused{Execution: job, Reason: "the result is larger than this runner takes"})
	}
}
