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

// stepper decides who acts when: one deed after another, each chosen by the seed among those that are ready. It runs in the
// bubble's own goroutine. What goroutines ask for between two steps is sorted before it is chosen from, so the order in which the
// Go runtime ran them leaves no mark.
type stepper struct {
	rng   *rand.Rand
	trace *trace

	// Owned by the stepping goroutine.
	steps  int
	ready  []*deed
	holds  func(*deed) bool // not nil: these are not to be chosen now
	after  func()           // called after every step
	halted bool             // run returns
	armed  uint64

	mu       sync.Mutex
	at       uint64           // the goroutine whose turn it is: what it does, it does at once
	stepping uint64           // the stepping goroutine
	actors   map[uint64]*role // by goroutine
	asked    []*deed          // since the last step
	timers   []*deed          // in order
	somebody chan struct{}    // has asked
}

// deed is something that is to be done as a step.
type deed struct {
	path   string
	n, seq uint64 // seq: not zero for one of many of one goroutine, which keep their order
	what   string
	when   time.Time // timers only
	life   *life     // nil: the world's
	do     func()
}

func order(a, b *deed) int {
	return cmp.Or(a.when.Compare(b.when), strings.Compare(a.path, b.path), cmp.Compare(a.n, b.n), cmp.Compare(a.seq, b.seq), strings.Compare(a.what, b.what))
}

// role is who a goroutine is.
type role struct {
	path   string
	n, seq uint64
	life   *life
	turn   bool
	waits  bool // for goroutines of an actor that ends, for as long as the shell's grace
}

var _ fake.Stage = (*stepper)(nil)

// newStepper is called in a bubble, by the goroutine that will step.
func newStepper(rng *rand.Rand, tr *trace) *stepper {
	me := goroutine()
	return &stepper{rng: rng, trace: tr, at: me, stepping: me, actors: map[uint64]*role{}, somebody: make(chan struct{}, 1), after: func() {}}
}

// run steps until that time, or until it is halted.
func (s *stepper) run(until time.Time) {
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
			s.after()
			continue
		}
		if !time.Now().Before(until) {
			return
		}
		s.idle(next)
	}
}

// settle waits until nobody goes on by himself.
func (s *stepper) settle() {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.actors[s.at]; r != nil {
		panic(fmt.Sprintf("the turn of %s blocks outside the seam", r.path))
	}
	s.at = s.stepping
}

// collect takes in what was asked for and what is due, and returns when the next thing is due.
func (s *stepper) collect(until time.Time) time.Time {
	s.settle()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for len(s.timers) > 0 && !s.timers[0].when.After(now) {
		s.asked = append(s.asked, s.timers[0])
		s.timers = s.timers[1:]
	}
	slices.SortStableFunc(s.asked, order)
	s.ready = append(s.ready, s.asked...)
	s.asked = s.asked[:0]
	if len(s.timers) > 0 && s.timers[0].when.Before(until) {
		return s.timers[0].when
	}
	return until
}

// choose returns which deed is next, negative: none is ready. A goroutine's own deeds keep their order.
func (s *stepper) choose() int {
	may := len(s.ready)
	if s.holds != nil {
		may = 0
		for _, d := range s.ready {
			if !s.holds(d) {
				may++
			}
		}
	}
	if may == 0 {
		return -1
	}
	nth := s.rng.IntN(may)
	at := nth
	if s.holds != nil {
		at = slices.IndexFunc(s.ready, func(d *deed) bool {
			if s.holds(d) {
				return false
			}
			nth--
			return nth < 0
		})
	}
	if d := s.ready[at]; d.seq > 0 {
		at = slices.IndexFunc(s.ready, func(o *deed) bool { return o.seq > 0 && o.n == d.n && o.path == d.path && o.life == d.life })
	}
	return at
}

func (s *stepper) idle(next time.Time) {
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	select { // either way: all of it is collected
	case <-s.somebody:
	case <-timer.C:
	}
}

