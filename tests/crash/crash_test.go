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
	"runnerd/tests/harness"
)

// mode is a configuration of the runner that is killed.
type mode struct {
	name     string
	capacity int
	eviction time.Duration
	images   func() []string
}

func modes() []mode {
	return []mode{
		{name: "daemon mode", capacity: 3, eviction: 2 * time.Second, images: func() []string { return []string{shared.Blue, shared.Green} }},
		{name: "single-job mode", capacity: 3, images: func() []string { return []string{shared.Blue} }},
	}
}

// killCounts counts the kills of all modes.
type killCounts struct {
	mu        sync.Mutex
	remaining int // kills that are still to do
	counts    map[killPoint]int
}

// next reports whether another kill is to be done, and counts it as taken.
func (c *killCounts) next() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remaining--
	return c.remaining >= 0
}

func (c *killCounts) add(p killPoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[p]++
}

func (c *killCounts) String() string {
	var text strings.Builder
	for _, p := range killPoints {
		fmt.Fprintf(&text, "%4d  %s\n", c.counts[p], p)
	}
	return text.String()
}

// The runner is killed at every kill point; every job must run once and nothing may be lost.
func TestKilledRunnerLosesNoJob(t *testing.T) {
	counts := &killCounts{remaining: *kills, counts: map[killPoint]int{}}
	t.Run("modes", func(t *testing.T) {
		for i, m := range modes() {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				s := newCrashLoop(t, m, rand.New(rand.NewPCG(*seed, uint64(i))), counts)
				s.killRepeatedly()
				s.check()
			})
		}
	})
	t.Logf("kills by kill point, with -seed=%d:\n%s", *seed, counts)
	for _, p := range selectedPoints() {
		if counts.counts[p] == 0 && !t.Failed() {
			t.Errorf("no runner was killed %s: this kill point is untested", p)
		}
	}
}

// crashLoop kills a busy runner repeatedly.
type crashLoop struct {
	*harness.Env
	mode   mode
	random *rand.Rand
	counts *killCounts
	killer *killer
	load   *load
}

func newCrashLoop(t *testing.T, m mode, random *rand.Rand, counts *killCounts) *crashLoop {
	s := &crashLoop{mode: m, random: random, counts: counts, killer: &killer{}}
	proxy := shared.NewEngineProxy(t)
	proxy.Intercept = s.killer.interceptEngine
	proxy.Listen()
	s.Env = shared.NewEnv(t, harness.Options{
		Capacity: m.capacity, Eviction: m.eviction, Lease: 2 * time.Second, Environ: []string{proxy.Environ()},
		Intercept: s.killer.interceptServer(func() *devserver.Server { return s.Server }), NoRunner: true,
	})
	s.Start()
	s.WaitReady()
	s.killer.watchSpool(t, s.Spool())
	s.Kill()
	s.load = &load{env: s.Env, images: m.images(), notifier: s.Env.NewNotifier()}
	return s
}

// killRepeatedly kills the runner at every kill point in turn, in random order, until no kills remain.
func (s *crashLoop) killRepeatedly() {
	s.T.Helper()
	s.load.start(2 * s.mode.capacity)
	defer s.load.stop() // waits until the runner that is started last has finished all jobs
	began, times := time.Now(), 0
	for order := []killPoint(nil); s.counts.next(); times++ {
		if len(order) == 0 {
			order = selectedPoints()
			s.random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		}
		s.killAt(order[0])
		order = order[1:]
	}
	s.T.Logf("killed %d times in %v", times, time.Since(began))
	s.Start()
}

// killAt starts the runner and kills it at a kill point.
func (s *crashLoop) killAt(p killPoint) {
	s.T.Helper()
	killed := s.killer.arm(p, func() *harness.Process { return s.Start() })
	if longest := randomPoints[p]; longest > 0 {
		time.AfterFunc(time.Duration(s.random.Int64N(int64(longest))), func() { s.killer.reached(p) })
	}
	select {
	case <-killed:
	case <-time.After(harness.Timeout):
		s.T.Fatalf("the kill point was not reached: %s\n%s", p, s.Runner.LogTail())
	}
	s.WaitExit()
	s.counts.add(p)
}

// selectedPoints returns the kill points of this run.
func selectedPoints() []killPoint {
	return slices.DeleteFunc(slices.Clone(killPoints), func(p killPoint) bool { return !strings.Contains(string(p), *only) })
}
