package crash

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/tests/rig"
)

// mode is a world in which a runner is killed.
type mode struct {
	name     string
	capacity int
	eviction time.Duration
	images   func() []string
}

func modes() []mode {
	return []mode{
		{name: "daemon mode", capacity: 3, eviction: 2 * time.Second, images: func() []string { return []string{shop.Blue, shop.Green} }},
		{name: "normal mode", capacity: 3, images: func() []string { return []string{shop.Blue} }},
	}
}

// histogram counts the kills of all worlds.
type histogram struct {
	mu   sync.Mutex
	left int // kills to come
	hits map[row]int
}

// more reports whether another kill is due, and takes it.
func (h *histogram) more() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.left--
	return h.left >= 0
}

func (h *histogram) add(r row) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hits[r]++
}

func (h *histogram) String() string {
	var text strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&text, "%4d  %s\n", h.hits[r], r)
	}
	return text.String()
}

func TestWhereverTheRunnerIsKilledEveryJobRunsOnceAndNothingIsLost(t *testing.T) {
	h := &histogram{left: *kills, hits: map[row]int{}}
	t.Run("rows", func(t *testing.T) {
		for i, m := range modes() {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				s := newSiege(t, m, rand.New(rand.NewPCG(*seed, uint64(i))), h)
				s.kill()
				s.judge()
			})
		}
	})
	t.Logf("kills by row, with -seed=%d:\n%s", *seed, h)
	for _, r := range wanted() {
		if h.hits[r] == 0 && !t.Failed() {
			t.Errorf("no runner was killed %s: nothing is proven of it", r)
		}
	}
}

// siege is a runner that works, and is killed again and again.
type siege struct {
	*rig.World
	mode   mode
	chance *rand.Rand
	hits   *histogram
	trap   *trap
	load   *load
}

func newSiege(t *testing.T, m mode, chance *rand.Rand, h *histogram) *siege {
	s := &siege{mode: m, chance: chance, hits: h, trap: &trap{}}
	door := shop.Door(t)
	door.Front = s.trap.door
	door.Lift()
	s.World = shop.World(t, rig.Plan{
		Capacity: m.capacity, Eviction: m.eviction, Lease: 2 * time.Second, Env: []string{door.Env()},
		Front: s.trap.front(func() *devserver.Server { return s.Server }), NoRunner: true,
	})
	s.Start()
	s.Ready()
	s.trap.watchSpool(t, s.Spool())
	s.Kill()
	s.load = &load{w: s.World, images: m.images(), bell: s.World.Bell()}
	return s
}

// kill kills the runner again and again, at every row in turn, for as long as kills are left.
func (s *siege) kill() {
	s.T.Helper()
	s.load.begin(2 * s.mode.capacity)
	defer s.load.end() // when the last runner has dealt with it
	began, times := time.Now(), 0
	for order := []row(nil); s.hits.more(); times++ {
		if len(order) == 0 {
			order = wanted()
			s.chance.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		}
		s.killAt(order[0])
		order = order[1:]
	}
	s.T.Logf("killed %d times in %v", times, time.Since(began))
	s.Start()
}

// killAt starts the runner, and kills it at this row.
func (s *siege) killAt(at row) {
	s.T.Helper()
	sprung := s.trap.set(at, func() *rig.Process { return s.Start() })
	if longest := atRandom[at]; longest > 0 {
		time.AfterFunc(time.Duration(s.chance.Int64N(int64(longest))), func() { s.trap.happens(at) })
	}
	select {
	case <-sprung:
	case <-time.After(rig.Patience):
		s.T.Fatalf("it never was so that the runner could be killed %s\n%s", at, s.Runner.Tail())
	}
	s.Ends()
	s.hits.add(at)
}

// wanted are the rows of this run.
func wanted() []row {
	return slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return !strings.Contains(string(r), *only) })
}
