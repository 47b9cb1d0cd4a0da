package fakes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"runnerd/infra/driver/fake"
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

// comeBack is how long executors may come back by themselves after a restart of the runner.
const comeBack = 12 * time.Second

// Gateway is a gateway without a network: its doors open to the plugins of a site. It keeps the contract of the real one:
// hands out only to a GET that is held, journals before it answers, keeps the first result, hands out again only on a proof
// that the job did not start, and owes an event to a plugin that was told to go.
type Gateway struct {
	*fake.Faults
	site  *Site
	spool *spool.Spool
	keys  *seal.Identity

	mu     sync.Mutex // guards what follows
	doors  map[msg.ExecutorID]*door
	closed bool
}

// door is one executor's. Guarded by Gateway.mu.
type door struct {
	site      *Site
	rec       msg.ExecutorRecord
	open      *given // handed out, without a result
	before    msg.ExecutionID
	handOuts  int             // of open
	unstarted bool            // the plugin has proven that it did not start open
	asked     bool            // Files only: the input was read
	hold      *hold           // a GET that waits
	owedAt    time.Time       // an event is owed to the plugin from then on; zero: none
	refused   msg.ExecutionID // its result was, once
	late      msg.ExecutionID // its result came by file, and its callback may follow
	result    *msg.ResultStored
	broken    error // ends the watch
	visits    []msg.Visit
	changed   chan struct{}
	gone      bool
}

// hold is a GET that waits: answered, lost, or neither. Guarded by Gateway.mu.
type hold struct {
	at   *Gateway
	in   *given
	lost bool
}

func (h *hold) now() (in *given, lost bool) {
	h.at.mu.Lock()
	defer h.at.mu.Unlock()
	return h.in, h.lost
}

var (
	errAway   = errors.New("the runner is away")
	errNoDoor = errors.New("the executor is not admitted")
)

// OpenGateway is a runner's start: it reads every result file before it serves anybody.
func OpenGateway(site *Site, keys *seal.Identity, s *spool.Spool) (*Gateway, error) {
	g := &Gateway{Faults: fake.On(site.stage, site.Fate), site: site, spool: s, keys: keys, doors: map[msg.ExecutorID]*door{}}
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
	d.owedAt = time.Now().Add(comeBack)
	if g.site.file(rec.ID) != nil {
		d.owedAt = time.Now()
	}
	job, ok := g.spool.Job(rec.Job)
	if !ok || job.Stage < msg.HandedOut {
		return nil
	}
	if job.HasResult {
		d.result = &msg.ResultStored{Execution: rec.Job, Result: msg.Result{ExitCode: job.Ending.ExitCode}}
	}
	if job.HasResult || job.Stage != msg.HandedOut && !job.Stopping() {
		return nil
	}
	in, err := g.given(rec.Job)
	if err != nil {
		return err
	}
	d.open, d.asked, d.before, d.handOuts, d.unstarted = &in, true, rec.Before, job.HandOuts, job.Unstarted
	if !d.unstarted {
		d.owedAt = time.Time{}
	}
	_ = g.look(rec.ID, "its result was found in its file after a restart of the runner") // else it is looked at again
	return nil
}

// Close is the runner's end: nobody is answered any more.
func (g *Gateway) Close() {
	g.site.open(nil)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, d := range g.doors {
		d.lose()
		d.change()
	}
}

// Cut is the loss of the connection on which a GET waits, if one does.
func (g *Gateway) Cut(id msg.ExecutorID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := g.doors[id]; d != nil && d.lose() {
		d.tell(msg.HoldLost{})
		g.site.wake(id)
	}
}

// Break ends the watch of a door. What happens there is told to nobody, until somebody watches again.
func (g *Gateway) Break(id msg.ExecutorID, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := g.doors[id]; d != nil {
		d.broken = err
		d.change()
	}
}

func (g *Gateway) door(rec msg.ExecutorRecord) *door {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.doors[rec.ID]
	if d == nil {
		d = &door{site: g.site, rec: rec, changed: make(chan struct{})}
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
	d.site.visited(d.rec.ID, v)
}

// lose ends the hold, if there is one.
func (d *door) lose() bool {
	if d.hold == nil {
		return false
	}
	d.hold.lost, d.hold = true, nil
	return true
}

// Admit opens a door.
func (g *Gateway) Admit(rec msg.ExecutorRecord) (access msg.Access, err error) {
	err = g.Do(context.Background(), Admit, func() error {
		g.door(rec)
		access = msg.Access{Env: map[string]string{ModeVariable: string(rec.Mode)}, Files: map[string][]byte{"sa/token": []byte("t")},
			Mounts: []msg.Mount{{Source: "out", Target: "/output"}}}
		return nil
	})
	return access, err
}

// Dismiss closes it.
func (g *Gateway) Dismiss(id msg.ExecutorID) {
	g.site.stage.Do("dismiss", func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if d := g.doors[id]; d != nil {
			d.gone = true
			d.lose()
			d.change()
			delete(g.doors, id)
		}
		g.site.empty(id)
	})
}

// Doors counts those that are open.
func (g *Gateway) Doors() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.doors)
}

// Watch tells what is so, and then every change.
func (g *Gateway) Watch(ctx context.Context, id msg.ExecutorID, emit func(msg.Visit) error) error {
	var d *door
	for {
		var v msg.Visit
		var err error
		ended := g.site.stage.Until(ctx, "watch", func() (done bool, changed <-chan struct{}, again time.Time) {
			g.mu.Lock()
			defer g.mu.Unlock()
			if d == nil {
				if d = g.doors[id]; d != nil {
					g.afresh(d)
				}
			}
			switch {
			case d == nil || d.gone:
				err = errNoDoor
			case d.broken != nil:
				err, d.broken = d.broken, nil
			case ctx.Err() != nil:
				return false, nil, again
			case len(d.visits) == 0:
				return false, d.changed, again
			default:
				v, d.visits = d.visits[0], d.visits[1:]
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

// afresh begins with what is so now. mu is held.
func (g *Gateway) afresh(d *door) {
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
func (g *Gateway) HandOut(ctx context.Context, id msg.ExecutorID, job msg.ExecutionID, from time.Time) (env map[string]string, err error) {
	err = g.Do(ctx, HandOut, func() error {
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
			return msg.ErrNotHeld
		}
		if rec, _ := g.spool.Job(job); rec.Stage < msg.Confirmed {
			g.site.add("I3: %s is handed out and not confirmed", job)
		}
		if err := g.spool.HandOut(job, id, d.rec.Arming, from); err != nil {
			return err
		}
		if rec, ok := g.spool.Executor(id); ok {
			d.before = rec.Before
		}
		d.open, d.result, d.handOuts, d.owedAt = &in, nil, 1, time.Time{}
		if d.hold != nil {
			d.hold.in, d.hold = &in, nil
			g.site.wake(id)
		}
		d.tell(msg.Delivered{Execution: job})
		return nil
	})
	return nil, err
}
