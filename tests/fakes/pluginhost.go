package fakes

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"runnerd/infra/driver/fake"
	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// PluginHost connects plugins to the runner's gateway. It outlives the runner: it holds the result files, and a plugin's request
// without a gateway waits for the next one, as in the backlog of a socket that a service manager holds.
type PluginHost struct {
	violations
	scheduler fake.Scheduler

	// InjectFault decides whether a fault occurs. nil: no faults.
	InjectFault func(fault string) bool
	// DecideCall decides the outcome of the gateway's calls. nil: they succeed.
	DecideCall func(op string) Call
	// Observer is notified of everything. nil: none.
	Observer Observer

	mu        sync.Mutex // guards what follows
	gateway   *Gateway   // nil: the runner is down
	files     map[msg.ExecutorID][]byte
	inputs    map[msg.ExecutorID]receivedJob // of executors in mode messages.Files
	processes map[msg.ExecutorID]*fake.Process
	runs      []Run
	ran       map[msg.ExecutionID]msg.ExecutorID
	forgotten map[msg.ExecutionID]bool // the runner ended between the acknowledgement of the input and its record
	working   map[msg.ExecutorID]bool
}

// Faults of plugins.
const (
	GetRefused   = "its GET is refused for too long"
	AnswerCut    = "the answer to its GET is cut"
	FileFirst    = "it writes its file before its callback"
	CallbackLost = "its callback is lost"
	OddExit      = "it exits with 255 after its result"
	CrashInJob   = "it crashes in the middle of a job and is restarted"
	RereadURL    = "it reads its URL again to deliver its result"
)

// Observer is notified of what happens at a PluginHost, within the action itself.
type Observer interface {
	JobStarted(Run)
	Printed(of msg.ExecutionID, text string)
	PollStarted(msg.ExecutorID)                   // its GET waits for an answer
	PollAnswered(msg.ExecutorID, msg.ExecutionID) // with a job, or empty
	PollLost(msg.ExecutorID)                      // its GET ended without an answer
	ResultDelivered(msg.ExecutionID)              // its callback was answered
}

func (h *PluginHost) observer() Observer {
	if h.Observer == nil {
		return noObserver{}
	}
	return h.Observer
}

// noObserver ignores all notifications.
type noObserver struct{}

func (noObserver) JobStarted(Run)                               {}
func (noObserver) Printed(msg.ExecutionID, string)              {}
func (noObserver) PollStarted(msg.ExecutorID)                   {}
func (noObserver) PollAnswered(msg.ExecutorID, msg.ExecutionID) {}
func (noObserver) PollLost(msg.ExecutorID)                      {}
func (noObserver) ResultDelivered(msg.ExecutionID)              {}

// Run is a run of a job by a plugin.
type Run struct {
	Execution msg.ExecutionID
	Executor  msg.ExecutorID
	Image     string
}

// NewPluginHost returns a PluginHost without a gateway, in real time.
func NewPluginHost() *PluginHost { return NewPluginHostWith(fake.RealTime()) }

// NewPluginHostWith is like NewPluginHost, with a scheduler.
func NewPluginHostWith(scheduler fake.Scheduler) *PluginHost {
	return &PluginHost{scheduler: scheduler, files: map[msg.ExecutorID][]byte{}, inputs: map[msg.ExecutorID]receivedJob{},
		processes: map[msg.ExecutorID]*fake.Process{}, ran: map[msg.ExecutionID]msg.ExecutorID{}, forgotten: map[msg.ExecutionID]bool{}, working: map[msg.ExecutorID]bool{}}
}

func (h *PluginHost) injectFault(what string) bool {
	return h.InjectFault != nil && h.InjectFault(what)
}

// Runs lists all runs in order.
func (h *PluginHost) Runs() []Run {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.runs)
}

// LosePower simulates a loss of power: result files are not synced, so those for which survives returns false are lost.
func (h *PluginHost) LosePower(survives func() bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(h.files)) {
		if !survives() {
			delete(h.files, id)
		}
	}
}

// Cut closes the connections of an executor.
func (h *PluginHost) Cut(id msg.ExecutorID) {
	if g := h.currentGateway(); g != nil {
		g.Cut(id)
	}
}

func (h *PluginHost) file(id msg.ExecutorID) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.files[id]
}

func (h *PluginHost) removeFile(id msg.ExecutorID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.files, id)
}

func (h *PluginHost) setGateway(g *Gateway) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gateway = g
	for _, id := range slices.Sorted(maps.Keys(h.processes)) {
		h.processes[id].Wake()
	}
}

