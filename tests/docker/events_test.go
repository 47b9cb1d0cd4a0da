package docker

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

// eventLog is what the engine tells about executors, whose they may be.
type eventLog struct {
	mu  sync.Mutex
	all []events.Message
	err error
}

// watchEvents returns once the engine tells them.
func watchEvents(t *testing.T) *eventLog {
	t.Helper()
	log, ctx := &eventLog{}, t.Context()
	messages, errs := shop.engine.Events(ctx, events.ListOptions{
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

func (l *eventLog) add(m events.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, m)
}

func (l *eventLog) end(ctx context.Context, err error) {
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
func (l *eventLog) of(t *testing.T, runner string) (own []event) {
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

// lives is what the engine's events say of a runner's executors.
type lives struct {
	created []string // in their order
	most    int      // at the same time, from create to die
	alive   map[string]bool
	died    map[string]time.Time
}

func (w *world) lives() lives {
	w.t.Helper()
	l := lives{alive: map[string]bool{}, died: map[string]time.Time{}}
	for _, e := range w.events.of(w.t, w.uuid) {
		switch e.action {
		case events.ActionCreate:
			l.created = append(l.created, e.executor)
			l.alive[e.executor] = true
			l.most = max(l.most, len(l.alive))
		case events.ActionDie:
			l.died[e.executor] = e.at
			delete(l.alive, e.executor)
		case events.ActionDestroy: // one that was never started does not die
			delete(l.alive, e.executor)
		}
	}
	return l
}

// signals are those that an executor was sent.
func (w *world) signals(executor string) (sent []string) {
	for _, e := range w.events.of(w.t, w.uuid) {
		if e.executor == executor && e.action == events.ActionKill {
			sent = append(sent, e.signal)
		}
	}
	return sent
}

// allDie waits until no executor is alive.
func (w *world) allDie() {
	w.t.Helper()
	until(w.t, "all executors are gone", func() bool { return len(w.lives().alive) == 0 })
}

// noMoreThan checks the capacity by the engine's event stream.
func (w *world) noMoreThan(capacity int) lives {
	w.t.Helper()
	l := w.lives()
	if len(l.created) == 0 {
		w.t.Error("the engine has told of no executor: nothing is proven")
	}
	if l.most > capacity {
		w.t.Errorf("%d executors at the same time, the capacity is %d: %v", l.most, capacity, w.events.of(w.t, w.uuid))
	}
	return l
}

// containers are the runner's, in any state, by executor.
func containers(t *testing.T, runner string) map[string]container.Summary {
	t.Helper()
	found, err := shop.engine.ContainerList(context.Background(), container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", runnerLabel+"="+runner)),
	})
	must(t, err)
	byExecutor := map[string]container.Summary{}
	for _, c := range found {
		byExecutor[c.Labels[executorLabel]] = c
	}
	return byExecutor
}

// only returns the executor that there is, where there is only one.
func (w *world) only() string {
	w.t.Helper()
	all := containers(w.t, w.uuid)
	if len(all) != 1 {
		w.t.Fatalf("there are %d executors: %v", len(all), all)
	}
	return slices.Collect(maps.Keys(all))[0]
}

// runnersOf are those that made executors of images whose names begin so.
func (l *eventLog) runnersOf(image string) map[string]bool {
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
