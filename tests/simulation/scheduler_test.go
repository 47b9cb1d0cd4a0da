package simulation

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"runnerd/infra/driver/fake"
)

// scheduler runs one action after another. The seed chooses each among those that are ready. The scheduler runs in the main goroutine
// of the synctest bubble. The actions that goroutines request between two steps are sorted before the choice, so the order in which the
// Go runtime ran the goroutines has no effect.
type scheduler struct {
	rng   *rand.Rand
	trace *trace

	// Owned by the scheduling goroutine.
	steps       int
	ready       []*action
	isSuspended func(*action) bool // if not nil, actions for which it is true wait
	afterStep   func()             // called after every step
	halted      bool               // run returns after the present step
	timerCount  uint64

	mu        sync.Mutex
	current   uint64              // the goroutine whose turn it is: its actions run at once
	self      uint64              // the scheduling goroutine
	routines  map[uint64]*routine // by goroutine
	requested []*action           // since the last step
	timers    []*action           // in order
	wakeUp    chan struct{}       // an action was requested
}

// action is a function to run as one step.
type action struct {
	path    string
	n, seq  uint64 // seq: not 0 for the actions of one goroutine, which keep their order
	what    string
	when    time.Time // timers only
	process *process  // nil: the action does not belong to the runner
	do      func()
}

func compareActions(a, b *action) int {
	return cmp.Or(a.when.Compare(b.when), strings.Compare(a.path, b.path), cmp.Compare(a.n, b.n), cmp.Compare(a.seq, b.seq), strings.Compare(a.what, b.what))
}

// routine identifies a goroutine.
type routine struct {
	path       string
	n, seq     uint64
	process    *process
	turn       bool
	mayOutlive bool // a goroutine of an ending actor may outlive its process by the actor runtime's grace time
}

var _ fake.Scheduler = (*scheduler)(nil)

// newScheduler is called in a bubble, by the goroutine that will call run.
func newScheduler(rng *rand.Rand, tr *trace) *scheduler {
	me := goroutineID()
	return &scheduler{rng: rng, trace: tr, current: me, self: me, routines: map[uint64]*routine{}, wakeUp: make(chan struct{}, 1), afterStep: func() {}}
}

// run runs actions until that time, or until it is halted.
func (s *scheduler) run(until time.Time) {
	s.halted = false
	for !s.halted {
		next := s.collect(until)
		if i := s.choose(); i >= 0 {
			d := s.ready[i]
			s.ready = slices.Delete(s.ready, i, i+1)
			s.steps++
			s.trace.add(d.path, d.n, d.what)
			d.do()
			s.settle()
			s.afterStep()
			continue
		}
		if !time.Now().Before(until) {
			return
		}
		s.idle(next)
	}
}

// settle waits until all other goroutines are blocked.
func (s *scheduler) settle() {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.routines[s.current]; r != nil {
		panic(fmt.Sprintf("the turn of %s blocks outside the scheduler", r.path))
	}
	s.current = s.self
}

// collect makes requested actions and due timers ready, and returns when the next timer is due.
func (s *scheduler) collect(until time.Time) time.Time {
	s.settle()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for len(s.timers) > 0 && !s.timers[0].when.After(now) {
		s.requested = append(s.requested, s.timers[0])
		s.timers = s.timers[1:]
	}
	slices.SortStableFunc(s.requested, compareActions)
	s.ready = append(s.ready, s.requested...)
	s.requested = s.requested[:0]
	if len(s.timers) > 0 && s.timers[0].when.Before(until) {
		return s.timers[0].when
	}
	return until
}

// choose returns the index of the next action, or -1 if none is ready. The actions of one goroutine keep their order.
func (s *scheduler) choose() int {
	choices := len(s.ready)
	if s.isSuspended != nil {
		choices = 0
		for _, d := range s.ready {
			if !s.isSuspended(d) {
				choices++
			}
		}
	}
	if choices == 0 {
		return -1
	}
	nth := s.rng.IntN(choices)
	at := nth
	if s.isSuspended != nil {
		at = slices.IndexFunc(s.ready, func(d *action) bool {
			if s.isSuspended(d) {
				return false
			}
			nth--
			return nth < 0
		})
	}
	if d := s.ready[at]; d.seq > 0 {
		at = slices.IndexFunc(s.ready, func(o *action) bool { return o.seq > 0 && o.n == d.n && o.path == d.path && o.process == d.process })
	}
	return at
}

func (s *scheduler) idle(next time.Time) {
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	select { // either way, run collects next
	case <-s.wakeUp:
	case <-timer.C:
	}
}

