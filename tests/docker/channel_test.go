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
	"runnerd/tests/rig"
)

// channel is the line on which the server's events come: it can be held, cut, and made to say things twice or in another order.
type channel struct {
	mu     sync.Mutex
	after  []string // Last-Event-ID of each that was opened
	silent bool
	spoil  func(event string) []string // what is said instead; nil: itself
	cut    context.CancelFunc
	shut   chan struct{} // not nil: none is opened before it is closed
	opens  func()        // before the next is opened
	away   bool          // registrations are refused
}

func (c *channel) front(op string, out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	c.mu.Lock()
	away := c.away
	c.mu.Unlock()
	switch {
	case op == "register" && away:
		http.Error(out, "not now", http.StatusServiceUnavailable)
	case op == "events":
		c.open(out, r, next)
	default:
		next(out, r)
	}
}

func (c *channel) open(out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	ctx, cut := context.WithCancel(r.Context())
	defer cut()
	c.mu.Lock()
	c.after = append(c.after, r.Header.Get("Last-Event-ID"))
	opens, shut := c.opens, c.shut
	c.opens, c.cut = nil, cut
	c.mu.Unlock()
	if opens != nil {
		opens()
	}
	if shut != nil {
		select {
		case <-shut:
		case <-ctx.Done():
			return
		}
	}
	next(&heldStream{ResponseWriter: out, channel: c}, r.WithContext(ctx))
}

func (c *channel) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *channel) opened() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.after)
}

// heldStream hands on whole events.
type heldStream struct {
	http.ResponseWriter
	channel *channel
	text    string
}

