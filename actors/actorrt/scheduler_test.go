package actorrt

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// stepper is a minimal Scheduler that decides everything by a seed, one step at a time, in a synctest bubble. It shows that the Scheduler
// leaves no decision to the Go runtime. Latencies must differ, so that no two goroutines wake at the same instant.
type stepper struct {
	rng   *rand.Rand
	trace []string
	wake  chan struct{}

	mu    sync.Mutex
	asked []step // requested since the last step
	ready []step // owned by run
}

// step is one thing that the stepper may do next.
type step struct {
	path string
	n    uint64 // of a task; else 0
	do   func()
}

func (s *stepper) ask(path string, n uint64, do func()) {
	s.mu.Lock()
	s.asked = append(s.asked, step{path, n, do})
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *stepper) run(d time.Duration) {
	for end := time.After(d); ; {
		synctest.Wait()
		s.mu.Lock()
		slices.SortStableFunc(s.asked, func(a, b step) int {
			return cmp.Or(strings.Compare(a.path, b.path), cmp.Compare(a.n, b.n))
		})
		s.ready = append(s.ready, s.asked...)
		s.asked = nil
		s.mu.Unlock()
		if len(s.ready) == 0 {
			select {
			case <-s.wake:
				continue
			case <-end:
				return
			}
		}
		i := s.rng.IntN(len(s.ready))
		next := s.ready[i]
		s.ready = slices.Delete(s.ready, i, i+1)
		next.do()
	}
}

func (s *stepper) Turn(path string, fn func())           { s.ask(path, 0, func() { go fn() }) }
func (s *stepper) Task(path string, n uint64, fn func()) { s.ask(path, n, func() { go fn() }) }
func (s *stepper) Send(fn func())                        { fn() }
func (s *stepper) Await(_ string, wait func())           { wait() }
func (s *stepper) Float64() float64                      { return s.rng.Float64() }

func (s *stepper) Yield(path string, m any) {
	s.trace = append(s.trace, fmt.Sprintf("%v %s %T%v", time.Now().UnixMilli(), path, m, m))
	again := make(chan struct{})
	s.ask(path, 0, func() { close(again) })
	<-again
}

func (s *stepper) Point(string, any) {
	if s.rng.IntN(100) == 0 {
		panic("injected")
	}
}

func (s *stepper) After(path string, d time.Duration, fn func()) func() {
	t := time.AfterFunc(d, func() { s.ask(path, 0, fn) })
	return func() { t.Stop() }
}

// worker uses everything that the Scheduler controls: timers, tasks, streams and random numbers. The message -1 is its timer's; the others
// are results, which it passes on to its pool.
type worker struct {
	pool Ref[int]
	n    int
}

func (w *worker) Start(c *Ctx[int]) { c.After("again", w.pause(c), -1) }

func (w *worker) pause(c *Ctx[int]) time.Duration { return time.Duration(c.Jitter() * 1e9) }

func (w *worker) Receive(c *Ctx[int], m int) {
	if m >= 0 {
		w.pool.Tell(m)
		return
	}
	pause := w.pause(c)
	c.Go("work", func(ctx context.Context) int {
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		return int(pause)
	})
	c.Stream("flow", 2, func(_ context.Context, emit func(int) error) int {
		for n := range 5 {
			if emit(n) != nil {
				break
			}
		}
		return 5
	})
	c.After("again", w.pause(c), -1)
}

// pool supervises three workers, and replaces each after a crash. The message -1-n replaces worker n.
type pool struct{ crashes *int }

func (h *pool) Start(c *Ctx[int]) {
	for n := range 3 {
		h.spawn(c, n)
	}
}

func (h *pool) spawn(c *Ctx[int], n int) {
	Spawn(c, Spec[int]{fmt.Sprint(n), func() Behavior[int] { return &worker{pool: c.Self(), n: n} }})
}

func (h *pool) Receive(c *Ctx[int], m int) {
	if m < 0 {
		h.spawn(c, -1-m)
	}
}

func (h *pool) ChildDown(c *Ctx[int], d Down) {
	*h.crashes++
	c.After(d.Name, time.Second, -1-int(d.Name[0]-'0'))
}

// simulate returns the trace of a simulated minute, and how many workers crashed.
func simulate(t *testing.T, seed uint64) (trace []string, crashes int) {
	synctest.Test(t, func(t *testing.T) {
		s := &stepper{rng: rand.New(rand.NewPCG(seed, 0)), wake: make(chan struct{}, 1)}
		sys := NewSystem(Options{Log: zerolog.Nop(), Scheduler: faultlessRoot{s}})
		if _, err := SpawnRoot(sys, Spec[int]{"pool", func() Behavior[int] { return &pool{&crashes} }}); err != nil {
			t.Fatal(err)
		}
		s.run(time.Minute)
		trace = slices.Clone(s.trace)
		stopped := make(chan error, 1)
		go func() { stopped <- sys.Stop(t.Context()) }()
		s.run(time.Minute)
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	return trace, crashes
}

// faultlessRoot injects no crash into the root, which would end the simulation.
type faultlessRoot struct{ *stepper }

func (c faultlessRoot) Point(path string, m any) {
	if path != "pool" {
		c.stepper.Point(path, m)
	}
}

func TestSameSeedGivesSameTrace(t *testing.T) {
	different := map[string]bool{}
	for seed := range uint64(5) {
		first, crashes := simulate(t, seed)
		second, _ := simulate(t, seed)
		if !slices.Equal(first, second) {
			for i := range first {
				if i >= len(second) || first[i] != second[i] {
					t.Fatalf("seed %d: two runs differ at line %d of %d: %s", seed, i, len(first), first[i])
				}
			}
		}
		if len(first) < 1000 || crashes == 0 {
			t.Errorf("seed %d: only %d messages and %d crashes", seed, len(first), crashes)
		}
		different[strings.Join(first, "\n")] = true
	}
	if len(different) != 5 {
		t.Error("five seeds gave", len(different), "different traces")
	}
}
