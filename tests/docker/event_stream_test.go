package docker

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
	"runnerd/tests/harness"
)

// eventStream is the server's event stream with faults: it can hold back, repeat or reorder events, and can be cut.
type eventStream struct {
	mu                  sync.Mutex
	lastEventIDs        []string                    // of each request
	silent              bool                        // events are held back
	transform           func(event string) []string // the events to send instead; nil: the event itself
	cut                 context.CancelFunc          // ends the present request
	blocked             chan struct{}               // requests wait until it is closed; nil: they do not wait
	onOpen              func()                      // called once, at the next request
	rejectRegistrations bool
}

func (c *eventStream) handle(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	c.mu.Lock()
	rejected := c.rejectRegistrations
	c.mu.Unlock()
	switch {
	case op == "register" && rejected:
		http.Error(out, "not now", http.StatusServiceUnavailable)
	case op == "events":
		c.open(out, r, next)
	default:
		next(out, r)
	}
}

func (c *eventStream) open(out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	ctx, cut := context.WithCancel(r.Context())
	defer cut()
	c.mu.Lock()
	c.lastEventIDs = append(c.lastEventIDs, r.Header.Get("Last-Event-ID"))
	onOpen, blocked := c.onOpen, c.blocked
	c.onOpen, c.cut = nil, cut
	c.mu.Unlock()
	if onOpen != nil {
		onOpen()
	}
	if blocked != nil {
		select {
		case <-blocked:
		case <-ctx.Done():
			return
		}
	}
	next(&eventWriter{ResponseWriter: out, stream: c}, r.WithContext(ctx))
}

func (c *eventStream) update(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *eventStream) opened() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.lastEventIDs)
}

// eventWriter forwards events to the runner with the faults of stream, one complete event at a time.
type eventWriter struct {
	http.ResponseWriter
	stream *eventStream
	text   string
}

