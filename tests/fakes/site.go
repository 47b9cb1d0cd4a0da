package fakes

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"runnerd/infra/driver/fake"
	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// Site is where plugins and the runner meet. It outlives the runner: the result files are on its disk, and a plugin that
// asks while no gateway is there waits for the next one, as in the backlog of a socket that somebody keeps.
type Site struct {
	breaches
	stage fake.Stage

	// Chance, where there is one, decides whether something happens to a plugin that happens to some. Nil: it does not.
	Chance func(what string) bool
	// Fate, where there is one, says what becomes of the gateway's calls.
	Fate func(op string) Call
	// Witness, where there is one, hears of everything.
	Witness Witness

	mu       sync.Mutex // guards what follows
	gateway  *Gateway   // nil: the runner is away
	files    map[msg.ExecutorID][]byte
	inputs   map[msg.ExecutorID]given // of child processes
	visitors map[msg.ExecutorID]*fake.World
	runs     []Run
	ran      map[msg.ExecutionID]msg.ExecutorID
	working  map[msg.ExecutorID]bool
}

// What may happen to a plugin.
const (
	Refused   = "its GET is refused for too long"
	AnswerCut = "the answer to its GET is cut"
	FileFirst = "its file is there before its callback"
	NoCall    = "its callback does not get through"
	OddExit   = "it exits 255 after its result"
	Crashes   = "it crashes in the middle of a job, and is started again"
	ReadsURL  = "it reads its URL again to deliver its result"
)

// Witness hears, within the deed itself, what happens at a site.
type Witness interface {
	Began(Run)
	Printed(of msg.ExecutionID, text string)
	Asked(msg.ExecutorID)                     // its GET waits
	Answered(msg.ExecutorID, msg.ExecutionID) // with a job, or with something else
	Lost(msg.ExecutorID)                      // its GET waits no longer
	Delivered(msg.ExecutionID)                // its result was taken, or is in its file
}

func (s *Site) witness() Witness {
	if s.Witness == nil {
		return nobody{}
	}
	return s.Witness
}

// nobody is a witness that hears nothing.
type nobody struct{}

func (nobody) Began(Run)                                {}
func (nobody) Printed(msg.ExecutionID, string)          {}
func (nobody) Asked(msg.ExecutorID)                     {}
func (nobody) Answered(msg.ExecutorID, msg.ExecutionID) {}
func (nobody) Lost(msg.ExecutorID)                      {}
func (nobody) Delivered(msg.ExecutionID)                {}

// Run is a job that a plugin has begun.
type Run struct {
	Execution msg.ExecutionID
	Executor  msg.ExecutorID
	Image     string
}

// NewSite has no gateway yet.
func NewSite() *Site { return NewSiteOn(fake.Live()) }

// NewSiteOn is NewSite, on a stage.
func NewSiteOn(stage fake.Stage) *Site {
	return &Site{stage: stage, files: map[msg.ExecutorID][]byte{}, inputs: map[msg.ExecutorID]given{}, visitors: map[msg.ExecutorID]*fake.World{},
		ran: map[msg.ExecutionID]msg.ExecutorID{}, working: map[msg.ExecutorID]bool{}}
}

func (s *Site) chance(what string) bool { return s.Chance != nil && s.Chance(what) }

// Runs lists what was begun, in order.
func (s *Site) Runs() []Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.runs)
}

// LosePower is what a loss of power does to result files that nobody has synced: some are lost.
func (s *Site) LosePower(survives func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(s.files)) {
		if !survives() {
			delete(s.files, id)
		}
	}
}

// Cut is the loss of the connection on which an executor's GET waits, if one does.
func (s *Site) Cut(id msg.ExecutorID) {
	if g := s.now(); g != nil {
		g.Cut(id)
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
	for _, id := range slices.Sorted(maps.Keys(s.visitors)) {
		s.visitors[id].Wake()
	}
}

func (s *Site) now() *Gateway {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gateway
}

// enter lets a plugin be woken when something changes at its door; leave ends that.
func (s *Site) enter(w *fake.World) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.visitors[w.Spec.ID] = w
}

