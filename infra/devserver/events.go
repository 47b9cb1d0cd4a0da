package devserver

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/launchdarkly/eventsource"

	"runnerd/infra/release/api"
)

// maxRunnerEvents is the number of events stored for a disconnected runner. Aborts and the configuration also reach it by
// heartbeat and registration.
const maxRunnerEvents = 1000

// event is an event on a runner's stream.
type event struct {
	id         int64
	name, data string
	job        string // empty: the event is not about a job
}

func (e event) Id() string    { return strconv.FormatInt(e.id, 10) } //nolint:revive // the library's name
func (e event) Event() string { return e.name }
func (e event) Data() string  { return e.data }

// eventStreams has the event stream of each runner and the events to replay on it. Do not wait for the library's goroutine
// while holding mu: the goroutine calls Replay, which locks mu.
type eventStreams struct {
	server *eventsource.Server

	sendMu sync.Mutex // serializes sends, so that ids are in order on the wire; guards closed
	closed bool       // the library's goroutine has ended: calls to it would block forever

	mu      sync.Mutex
	last    int64
	history map[string][]event
}

func newEventStreams() *eventStreams {
	c := &eventStreams{server: eventsource.NewServer(), history: map[string][]event{}}
	c.server.ReplayAll = true
	return c
}

// ifOpen calls do, which uses the library's goroutine, unless that has ended.
func (c *eventStreams) ifOpen(do func()) {
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	if !c.closed {
		do()
	}
}

func (c *eventStreams) open(runner string) {
	c.ifOpen(func() { c.server.Register(runner, c) })
}

func (c *eventStreams) remove(runner string) {
	c.dropEvents(runner, func(event) bool { return true })
	c.ifOpen(func() { c.server.Unregister(runner, true) })
}

func (c *eventStreams) close() {
	c.ifOpen(func() {
		c.server.Close()
		c.closed = true
	})
}

// send sends an event on a runner's stream. It adds the event to the history first, so a stream that opens meanwhile may
// deliver it twice but does not miss it.
func (c *eventStreams) send(runner, name, job string, data any) {
	text, err := json.Marshal(data)
	if err != nil {
		panic(err) // cannot happen: data is always of a type of package api
	}
	c.ifOpen(func() {
		c.server.Publish([]string{runner}, c.record(runner, event{name: name, data: string(text), job: job}))
	})
}

func (c *eventStreams) record(runner string, e event) event {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	e.id = c.last
	if e.name != "Ping" {
		c.history[runner] = appendBounded(c.history[runner], e, maxRunnerEvents)
	}
	return e
}

// dropEvents deletes matching events from the history, so that they are not replayed.
func (c *eventStreams) dropEvents(runner string, match func(event) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history[runner] = slices.DeleteFunc(c.history[runner], match)
	if len(c.history[runner]) == 0 {
		delete(c.history, runner)
	}
}

// startSession drops the events that a registration makes obsolete, and returns the id of the last event that the runner
// does not need.
func (c *eventStreams) startSession(runner string) string {
	c.dropEvents(runner, func(e event) bool { return e.name == "Enable" || e.name == "Disable" || e.name == "Configure" })
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.last
	if stored := c.history[runner]; len(stored) > 0 {
		last = stored[0].id - 1
	}
	return strconv.FormatInt(last, 10)
}

// Replay implements eventsource.Repository. If it does not know the id, it replays all events.
func (c *eventStreams) Replay(runner, after string) chan eventsource.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	from, err := strconv.ParseInt(after, 10, 64)
	if err != nil || from > c.last {
		from = 0
	}
	replayed := make(chan eventsource.Event, len(c.history[runner]))
	for _, e := range c.history[runner] {
		if e.id > from {
			replayed <- e
		}
	}
	close(replayed)
	return replayed
}

func (s *Server) pingLoop() {
	ticker := time.NewTicker(s.options.PingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.closing.Done():
			return
		case <-ticker.C:
			for _, r := range s.Runners() {
				s.events.send(r.ID, "Ping", "", struct{}{})
			}
		}
	}
}

func (a runnerAPI) Events(w http.ResponseWriter, r *http.Request, runnerID string, _ api.EventsParams) {
	if _, err := a.authenticateAs(r, runnerID); err != nil {
		respond(w, err)
		return
	}
	if !a.beginLongRequest() {
		respond(w, errClosing)
		return
	}
	defer a.longRequests.Done()
	ctx, cancel := a.untilClose(r.Context())
	defer cancel()
	a.events.server.Handler(runnerID)(w, r.WithContext(ctx))
}