func (s *eventWriter) Write(p []byte) (int, error) {
	s.stream.mu.Lock()
	defer s.stream.mu.Unlock()
	s.text += string(p)
	for !s.stream.silent {
		event, rest, complete := strings.Cut(s.text, "\n\n")
		if !complete {
			break
		}
		s.text = rest
		events := []string{event}
		if s.stream.transform != nil {
			events = s.stream.transform(event)
		}
		for _, event := range events {
			if _, err := s.ResponseWriter.Write([]byte(event + "\n\n")); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

func (s *eventWriter) Flush() { s.ResponseWriter.(http.Flusher).Flush() }

// delayEvent swaps the next event of that name with the one after it.
func (c *eventStream) delayEvent(name string) {
	delayed, done := "", false
	c.update(func() {
		c.transform = func(event string) []string {
			switch {
			case done || strings.Contains(event, "event: Ping"):
				return []string{event}
			case delayed == "" && strings.Contains(event, "event: "+name):
				delayed = event
				return nil
			default:
				done = delayed != ""
				return slices.DeleteFunc([]string{event, delayed}, func(s string) bool { return s == "" })
			}
		}
	})
}

func registrations(env *harness.Env) (n int) {
	for _, e := range env.Server.Ledger().Entries() {
		if e.Op == "register" {
			n++
		}
	}
	return n
}

func (c *eventStream) configure(env *harness.Env, change func(*api.Config)) {
	env.T.Helper()
	harness.Must(env.T, env.Server.Configure(env.Server.Runners()[0].ID, change))
}

func TestSilentEventStreamIsReopenedWithoutLosingEvents(t *testing.T) {
	t.Parallel()
	stream := &eventStream{}
	env := shared.NewEnv(t, harness.Options{Capacity: 2, Eviction: time.Minute, Intercept: stream.handle})
	const steps = 350
	job := env.SubmitSlow(shared.Blue, steps)
	env.WaitTaskLog(job, "step 3 of ")
	stream.update(func() { stream.silent = true })
	stream.configure(env, func(c *api.Config) { c.Capacity = 1 })
	env.WaitRunnerLog("event stream is silent: reopening it")
	if env.GrepLog(`"capacity":1,`) != "" {
		t.Error("the runner got a held event: the test is inconclusive")
	}
	stream.update(func() { stream.silent = false })
	env.WaitRunnerLog(`"capacity":1,`)
	_, log := env.WaitCompleted(job)
	env.CheckLog(env.ExecutorOf(job), log, steps)
	if opened := stream.opened(); len(opened) != 2 || registrations(env) != 1 {
		t.Errorf("the stream was opened with the Last-Event-IDs %q, and the runner has registered %d times", opened, registrations(env))
	}
}

func TestEventStreamLossTakesOnlyRunnerOffline(t *testing.T) {
	t.Parallel()
	stream := &eventStream{}
	env := shared.NewEnv(t, harness.Options{Capacity: 2, Eviction: time.Minute, Intercept: stream.handle})
	const steps = 600
	job := env.SubmitSlow(shared.Blue, steps)
	env.WaitTaskLog(job, "step 3 of ")
	stream.update(func() { stream.silent, stream.rejectRegistrations = true, true })
	env.WaitRunnerLog("event stream could not be reopened; going offline and registering again")
	env.WaitRunnerLog("registration failed: check --release-url")
	if got := harness.Fetch(t, "http://"+env.Runner.HealthAddress+"/ready", http.StatusServiceUnavailable); !strings.Contains(got, "not registered with the server") {
		t.Errorf("/ready says %s", got)
	}
	later := env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker})
	size := len(env.TaskLog(job))
	harness.WaitUntil(t, "the job continues", func() bool { return len(env.TaskLog(job)) > size })
	if view, err := env.Server.Task(later); err != nil || view.State != devserver.Queued {
		t.Errorf("the runner took a job while it was offline: %s, %v", view.State, err)
	}
	stream.update(func() { stream.silent, stream.rejectRegistrations = false, false })
	env.WaitCompleted(later)
	_, log := env.WaitCompleted(job)
	env.CheckLog(env.ExecutorOf(job), log, steps)
	if n := registrations(env); n != 2 {
		t.Errorf("the runner has registered %d times, want 2", n)
	}
}

func TestRepeatedEventsAreAppliedOnce(t *testing.T) {
	t.Parallel()
	stream := &eventStream{transform: func(event string) []string { return []string{event, event} }}
	env := shared.NewEnv(t, harness.Options{Capacity: 2, Eviction: time.Minute, Intercept: stream.handle})
	script := env.Submit(shared.Green, "sample.Lookup", map[string]any{"prefix": "A"})
	env.WaitCompleted(script)
	job := env.SubmitSlow(shared.Blue, 1000)
	env.WaitTaskLog(job, "step 3 of ")
	harness.Must(t, env.Server.Abort(job, "enough"))
	if view, _ := env.WaitDone(job); view.State != devserver.Aborted {
		t.Errorf("the job is %s: %s", view.State, view.Message)
	}
	stream.configure(env, func(c *api.Config) { c.Enabled = false })
	stream.configure(env, func(c *api.Config) { c.Enabled = true })
	env.WaitCompleted(env.Submit(shared.Green, "sample.Hello", map[string]any{"yourName": env.Marker}))
	env.CheckFinishedOnce(script, job)
	for _, id := range []string{script, job} {
		if results := env.LogLinesOf(id, "result stored"); len(results) > 1 {
			t.Errorf("%s has %d results", id, len(results))
		}
	}
	for _, executor := range env.Executors().Created {
		if sent := env.Signals(executor); len(slices.Compact(slices.Sorted(slices.Values(sent)))) != len(sent) {
			t.Errorf("an executor was sent a signal twice: %v", sent)
		}
	}
}

func TestEventsOutOfOrderAreHandled(t *testing.T) {
	t.Parallel()
	stream := &eventStream{}
	env := shared.NewEnv(t, harness.Options{Capacity: 3, Eviction: time.Minute, Intercept: stream.handle})
	stream.delayEvent("Configure")
	stream.configure(env, func(c *api.Config) { c.Capacity = 1 })
	stream.configure(env, func(c *api.Config) { c.Capacity, c.EvictionSeconds = 2, 90 })
	env.WaitRunnerLog(`"capacity":2,"eviction":"1m30s",`)
	stream.configure(env, func(c *api.Config) { c.EvictionSeconds = 80 })
	env.WaitRunnerLog(`"capacity":2,"eviction":"1m20s",`)
	if env.GrepLog(`"capacity":1,`) != "" {
		t.Error("the older configuration was applied")
	}

	stream.delayEvent("ExecuteScript")
	script := env.Submit(shared.Green, "sample.Lookup", map[string]any{"prefix": "A"})
	harness.Must(t, env.Server.Abort(script, "never mind"))
	stream.configure(env, func(c *api.Config) { c.EvictionSeconds = 70 })
	env.WaitRunnerLog(`"capacity":2,"eviction":"1m10s",`)
	if view, _ := env.WaitDone(script); view.State != devserver.Aborted {
		t.Errorf("the script is %s", view.State)
	}
	env.WaitCompleted(env.Submit(shared.Blue, "sample.Hello", map[string]any{"yourName": env.Marker}))
	if len(env.Executors().Created) != 1 {
		t.Error("the aborted script was given an executor")
	}
}

func TestCutEventStreamResumesAfterLastEvent(t *testing.T) {
	t.Parallel()
	stream := &eventStream{}
	env := shared.NewEnv(t, harness.Options{Capacity: 2, Eviction: time.Minute, Intercept: stream.handle})
	stream.configure(env, func(c *api.Config) { c.EvictionSeconds = 90 })
	env.WaitRunnerLog(`"eviction":"1m30s",`)
	job := env.SubmitSlow(shared.Blue, 1000)
	env.WaitTaskLog(job, "step 3 of ")
	blocked := make(chan struct{})
	stream.update(func() { stream.blocked = blocked; stream.cut() })
	harness.WaitUntil(t, "the stream is requested again", func() bool { return len(stream.opened()) == 2 })
	script := env.Submit(shared.Green, "sample.Lookup", map[string]any{"prefix": "A"})
	harness.Must(t, env.Server.Abort(job, "enough"))
	stream.configure(env, func(c *api.Config) { c.EvictionSeconds = 80 })
	close(blocked)
	env.WaitRunnerLog(`"eviction":"1m20s",`)
	env.WaitCompleted(script)
	if view, _ := env.WaitDone(job); view.State != devserver.Aborted {
		t.Errorf("the job is %s: %s", view.State, view.Message)
	}
	env.CheckFinishedOnce(script, job)
	opened := stream.opened()
	if len(opened) != 2 || opened[0] == opened[1] || strings.Count(env.GrepLog(`"eviction":"1m30s",`), "\n") != 1 || registrations(env) != 1 {
		t.Errorf("the stream was opened with the Last-Event-IDs %q; the runner has registered %d times, and was configured by\n%s", opened, registrations(env), env.GrepLog(`"eviction":`))
	}
}

func TestDisableBeforeEventStreamOpensIsApplied(t *testing.T) {
	t.Parallel()
	stream := &eventStream{}
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Minute, Intercept: stream.handle, NoRunner: true})
	stream.update(func() {
		stream.onOpen = func() { stream.configure(env, func(c *api.Config) { c.Enabled = false }) }
	})
	env.Start()
	env.WaitRunnerLog(`"enabled":false`)
	env.WaitReady()
	job := env.Submit(shared.Blue, "sample.Hello", map[string]any{"yourName": env.Marker})
	enabled := time.Now()
	stream.configure(env, func(c *api.Config) { c.Enabled = true })
	env.WaitCompleted(job)
	for _, e := range env.Server.Ledger().Job(job) {
		if e.Op == "offer" && e.Time.Before(enabled) {
			t.Errorf("the job was offered at %v, before the runner was enabled at %v", e.Time, enabled)
		}
	}
}

