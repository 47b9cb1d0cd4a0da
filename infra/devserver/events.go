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

// maxRunnerEvents bounds the events of a runner that stays away. Aborts and the configuration reach it by heartbeat and
// registration anyway.
const maxRunnerEvents = 1000

// event is one on a runner's stream.
type event struct {
	id         int64
	name, data string
	job        string // that it is about
}

func (e event) Id() string    { return strconv.FormatInt(e.id, 10) } //nolint:revive // the library's name
func (e event) Event() string { return e.name }
func (e event) Data() string  { return e.data }

// eventStreams keeps an event stream for each runner, and what must be replayed on it. Its lock is a leaf: the library calls
// Replay from its own goroutine, so nothing that waits for that goroutine may hold it.
type eventStreams struct {
	server *eventsource.Server

	sendMu sync.Mutex // keeps the order of ids on the wire; guards closed
	closed bool       // the library's goroutine is gone, and would be waited for in vain

	mu      sync.Mutex
	last    int64
	history map[string][]event
}

func newEventStreams() *eventStreams {
	c := &eventStreams{server: eventsource.NewServer(), history: map[string][]event{}}
	c.server.ReplayAll = true
	return c
}

// ifOpen talks to the library's goroutine, unless that has ended.
func (c *eventStreams) ifOpen(what func()) {
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	if !c.closed {
		what()
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

// send appends to a runner's stream. It is in the history first: a stream that opens meanwhile may show it twice, never
// not at all.
func (c *eventStreams) send(runner, name, job string, data any) {
	text, err := json.Marshal(data)
	if err != nil {
		panic(err) // our own types only
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

// dropEvents takes out of the history what need not be replayed any more.
func (c *eventStreams) dropEvents(runner string, which func(event) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history[runner] = slices.DeleteFunc(c.history[runner], which)
	if len(c.history[runner]) == 0 {
		delete(c.history, runner)
	}
}

// startSession drops what a registration tells anyway, and returns the id after which the runner must read.
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

// Replay implements eventsource.Repository. An id that is not one of ours asks for everything.
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
	ctx, leave := a.untilClose(r.Context())
	defer leave()
	a.events.server.Handler(runnerID)(w, r.WithContext(ctx))
}
