package harness

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

// Labels of executors.
const (
	runnerLabel   = "runnerd.runner"
	executorLabel = "runnerd.executor"
)

// EventLog collects the engine's events about executors of all runners.
type EventLog struct {
	mu  sync.Mutex
	all []events.Message
	err error
}

// WatchEvents collects events until the test ends.
func (h *Harness) WatchEvents(t *testing.T) *EventLog {
	t.Helper()
	log, ctx := &EventLog{}, t.Context()
	messages, errs := h.Engine.Events(ctx, events.ListOptions{
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

func (l *EventLog) add(m events.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, m)
}

func (l *EventLog) end(ctx context.Context, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ctx.Err() == nil {
		l.err = err
	}
}

// event is an event of an executor.
type event struct {
	executor string
	action   events.Action // create, start, kill, die, destroy
	signal   string        // of kill
	at       time.Time
}

// of returns the events of one runner's executors, in order.
func (l *EventLog) of(t *testing.T, runner string) (own []event) {
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

// Executors describes a runner's executors according to the engine's events.
type Executors struct {
	Created  []string // in order
	MaxAlive int      // most executors at the same time; one is alive from its creation or a restart until it dies
	Alive    map[string]bool
	Died     map[string]time.Time
}

// Executors returns the state after all events received so far.
func (e *Env) Executors() Executors {
	e.T.Helper()
	return e.executorsSince(time.Time{})
}

// MaxAliveSince is like Executors().MaxAlive, but looks only at the moments after began at which an executor appeared.
func (e *Env) MaxAliveSince(began time.Time) int {
	e.T.Helper()
	return e.executorsSince(began).MaxAlive
}

func (e *Env) executorsSince(began time.Time) Executors {
	e.T.Helper()
	l := Executors{Alive: map[string]bool{}, Died: map[string]time.Time{}}
	appear := func(ev event) {
		l.Alive[ev.executor] = true
		if ev.at.After(began) {
			l.MaxAlive = max(l.MaxAlive, len(l.Alive))
		}
	}
	for _, ev := range e.events.of(e.T, e.UUID) {
		switch ev.action {
		case events.ActionCreate:
			l.Created = append(l.Created, ev.executor)
			appear(ev)
		case events.ActionStart:
			if !l.Alive[ev.executor] { // the container was restarted
				delete(l.Died, ev.executor)
				appear(ev)
			}
		case events.ActionDie:
			l.Died[ev.executor] = ev.at
			delete(l.Alive, ev.executor)
		case events.ActionDestroy: // an executor that was never started has no die event
			delete(l.Alive, ev.executor)
		}
	}
	return l
}

// Signals returns the signals that were sent to an executor.
func (e *Env) Signals(executor string) (sent []string) {
	for _, ev := range e.events.of(e.T, e.UUID) {
		if ev.executor == executor && ev.action == events.ActionKill {
			sent = append(sent, ev.signal)
		}
	}
	return sent
}

// WaitNoExecutors waits until no executor is alive.
func (e *Env) WaitNoExecutors() {
	e.T.Helper()
	WaitUntil(e.T, "all executors are gone", func() bool { return len(e.Executors().Alive) == 0 })
}

// CheckCapacity checks with the engine's events that there were executors, but never more than capacity.
func (e *Env) CheckCapacity(capacity int) Executors {
	e.T.Helper()
	l := e.Executors()
	if len(l.Created) == 0 {
		e.T.Error("there was no executor, so the capacity is not tested")
	}
	if l.MaxAlive > capacity {
		e.T.Errorf("%d executors at the same time, but the capacity is %d: %v", l.MaxAlive, capacity, e.events.of(e.T, e.UUID))
	}
	return l
}

// Containers returns the runner's containers in any state, by executor id.
func (h *Harness) Containers(t *testing.T, runner string) map[string]container.Summary {
	t.Helper()
	found, err := h.Engine.ContainerList(context.Background(), container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", runnerLabel+"="+runner)),
	})
	Must(t, err)
	byExecutor := map[string]container.Summary{}
	for _, c := range found {
		byExecutor[c.Labels[executorLabel]] = c
	}
	return byExecutor
}

// OnlyExecutor returns the id of the only executor. It fails the test if there is none or more than one.
func (e *Env) OnlyExecutor() string {
	e.T.Helper()
	all := e.harness.Containers(e.T, e.UUID)
	if len(all) != 1 {
		e.T.Fatalf("there are %d executors: %v", len(all), all)
	}
	return slices.Collect(maps.Keys(all))[0]
}

// RunnersOf returns the runners that created executors of images whose name has this prefix.
func (l *EventLog) RunnersOf(prefix string) map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	runners := map[string]bool{}
	for _, m := range l.all {
		if a := m.Actor.Attributes; strings.HasPrefix(a["runnerd.image"], prefix) {
			runners[a[runnerLabel]] = true
		}
	}
	return runners
}