func TestLoweredCapacityLetsRunningJobsFinish(t *testing.T) {
	t.Parallel()
	const steps = 40
	stream := &eventStream{}
	env := shared.NewEnv(t, harness.Options{Capacity: 5, Eviction: time.Hour, Intercept: stream.handle})
	var jobs, executors []string
	for range 5 {
		jobs = append(jobs, env.SubmitSlow(shared.Blue, steps))
	}
	for _, id := range jobs {
		env.WaitTaskLog(id, "step 1 of ")
	}
	stream.configure(env, func(c *api.Config) { c.Capacity = 1 })
	env.WaitRunnerLog(`"capacity":1,`)
	lowered := time.Now()
	var later []string
	for n := range 4 {
		later = append(later, env.Submit([]string{shared.Blue, shared.Green}[n%2], "sample.Hello", map[string]any{"yourName": env.Marker}))
	}
	for _, id := range jobs {
		if _, log := env.WaitCompleted(id); strings.Count(log, "step ") != steps {
			t.Errorf("the log of a running job is incomplete:\n%s", log)
		}
		executors = append(executors, env.ExecutorOf(id))
	}
	for _, id := range later {
		env.WaitCompleted(id)
	}
	harness.WaitUntil(t, "one executor is left", func() bool { return len(env.Executors().Alive) == 1 })
	if slices.Sort(executors); len(slices.Compact(executors)) != 5 {
		t.Errorf("the jobs did not run side by side, but in %v: the test is inconclusive", executors)
	}
	env.CheckCapacity(5)
	if alive := env.MaxAliveSince(lowered); alive > 1 {
		t.Errorf("with capacity 1 an executor was started beside %d others", alive-1)
	}
}