func (s *stepper) ask(d *deed) {
	if d.life.isOver() {
		return
	}
	s.mu.Lock()
	if d.when.IsZero() {
		s.asked = append(s.asked, d)
	} else {
		i, _ := slices.BinarySearchFunc(s.timers, d, order)
		s.timers = slices.Insert(s.timers, i, d)
	}
	s.mu.Unlock()
	select {
	case s.somebody <- struct{}{}:
	default:
	}
}

func (s *stepper) drop(d *deed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.timers, d); i >= 0 {
		s.timers = slices.Delete(s.timers, i, i+1)
	}
}

// in does something of the world's after a while.
func (s *stepper) in(d time.Duration, what string, fn func()) {
	s.armed++
	s.ask(&deed{path: "fate", n: s.armed, what: what, when: time.Now().Add(max(d, 1)), do: fn})
}

// start is a step that starts a goroutine.
func (s *stepper) start(r role, fn func()) {
	go func() {
		id := goroutine()
		s.mu.Lock()
		s.actors[id] = &r
		if r.turn {
			s.at = id
		}
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.actors, id)
			if s.at == id {
				s.at = 0
			}
		}()
		fn()
	}()
}

// me is who calls; nil: somebody whose step it is.
func (s *stepper) me() *role {
	id := goroutine()
	s.mu.Lock()
	defer s.mu.Unlock()
	if id == s.at || id == s.stepping {
		return nil
	}
	r := s.actors[id]
	if r == nil {
		panic("a goroutine that the seam did not start")
	}
	r.seq++
	return r
}

// block waits for ch, or for the end of the life that the goroutine belongs to, which is its own.
func (l *life) block(ch <-chan struct{}) {
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

// Do is a step, unless it is the caller's step anyway.
func (s *stepper) Do(what string, fn func()) {
	if r := s.me(); r != nil {
		s.as(r, what, fn)
	} else {
		fn()
	}
}

func (s *stepper) as(r *role, what string, fn func()) {
	if r.life.isOver() {
		runtime.Goexit()
	}
	done := make(chan struct{})
	s.ask(&deed{path: r.path, n: r.n, seq: r.seq, what: what, life: r.life, do: func() {
		fn()
		close(done)
	}})
	r.life.block(done)
	r.life.crashes(r)
}

// Until is a step for every try.
func (s *stepper) Until(ctx context.Context, what string, try fake.Try) error {
	r := s.me()
	if r == nil {
		panic("somebody whose step it is waits to " + what)
	}
	for {
		var done, ended bool
		var changed <-chan struct{}
		var again time.Time
		s.as(r, what, func() {
			done, changed, again = try()
			ended = ctx.Err() != nil
		})
		switch {
		case done:
			return nil
		case ended:
			return context.Cause(ctx)
		}
		s.await(ctx, r, what, changed, again)
		s.mu.Lock()
		r.seq++
		s.mu.Unlock()
	}
}

func (s *stepper) await(ctx context.Context, r *role, what string, changed <-chan struct{}, again time.Time) {
	var due chan struct{}
	if !again.IsZero() {
		due = make(chan struct{})
		timer := &deed{path: r.path, n: r.n, seq: r.seq, what: what + ": time", life: r.life, when: again, do: func() { close(due) }}
		s.ask(timer)
		defer s.drop(timer)
	}
	var killed <-chan struct{}
	if r.life != nil {
		killed = r.life.killed
	}
	select { // a deed decides what it means
	case <-changed:
	case <-due:
	case <-ctx.Done():
	case <-killed:
		runtime.Goexit()
	}
}

// Go starts a program of the world's.
func (s *stepper) Go(name string, fn func()) {
	s.armed++
	r := role{path: "world/" + name, n: s.armed}
	s.ask(&deed{path: r.path, n: r.n, what: "begins", do: func() { s.start(r, fn) }})
}

// goroutine reads the number of the running one from the head of its stack trace ("goroutine 7 [").
func goroutine() (id uint64) {
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
