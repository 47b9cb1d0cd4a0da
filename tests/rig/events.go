package rig

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

// The labels of executors.
const (
	runnerLabel   = "runnerd.runner"
	executorLabel = "runnerd.executor"
)

// Events is what the engine tells about executors, whose they may be.
type Events struct {
	mu  sync.Mutex
	all []events.Message
	err error
}

// Watch returns once the engine tells them.
func (s *Shop) Watch(t *testing.T) *Events {
	t.Helper()
	log, ctx := &Events{}, t.Context()
	messages, errs := s.Engine.Events(ctx, events.ListOptions{
		Since:   time.Now().Format(time.RFC3339Nano),
		Filters: filters.NewArgs(filters.Arg("type", "container"), filters.Arg("label", executorLabel)),
	})
	go func() {
		for {
			select {
			case m := <-messages:
				log.add(m)
			case err := <-errs:
				log.end(ctx, err)
				return
			}
		}
	}()
	return log
}

func (l *Events) add(m events.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, m)
}

func (l *Events) end(ctx context.Context, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() == nil {
		l.err = err
	}
}

// event is one of an executor.
type event struct {
	executor string
	action   events.Action // create, start, kill, die, destroy
	signal   string        // of kill
	at       time.Time
}

// of returns the events of one runner's executors, in their order.
func (l *Events) of(t *testing.T, runner string) (own []event) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		t.Fatalf("the engine's events ended: %v", l.err)
	}
	for _, m := range l.all {
		if a := m.Actor.Attributes; a[runnerLabel] == runner {
			own = append(own, event{a[executorLabel], m.Action, a["signal"], time.Unix(0, m.TimeNano)})
		}
	}
	return own
}

// Lives is what the engine's events say of a runner's executors.
type Lives struct {
	Created []string // in their order
	Most    int      // at the same time, from create to die, and from a start after that
	Alive   map[string]bool
	Died    map[string]time.Time
}

// Lives tells what the engine has told so far.
func (w *World) Lives() Lives {
	w.T.Helper()
	return w.livesSince(time.Time{})
}

// MostSince is how many executors there were at the same time when one was created, not counting creations before.
func (w *World) MostSince(began time.Time) int {
	w.T.Helper()
	return w.livesSince(began).Most
}

func (w *World) livesSince(began time.Time) Lives {
	w.T.Helper()
	l := Lives{Alive: map[string]bool{}, Died: map[string]time.Time{}}
	appears := func(e event) {
		l.Alive[e.executor] = true
		if e.at.After(began) {
			l.Most = max(l.Most, len(l.Alive))
		}
	}
	for _, e := range w.events.of(w.T, w.UUID) {
		switch e.action {
		case events.ActionCreate:
			l.Created = append(l.Created, e.executor)
			appears(e)
		case events.ActionStart:
			if !l.Alive[e.executor] { // somebody restarted it
				delete(l.Died, e.executor)
				appears(e)
			}
		case events.ActionDie:
			l.Died[e.executor] = e.at
			delete(l.Alive, e.executor)
		case events.ActionDestroy: // one that was never started does not die
			delete(l.Alive, e.executor)
		}
	}
	return l
}

// Signals are those that an executor was sent.
func (w *World) Signals(executor string) (sent []string) {
	for _, e := range w.events.of(w.T, w.UUID) {
		if e.executor == executor && e.action == events.ActionKill {
			sent = append(sent, e.signal)
		}
	}
	return sent
}

// AllDie waits until no executor is alive.
func (w *World) AllDie() {
	w.T.Helper()
	Until(w.T, "all executors are gone", func() bool { return len(w.Lives().Alive) == 0 })
}

// NoMoreThan checks the capacity by the engine's event stream.
func (w *World) NoMoreThan(capacity int) Lives {
	w.T.Helper()
	l := w.Lives()
	if len(l.Created) == 0 {
		w.T.Error("the engine has told of no executor: nothing is proven")
	}
	if l.Most > capacity {
		w.T.Errorf("%d executors at the same time, the capacity is %d: %v", l.Most, capacity, w.events.of(w.T, w.UUID))
	}
	return l
}

// Containers are the runner's, in any state, by executor.
func (s *Shop) Containers(t *testing.T, runner string) map[string]container.Summary {
	t.Helper()
	found, err := s.Engine.ContainerList(context.Background(), container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", runnerLabel+"="+runner)),
	})
	Must(t, err)
	byExecutor := map[string]container.Summary{}
	for _, c := range found {
		byExecutor[c.Labels[executorLabel]] = c
	}
	return byExecutor
}

// Only returns the executor that there is, where there is only one.
func (w *World) Only() string {
	w.T.Helper()
	all := w.shop.Containers(w.T, w.UUID)
	if len(all) != 1 {
		w.T.Fatalf("there are %d executors: %v", len(all), all)
	}
	return slices.Collect(maps.Keys(all))[0]
}

// RunnersOf are those that made executors of images whose names begin so.
func (l *Events) RunnersOf(image string) map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	runners := map[string]bool{}
	for _, m := range l.all {
		if a := m.Actor.Attributes; strings.HasPrefix(a["runnerd.image"], image) {
			runners[a[runnerLabel]] = true
		}
	}
	return runners
}