func TestCapabilitiesAndMappingsChangeAtRuntime(t *testing.T) {
	t.Parallel()
	stream := &eventStream{}
	env := shared.NewEnv(t, harness.Options{Capacity: 2, Eviction: time.Minute, Intercept: stream.handle})
	hello := func(image string, needs ...string) string {
		return env.SubmitTask(devserver.TaskRequest{Image: image, TaskType: "sample.Hello", ImagePullPolicy: api.PullNever,
			Properties: map[string]any{"yourName": env.Marker}, Capabilities: needs})
	}
	gpu := hello(shared.Blue, "gpu")
	if view, _ := env.Server.Task(gpu); view.Waits == "" {
		t.Errorf("the job does not wait for the capability: %+v", view)
	}
	stream.configure(env, func(c *api.Config) { c.Capabilities = []string{"gpu", "remote-script"} })
	env.WaitCompleted(gpu)

	elsewhere := "elsewhere.example/" + shared.Blue
	if view, _ := env.WaitDone(hello(elsewhere)); view.State != devserver.Failed {
		t.Errorf("missing image: the job is %s", view.State)
	}
	stream.configure(env, func(c *api.Config) {
		c.ImageMappings = []api.Mapping{{Pattern: "elsewhere.example/*", To: "*"}}
		c.PullSecretMappings = []api.Mapping{{Pattern: "private.example/*", To: "of-the-private"}}
		c.EvictionSeconds = 70
	})
	env.WaitRunnerLog(`"eviction":"1m10s",`)
	mapped := hello(elsewhere)
	env.WaitCompleted(mapped)
	if got := env.ExecutorOf(mapped); got != env.ExecutorOf(gpu) {
		t.Errorf("the job ran in executor %s although an executor of the mapped image was idle", got)
	}
	private := env.Submit("private.example/plugin:1", "sample.Hello", map[string]any{"yourName": env.Marker})
	if view, _ := env.WaitDone(private); !strings.Contains(view.Message, `pull secret "of-the-private" is not configured`) {
		t.Errorf("the job with a pull secret is %s: %s", view.State, view.Message)
	}

	stream.delayEvent("ExecuteScript")
	script := env.Submit(shared.Blue, "sample.Lookup", map[string]any{"prefix": "A"})
	stream.configure(env, func(c *api.Config) { c.Capabilities = []string{"gpu"} })
	if view, _ := env.WaitDone(script); view.State != devserver.Failed || !strings.Contains(view.Message, "its capabilities are [gpu], and remote-script is missing") {
		t.Errorf("the script is %s: %s", view.State, view.Message)
	}
}
