package fakes

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// Site is where plugins and the runner meet. It outlives the runner: the result files are on its disk, and a plugin that
// asks while no gateway is there waits for the next one, as in the backlog of a socket that somebody keeps.
type Site struct {
	breaches

	mu      sync.Mutex // guards what follows
	gateway *Gateway   // nil: the runner is away
	files   map[msg.ExecutorID][]byte
	runs    []Run
	changed chan struct{}
}

// Run is a job that a plugin has begun.
type Run struct {
	Execution msg.ExecutionID
	Executor  msg.ExecutorID
	Image     string
	At        time.Time
}

// NewSite has no gateway yet.
func NewSite() *Site {
	return &Site{files: map[msg.ExecutorID][]byte{}, changed: make(chan struct{})}
}

// Runs lists what was begun, in order.
func (s *Site) Runs() []Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.runs)
}

// write is a plugin's: into the file that OUTPUT_LOCATION names.
func (s *Site) write(id msg.ExecutorID, body []byte) {
	s.mu.Lock()
	s.files[id] = body
	g := s.gateway
	s.mu.Unlock()
	if g != nil && !bytes.Equal(body, tooLarge) {
		_ = g.Look(id) // it watches the directory; what is too large may still be overwritten
	}
}

func (s *Site) file(id msg.ExecutorID) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files[id]
}

func (s *Site) empty(id msg.ExecutorID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, id)
}

func (s *Site) open(g *Gateway) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gateway = g
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Site) now() (*Gateway, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gateway, s.changed
}

// ask is the plugin's GET: it returns with a job.
func (s *Site) ask(ctx context.Context, id msg.ExecutorID) (given, error) {
	for {
		g, changed := s.now()
		if g != nil {
			in, err := g.get(ctx, id)
			if !errors.Is(err, errAway) {
				return in, err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return given{}, context.Cause(ctx)
		}
	}
}

// introduce lets the gateway recognise a plugin's SDK.
func (s *Site) introduce(id msg.ExecutorID, sdk msg.SDK) {
	g, _ := s.now()
	if g == nil || sdk == "" {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := g.doors[id]; d != nil {
		d.tell(msg.Introduced{SDK: sdk})
	}
}

// begin notes that a plugin runs a job.
func (s *Site) begin(r Run) {
	r.At = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.runs {
		if other.Execution == r.Execution {
			s.add("I2: %s runs in %s, and ran in %s", r.Execution, r.Executor, other.Executor)
		}
	}
	s.runs = append(s.runs, r)
}

// deliver brings a result: to the file, and by callback unless it is for the file only.
func (s *Site) deliver(id msg.ExecutorID, in given, body []byte, how Errand) {
	if how.TooLarge {
		body = tooLarge
	}
	if g, _ := s.now(); g != nil && !how.FileOnly {
		if g.callback(id, in.execution, body) == nil {
			return
		}
	}
	s.write(id, body)
}

// given is a job as the plugin gets it.
type given struct {
	execution msg.ExecutionID
	key       seal.Key
	input     string
}