func (s *heldStream) Write(p []byte) (int, error) {
	s.channel.mu.Lock()
	defer s.channel.mu.Unlock()
	s.text += string(p)
	for !s.channel.silent {
		event, rest, whole := strings.Cut(s.text, "\n\n")
		if !whole {
			break
		}
		s.text = rest
		said := []string{event}
		if s.channel.spoil != nil {
			said = s.channel.spoil(event)
		}
		for _, one := range said {
			if _, err := s.ResponseWriter.Write([]byte(one + "\n\n")); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

func (s *heldStream) Flush() { s.ResponseWriter.(http.Flusher).Flush() }

// late lets the next event of that name come after the one that follows it.
func (c *channel) late(name string) {
	held, done := "", false
	c.set(func() {
		c.spoil = func(event string) []string {
			switch {
			case done || strings.Contains(event, "event: Ping"):
				return []string{event}
			case held == "" && strings.Contains(event, "event: "+name):
				held = event
				return nil
			default:
				done = held != ""
				return slices.DeleteFunc([]string{event, held}, func(s string) bool { return s == "" })
			}
		}
	})
}

func registrations(w *rig.World) (n int) {
	for _, e := range w.Server.Ledger().Entries() {
		if e.Op == "register" {
			n++
		}
	}
	return n
}

func (c *channel) configure(w *rig.World, change func(*api.Config)) {
	w.T.Helper()
	rig.Must(w.T, w.Server.Configure(w.Server.Runners()[0].ID, change))
}

func TestAChannelThatIsSilentForThirtySecondsIsOpenedAnewAndWhatWasSaidMeanwhileIsHeard(t *testing.T) {
	t.Parallel()
	line := &channel{}
	w := shop.World(t, rig.Plan{Capacity: 2, Eviction: time.Minute, Front: line.front})
	const steps = 350
	job := w.Slow(shop.Blue, steps)
	w.Says(job, "step 3 of ")
	line.set(func() { line.silent = true })
	line.configure(w, func(c *api.Config) { c.Capacity = 1 })
	w.Hears("the control channel is silent: opening it anew")
	if w.Heard(`"capacity":1,`) != "" {
		t.Error("it has heard what was held: nothing is proven")
	}
	line.set(func() { line.silent = false })
	w.Hears(`"capacity":1,`)
	_, log := w.Completed(job)
	w.WholeLog(w.ExecutorOf(job), log, steps)
	if opened := line.opened(); len(opened) != 2 || registrations(w) != 1 {
		t.Errorf("channels were opened after %v, and it has registered %d times", opened, registrations(w))
	}
}

func TestAChannelThatStaysSilentTakesTheRunnerOfflineAndItsJobsGoOn(t *testing.T) {
	t.Parallel()
	line := &channel{}
	w := shop.World(t, rig.Plan{Capacity: 2, Eviction: time.Minute, Front: line.front})
	const steps = 600
	job := w.Slow(shop.Blue, steps)
	w.Says(job, "step 3 of ")
	line.set(func() { line.silent, line.away = true, true })
	w.Hears("the control channel cannot be had back: offline, registering again")
	w.Hears("not registered: check --release-url")
	if said := rig.Fetch(t, "http://"+w.Runner.Health+"/ready", http.StatusServiceUnavailable); !strings.Contains(said, "not registered with the server") {
		t.Errorf("/ready says %s", said)
	}
	later := w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker})
	said := len(w.Log(job))
	rig.Until(t, "the job goes on", func() bool { return len(w.Log(job)) > said })
	if view, err := w.Server.Task(later); err != nil || view.State != devserver.Queued {
		t.Errorf("offline, it has taken a job: %s, %v", view.State, err)
	}
	line.set(func() { line.silent, line.away = false, false })
	w.Completed(later)
	_, log := w.Completed(job)
	w.WholeLog(w.ExecutorOf(job), log, steps)
	if n := registrations(w); n != 2 {
		t.Errorf("it has registered %d times, want 2", n)
	}
}

func TestWhatTheServerSaysTwiceCountsOnce(t *testing.T) {
	t.Parallel()
	line := &channel{spoil: func(event string) []string { return []string{event, event} }}
	w := shop.World(t, rig.Plan{Capacity: 2, Eviction: time.Minute, Front: line.front})
	script := w.Submit(shop.Green, "sample.Lookup", map[string]any{"prefix": "A"})
	w.Completed(script)
	job := w.Slow(shop.Blue, 1000)
	w.Says(job, "step 3 of ")
	rig.Must(t, w.Server.Abort(job, "enough"))
	if view, _ := w.Done(job); view.State != devserver.Aborted {
		t.Errorf("the job is %s: %s", view.State, view.Message)
	}
	line.configure(w, func(c *api.Config) { c.Enabled = false })
	line.configure(w, func(c *api.Config) { c.Enabled = true })
	w.Completed(w.Submit(shop.Green, "sample.Hello", map[string]any{"yourName": w.Marker}))
	w.FinishedOnce(script, job)
	for _, id := range []string{script, job} {
		if results := w.LinesOf(id, "result stored"); len(results) > 1 {
			t.Errorf("%s has %d results", id, len(results))
		}
	}
	for _, executor := range w.Lives().Created {
		if sent := w.Signals(executor); len(slices.Compact(slices.Sorted(slices.Values(sent)))) != len(sent) {
			t.Errorf("an executor was sent %v", sent)
		}
	}
}

func TestAnOlderConfigurationThatComesLateIsIgnoredAndAnAbortMayOvertakeItsScript(t *testing.T) {
	t.Parallel()
	line := &channel{}
	w := shop.World(t, rig.Plan{Capacity: 3, Eviction: time.Minute, Front: line.front})
	line.late("Configure")
	line.configure(w, func(c *api.Config) { c.Capacity = 1 })
	line.configure(w, func(c *api.Config) { c.Capacity, c.EvictionSeconds = 2, 90 })
	w.Hears(`"capacity":2,"eviction":90000,`)
	line.configure(w, func(c *api.Config) { c.EvictionSeconds = 80 })
	w.Hears(`"capacity":2,"eviction":80000,`)
	if w.Heard(`"capacity":1,`) != "" {
		t.Error("the older configuration was put in force")
	}

	line.late("ExecuteScript")
	script := w.Submit(shop.Green, "sample.Lookup", map[string]any{"prefix": "A"})
	rig.Must(t, w.Server.Abort(script, "never mind"))
	line.configure(w, func(c *api.Config) { c.EvictionSeconds = 70 })
	w.Hears(`"capacity":2,"eviction":70000,`)
	if view, _ := w.Done(script); view.State != devserver.Aborted {
		t.Errorf("the script is %s", view.State)
	}
	w.Completed(w.Submit(shop.Blue, "sample.Hello", map[string]any{"yourName": w.Marker}))
	if len(w.Lives().Created) != 1 {
		t.Error("the aborted script was given an executor")
	}
}

func TestAChannelThatWasCutGoesOnAfterTheLastEventThatWasHeard(t *testing.T) {
	t.Parallel()
	line := &channel{}
	w := shop.World(t, rig.Plan{Capacity: 2, Eviction: time.Minute, Front: line.front})
	line.configure(w, func(c *api.Config) { c.EvictionSeconds = 90 })
	w.Hears(`"eviction":90000,`)
	job := w.Slow(shop.Blue, 1000)
	w.Says(job, "step 3 of ")
	shut := make(chan struct{})
	line.set(func() { line.shut = shut; line.cut() })
	rig.Until(t, "it knocks", func() bool { return len(line.opened()) == 2 })
	script := w.Submit(shop.Green, "sample.Lookup", map[string]any{"prefix": "A"})
	rig.Must(t, w.Server.Abort(job, "enough"))
	line.configure(w, func(c *api.Config) { c.EvictionSeconds = 80 })
	close(shut)
	w.Hears(`"eviction":80000,`)
	w.Completed(script)
	if view, _ := w.Done(job); view.State != devserver.Aborted {
		t.Errorf("the job is %s: %s", view.State, view.Message)
	}
	w.FinishedOnce(script, job)
	opened := line.opened()
	if len(opened) != 2 || opened[0] == opened[1] || strings.Count(w.Heard(`"eviction":90000,`), "\n") != 1 || registrations(w) != 1 {
		t.Errorf("channels were opened after %v; it has registered %d times, and heard\n%s", opened, registrations(w), w.Heard("the server configures"))
	}
}

func TestADisableBetweenTheRegistrationAndTheChannelIsHeard(t *testing.T) {
	t.Parallel()
	line := &channel{}
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Minute, Front: line.front, NoRunner: true})
	line.set(func() {
		line.opens = func() { line.configure(w, func(c *api.Config) { c.Enabled = false }) }
	})
	w.Start()
	w.Hears(`"enabled":false`)
	w.Ready()
	job := w.Submit(shop.Blue, "sample.Hello", map[string]any{"yourName": w.Marker})
	enabled := time.Now()
	line.configure(w, func(c *api.Config) { c.Enabled = true })
	w.Completed(job)
	for _, e := range w.Server.Ledger().Job(job) {
		if e.Op == "offer" && e.Time.Before(enabled) {
			t.Errorf("it was offered at %v, and the runner enabled at %v", e.Time, enabled)
		}
	}
}