func (s *scheduler) enqueue(d *action) {
	if d.process.isKilled() {
		return
	}
	s.mu.Lock()
	if d.when.IsZero() {
		s.requested = append(s.requested, d)
	} else {
		i, _ := slices.BinarySearchFunc(s.timers, d, compareActions)
		s.timers = slices.Insert(s.timers, i, d)
	}
	s.mu.Unlock()
	select {
	case s.wakeUp <- struct{}{}:
	default:
	}
}

func (s *scheduler) cancelTimer(d *action) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.timers, d); i >= 0 {
		s.timers = slices.Delete(s.timers, i, i+1)
	}
}

// schedule runs fn after d, as an action that does not belong to the runner.
func (s *scheduler) schedule(d time.Duration, what string, fn func()) {
	s.timerCount++
	s.enqueue(&action{path: "fault", n: s.timerCount, what: what, when: time.Now().Add(max(d, 1)), do: fn})
}

// start starts a goroutine. It is called in an action.
func (s *scheduler) start(r routine, fn func()) {
	go func() {
		id := goroutineID()
		s.mu.Lock()
		s.routines[id] = &r
		if r.turn {
			s.current = id
		}
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.routines, id)
			if s.current == id {
				s.current = 0
			}
		}()
		fn()
	}()
}

// caller returns the calling goroutine's routine, or nil if the caller is already inside an action.
func (s *scheduler) caller() *routine {
	id := goroutineID()
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == s.current || id == s.self {
		return nil
	}
	r := s.routines[id]
	if r == nil {
		panic("called by a goroutine that the scheduler did not start")
	}
	r.seq++
	return r
}

// block waits for ch. If the process is killed first, it ends the goroutine.
func (l *process) block(ch <-chan struct{}) {
	if l == nil {
		<-ch
		return
	}
	select {
	case <-ch:
	case <-l.killed:
		runtime.Goexit()
	}
}

// Do runs fn as an action, or at once if the caller is inside an action.
func (s *scheduler) Do(what string, fn func()) {
	if r := s.caller(); r != nil {
		s.runAs(r, what, fn)
	} else {
		fn()
	}
}

func (s *scheduler) runAs(r *routine, what string, fn func()) {
	if r.process.isKilled() {
		runtime.Goexit()
	}
	done := make(chan struct{})
	s.enqueue(&action{path: r.path, n: r.n, seq: r.seq, what: what, process: r.process, do: func() {
		fn()
		close(done)
	}})
	r.process.block(done)
	r.process.taskPoint(r)
}

// Until runs try, as an action each time, until it reports done or ctx has ended.
func (s *scheduler) Until(ctx context.Context, what string, try fake.Try) error {
	r := s.caller()
	if r == nil {
		panic("a wait inside an action: " + what)
	}
	for {
		var done, ended bool
		var changed <-chan struct{}
		var again time.Time
		s.runAs(r, what, func() {
			done, changed, again = try()
			ended = ctx.Err() != nil
		})
		switch {
		case done:
			return nil
		case ended:
			return context.Cause(ctx)
		}
		s.waitForChange(ctx, r, what, changed, again)
		s.mu.Lock()
		r.seq++
		s.mu.Unlock()
	}
}

func (s *scheduler) waitForChange(ctx context.Context, r *routine, what string, changed <-chan struct{}, again time.Time) {
	var due chan struct{}
	if !again.IsZero() {
		due = make(chan struct{})
		timer := &action{path: r.path, n: r.n, seq: r.seq, what: what + ": time", process: r.process, when: again, do: func() { close(due) }}
		s.enqueue(timer)
		defer s.cancelTimer(timer)
	}
	var killed <-chan struct{}
	if r.process != nil {
		killed = r.process.killed
	}
	select { // the next try decides what it means
	case <-changed:
	case <-due:
	case <-ctx.Done():
	case <-killed:
		runtime.Goexit()
	}
}

// Go starts a goroutine that does not belong to the runner.
func (s *scheduler) Go(name string, fn func()) {
	s.timerCount++
	r := routine{path: "simulated/" + name, n: s.timerCount}
	s.enqueue(&action{path: r.path, n: r.n, what: "begins", do: func() { s.start(r, fn) }})
}

// goroutineID reads the running goroutine's id from the first line of its stack trace ("goroutine 7 [").
func goroutineID() (id uint64) {
	var head [40]byte
	runtime.Stack(head[:], false)
	for _, c := range head[len("goroutine "):] {
		if c == ' ' {
			break
		}
		id = id*10 + uint64(c-'0')
	}
	return id
}