func (s *Site) leave(w *fake.World) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.visitors, w.Spec.ID)
}

func (s *Site) wake(id msg.ExecutorID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.visitors[id]; w != nil {
		w.Wake()
	}
}

// introduce lets the gateway recognise a plugin's SDK.
func (s *Site) introduce(id msg.ExecutorID, sdk msg.SDK) {
	g := s.now()
	if g == nil || sdk == "" {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.endpoints[id]; e != nil && e.sdk == "" {
		e.sdk = sdk
		e.add(msg.SDKDetected{SDK: sdk})
	}
}

// begin notes that a plugin runs a job.
func (s *Site) begin(r Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if other, again := s.ran[r.Execution]; again {
		s.add("I2: %s runs in %s, and ran in %s", r.Execution, r.Executor, other)
	}
	s.ran[r.Execution] = r.Executor
	s.working[r.Executor] = true
	s.runs = append(s.runs, r)
	s.witness().Began(r)
}

// write is a plugin's: into the file that OUTPUT_LOCATION names.
func (s *Site) write(id msg.ExecutorID, body []byte) {
	s.stage.Do("result file", func() {
		s.mu.Lock()
		s.files[id] = body
		s.mu.Unlock()
		s.fileChanged(id)
	})
}

// callbackTime is how long a plugin waits for the answer to its callback.
const callbackTime = 45 * time.Second

// call brings a result to a job's URL, and reports whether it was taken.
func (s *Site) call(ctx context.Context, w *fake.World, job msg.ExecutionID, body []byte) (taken bool) {
	var r *request
	end := time.Now().Add(callbackTime)
	_ = w.Until(ctx, "callback", func() (done bool, again time.Time) {
		if r == nil {
			if s.chance(NoCall) {
				return true, again
			}
			var found bool
			r, found = s.post(w.Spec.ID, job, body)
			return r == nil || !found, end
		}
		a, lost := r.result()
		if taken = a != nil; taken && !bytes.Equal(body, tooLarge) {
			s.witness().Delivered(job)
		}
		return taken || lost || !time.Now().Before(end), end
	})
	if !taken {
		s.stage.Do("callback ends", func() { r.hangUp() })
	}
	return taken
}

// deliver brings a result: to the file, and by callback unless it is for the file only.
func (s *Site) deliver(ctx context.Context, w *fake.World, in given, body []byte, how Errand, fileFirst bool) (taken bool) {
	if how.TooLarge {
		body = tooLarge
	}
	switch {
	case how.FileOnly:
		s.write(w.Spec.ID, body)
	case fileFirst:
		s.write(w.Spec.ID, body)
		return s.call(ctx, w, in.execution, body)
	case !s.call(ctx, w, in.execution, body):
		s.write(w.Spec.ID, body)
	}
	return true
}

// bogus is an SDK's error about the job after in: on the URL of in, and over its result file.
func (s *Site) bogus(ctx context.Context, w *fake.World, in given) {
	body := resultOf(in.key, -1)
	s.write(w.Spec.ID, body)
	s.call(ctx, w, in.execution, body)
}

// given is a job as the plugin gets it.
type given struct {
	execution msg.ExecutionID
	key       seal.Key
	input     string
}

// hasWorked: a plugin is done with its job, and about to deliver the result.
func (s *Site) hasWorked(id msg.ExecutorID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.working, id)
}

func (s *Site) isWorking(id msg.ExecutorID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.working[id]
}

func (s *Site) leaveInput(id msg.ExecutorID, in given) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inputs[id] = in
}

func (s *Site) inputOf(id msg.ExecutorID) (given, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, ok := s.inputs[id]
	return in, ok
}