func (h *PluginHost) currentGateway() *Gateway {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.gateway
}

// addProcess registers a plugin's process, so that changes at its endpoint wake it, until removeProcess.
func (h *PluginHost) addProcess(w *fake.Process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.processes[w.Spec.ID] = w
}

func (h *PluginHost) removeProcess(w *fake.Process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.processes, w.Spec.ID)
}

func (h *PluginHost) wake(id msg.ExecutorID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w := h.processes[id]; w != nil {
		w.Wake()
	}
}

// setSDK makes the gateway detect a plugin's SDK.
func (h *PluginHost) setSDK(id msg.ExecutorID, sdk msg.SDK) {
	g := h.currentGateway()
	if g == nil || sdk == "" {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.endpoints[id]; e != nil && e.sdk == "" {
		e.sdk = sdk
		e.add(msg.SDKDetected{SDK: sdk})
	}
}

// deliveryForgotten allows a job to run twice (docs/decisions/0009-one-session.md, limits): the next runner cannot know that a process
// has it, and a restarted plugin may ask for it again.
func (h *PluginHost) deliveryForgotten(job msg.ExecutionID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forgotten[job] = true
}

// startJob records that a plugin runs a job.
func (h *PluginHost) startJob(r Run) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if other, again := h.ran[r.Execution]; again && !h.forgotten[r.Execution] {
		h.add("I2: %s runs in %s, but already ran in %s", r.Execution, r.Executor, other)
	}
	h.ran[r.Execution] = r.Executor
	h.working[r.Executor] = true
	h.runs = append(h.runs, r)
	h.observer().JobStarted(r)
}

// writeFile writes a plugin's result file, the one that OUTPUT_LOCATION names.
func (h *PluginHost) writeFile(id msg.ExecutorID, body []byte) {
	h.scheduler.Do("result file", func() {
		h.mu.Lock()
		h.files[id] = body
		h.mu.Unlock()
		h.fileChanged(id)
	})
}

// callbackTimeout is how long a plugin waits for the answer to its callback.
const callbackTimeout = 45 * time.Second

// postResult sends a result to a job's URL, and reports whether it was accepted.
func (h *PluginHost) postResult(ctx context.Context, w *fake.Process, job msg.ExecutionID, body []byte) (accepted bool) {
	var r *request
	end := time.Now().Add(callbackTimeout)
	_ = w.Until(ctx, "callback", func() (done bool, again time.Time) {
		if r == nil {
			if h.injectFault(CallbackLost) {
				return true, again
			}
			var found bool
			r, found = h.post(w.Spec.ID, job, body)
			return r == nil || !found, end
		}
		a, lost := r.result()
		if accepted = a != nil; accepted && !bytes.Equal(body, tooLarge) {
			h.observer().ResultDelivered(job)
		}
		return accepted || lost || !time.Now().Before(end), end
	})
	if !accepted {
		h.scheduler.Do("callback ends", func() { r.close() })
	}
	return accepted
}

// deliverResult writes a result to the file, and sends a callback unless it is for the file only.
func (h *PluginHost) deliverResult(ctx context.Context, w *fake.Process, in receivedJob, body []byte, how Behavior, fileFirst bool) (accepted bool) {
	if how.TooLarge {
		body = tooLarge
	}
	switch {
	case how.FileOnly:
		h.writeFile(w.Spec.ID, body)
	case fileFirst:
		h.writeFile(w.Spec.ID, body)
		return h.postResult(ctx, w, in.execution, body)
	case !h.postResult(ctx, w, in.execution, body):
		h.writeFile(w.Spec.ID, body)
	}
	return true
}

// reportNoInput simulates an SDK that gets no input after the job in: it reports an error to the URL of in and overwrites its result
// file.
func (h *PluginHost) reportNoInput(ctx context.Context, w *fake.Process, in receivedJob) {
	body := resultOf(in.key, -1)
	h.writeFile(w.Spec.ID, body)
	h.postResult(ctx, w, in.execution, body)
}

// receivedJob is a job as a plugin receives it.
type receivedJob struct {
	execution msg.ExecutionID
	key       seal.Key
	input     string
}

// endJob records that a plugin has finished its work and is about to deliver the result.
func (h *PluginHost) endJob(id msg.ExecutorID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.working, id)
}

func (h *PluginHost) isWorking(id msg.ExecutorID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.working[id]
}

func (h *PluginHost) setInput(id msg.ExecutorID, in receivedJob) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inputs[id] = in
}

func (h *PluginHost) inputOf(id msg.ExecutorID) (receivedJob, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	in, ok := h.inputs[id]
	return in, ok
}