func TestALoweredCapacityLetsFiveRunningJobsFinishAndThenKeepsOneExecutor(t *testing.T) {
	t.Parallel()
	const steps = 40
	line := &channel{}
	w := shop.World(t, rig.Plan{Capacity: 5, Eviction: time.Hour, Front: line.front})
	var jobs, executors []string
	for range 5 {
		jobs = append(jobs, w.Slow(shop.Blue, steps))
	}
	for _, id := range jobs {
		w.Says(id, "step 1 of ")
	}
	line.configure(w, func(c *api.Config) { c.Capacity = 1 })
	w.Hears(`"capacity":1,`)
	lowered := time.Now()
	var later []string
	for n := range 4 {
		later = append(later, w.Submit([]string{shop.Blue, shop.Green}[n%2], "sample.Hello", map[string]any{"yourName": w.Marker}))
	}
	for _, id := range jobs {
		if _, log := w.Completed(id); strings.Count(log, "step ") != steps {
			t.Errorf("the log of a job that ran has\n%s", log)
		}
		executors = append(executors, w.ExecutorOf(id))
	}
	for _, id := range later {
		w.Completed(id)
	}
	rig.Until(t, "one executor is left", func() bool { return len(w.Lives().Alive) == 1 })
	if slices.Sort(executors); len(slices.Compact(executors)) != 5 {
		t.Errorf("they did not run side by side, but in %v: nothing is proven", executors)
	}
	w.NoMoreThan(5)
	if most := w.MostSince(lowered); most > 1 {
		t.Errorf("with a capacity of 1 an executor was started beside %d others", most-1)
	}
}

func TestCapabilitiesAndMappingsChangeWhileTheRunnerRuns(t *testing.T) {
	t.Parallel()
	line := &channel{}
	w := shop.World(t, rig.Plan{Capacity: 2, Eviction: time.Minute, Front: line.front})
	hello := func(image string, needs ...string) string {
		return w.SubmitTask(devserver.TaskRequest{Image: image, TaskType: "sample.Hello", ImagePullPolicy: api.PullNever,
			Properties: map[string]any{"yourName": w.Marker}, Capabilities: needs})
	}
	gpu := hello(shop.Blue, "gpu")
	if view, _ := w.Server.Task(gpu); view.Waits == "" {
		t.Errorf("the job is %+v", view)
	}
	line.configure(w, func(c *api.Config) { c.Capabilities = []string{"gpu", "remote-script"} })
	w.Completed(gpu)

	elsewhere := "elsewhere.example/" + shop.Blue
	if view, _ := w.Done(hello(elsewhere)); view.State != devserver.Failed {
		t.Errorf("an image that is nowhere: the job is %s", view.State)
	}
	line.configure(w, func(c *api.Config) {
		c.ImageMappings = []api.Mapping{{Pattern: "elsewhere.example/*", To: "*"}}
		c.PullSecretMappings = []api.Mapping{{Pattern: "private.example/*", To: "of-the-private"}}
		c.EvictionSeconds = 70
	})
	w.Hears(`"eviction":70000,`)
	mapped := hello(elsewhere)
	w.Completed(mapped)
	if got := w.ExecutorOf(mapped); got != w.ExecutorOf(gpu) {
		t.Errorf("it ran in executor %s, and one of the image that it is mapped to was idle", got)
	}
	private := w.Submit("private.example/plugin:1", "sample.Hello", map[string]any{"yourName": w.Marker})
	if view, _ := w.Done(private); !strings.Contains(view.Message, `it wants the pull secret "of-the-private"`) {
		t.Errorf("the job with a pull secret is %s: %s", view.State, view.Message)
	}

	line.late("ExecuteScript")
	script := w.Submit(shop.Blue, "sample.Lookup", map[string]any{"prefix": "A"})
	line.configure(w, func(c *api.Config) { c.Capabilities = []string{"gpu"} })
	if view, _ := w.Done(script); view.State != devserver.Failed || !strings.Contains(view.Message, "it has the capabilities [gpu], and not remote-script") {
		t.Errorf("the script is %s: %s", view.State, view.Message)
	}
}
