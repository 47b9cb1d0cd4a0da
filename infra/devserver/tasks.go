package devserver

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"runnerd/infra/contract"
	"runnerd/infra/release/api"
	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// TaskRequest is a request to run a task or a script.
type TaskRequest struct {
	Image      string         `json:"image"` // optional if the type's definition has one
	TaskType   string         `json:"taskType"`
	Kind       api.Kind       `json:"kind"` // optional: default from the type, else task
	Properties map[string]any `json:"properties"`
	RunAs      contract.User  `json:"runAs"`

	Capabilities    []string       `json:"capabilities"` // required of the runner; a script also requires remote-script
	Priority        int            `json:"priority"`
	TimeoutSeconds  int64          `json:"timeoutSeconds"`
	ImagePullPolicy api.PullPolicy `json:"imagePullPolicy"`
	Limits          api.Limits     `json:"limits"`
}

// State is the state of a task.
type State string

// The states of a task, in order. The last three are final.
const (
	Queued    State = "queued"
	Offered   State = "offered"
	Running   State = "running" // confirmed by a runner
	Completed State = "completed"
	Failed    State = "failed"
	Aborted   State = "aborted"
)

// Done reports whether the state is final.
func (s State) Done() bool { return s == Completed || s == Failed || s == Aborted }

// TaskView is a task in the REST API.
type TaskView struct {
	ID       string   `json:"id"`
	URL      string   `json:"url"`
	LogURL   string   `json:"logUrl"`
	Kind     api.Kind `json:"kind"`
	TaskType string   `json:"taskType"`
	Image    string   `json:"image"`
	Note     string   `json:"note,omitempty"`  // what the server assumed
	Waits    string   `json:"waits,omitempty"` // what a queued task waits for

	State       State       `json:"state"`
	Runner      string      `json:"runner,omitempty"`
	Execution   string      `json:"executionId,omitempty"`
	AbortReason string      `json:"abortReason,omitempty"`
	Outcome     api.Outcome `json:"outcome,omitempty"`
	ExitCode    *int        `json:"exitCode,omitempty"`
	Message     string      `json:"message,omitempty"`

	OutputProperties map[string]any `json:"outputProperties,omitempty"`
	StatusLine       string         `json:"statusLine,omitempty"`
	Comments         []string       `json:"comments,omitempty"`
	LogSize          int64          `json:"logSize"`
	LogComplete      bool           `json:"logComplete"`

	Created  time.Time `json:"created"`
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
}

// task is a task or a script. Guarded by Server.mu.
type task struct {
	view        TaskView // without the fields that viewOf sets
	request     TaskRequest
	secrets     []msg.Secret
	input       []byte // the input context; nil when the task has ended
	log         jobLog
	changed     notifier
	lease       time.Time // end of the offer; zero for scripts
	key         seal.Key
	sealed      string      // the encrypted input of this offer, if it is too large for the offer
	ending      *api.Ending // its Result is replaced by a digest
	storedBytes int64       // bytes of log and result in memory after the finish
	finishErr   error       // the response to ending, repeated for a repeated finish
}

// Task returns a task. It fails if the id is unknown or the task was deleted.
func (s *Server) Task(id string) (TaskView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.task(id)
	if err != nil {
		return TaskView{}, err
	}
	return s.viewOf(t), nil
}

// Tasks returns all stored tasks, newest first.
func (s *Server) Tasks() []TaskView {
	s.mu.Lock()
	defer s.mu.Unlock()
	views := make([]TaskView, 0, len(s.tasks))
	for _, t := range s.tasks {
		views = append(views, s.viewOf(t))
	}
	slices.SortFunc(views, func(a, b TaskView) int { return b.Created.Compare(a.Created) })
	return views
}

// Wait waits until a task has ended, and returns it. Its log may still grow: see WaitLog.
func (s *Server) Wait(ctx context.Context, id string) (TaskView, error) {
	return s.waitFor(ctx, id, func(t *task) bool { return t.view.State.Done() })
}

// WaitLog waits until a task has ended and its log is complete, and returns the task.
func (s *Server) WaitLog(ctx context.Context, id string) (TaskView, error) {
	return s.waitFor(ctx, id, (*task).logComplete)
}

func (s *Server) waitFor(ctx context.Context, id string, condition func(*task) bool) (TaskView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.task(id)
	if err != nil {
		return TaskView{}, err
	}
	for !condition(t) {
		changed := t.changed.wait()
		s.mu.Unlock()
		select {
		case <-changed:
			s.mu.Lock()
		case <-ctx.Done():
			s.mu.Lock()
			return TaskView{}, context.Cause(ctx)
		}
	}
	return s.viewOf(t), nil
}

// Abort asks the runner to abort a task. An unconfirmed task ends at once. Abort of an ended task does nothing.
func (s *Server) Abort(id, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.task(id)
	if err != nil || t.view.State.Done() || t.view.AbortReason != "" {
		return err
	}
	t.view.AbortReason = cmp.Or(reason, "aborted by a user")
	s.ledger.record(t.entry("abort", t.view.AbortReason))
	if t.view.Runner != "" {
		s.events.send(t.view.Runner, "AbortJob", t.view.ID, t.abortEvent())
	}
	if t.view.State != Running {
		t.view.Outcome = api.OutcomeAborted
		s.endTask(t, Aborted, "Aborted: "+t.view.AbortReason)
	}
	t.changed.notify()
	return nil
}

func (s *Server) task(id string) (*task, error) {
	if t := s.tasks[id]; t != nil {
		return t, nil
	}
	return nil, errorf(http.StatusNotFound, "task %q not found: it never existed or was deleted", id)
}

// endTask moves a task to a final state, and deletes the oldest finished tasks beyond the limits.
func (s *Server) endTask(t *task, state State, message string) {
	t.view.State, t.view.Message, t.view.Finished = state, message, time.Now()
	t.input, t.sealed = nil, ""
	s.events.dropEvents(t.view.Runner, func(e event) bool { return e.job == t.view.ID })
	s.options.Log.Info().Str("job", t.view.ID).Str("state", string(state)).Msg("task ended")
	s.open = slices.DeleteFunc(s.open, func(o *task) bool { return o == t })
	t.storedBytes += int64(len(t.log.text))
	s.finished = append(s.finished, t)
	s.finishedBytes += t.storedBytes
	for len(s.finished) > s.options.MaxFinishedTasks || s.finishedBytes > s.options.MaxFinishedBytes && len(s.finished) > 1 {
		delete(s.tasks, s.finished[0].view.ID)
		s.finishedBytes -= s.finished[0].storedBytes
		s.finished = s.finished[1:]
	}
	t.changed.notify()
}

// logComplete reports whether the task has ended and its log will not grow. Scripts and unconfirmed tasks have no log here.
func (t *task) logComplete() bool {
	return t.view.State.Done() && (t.log.total >= 0 || t.view.Kind == api.KindScript || t.view.Started.IsZero())
}

func (s *Server) viewOf(t *task) TaskView {
	v := t.view
	if v.State == Queued {
		v.Waits = s.waitReason(t)
	}
	v.LogSize, v.LogComplete = t.log.size, t.logComplete()
	v.StatusLine, v.Comments = t.log.markers.status, slices.Clone(t.log.markers.comments)
	v.OutputProperties = maps.Clone(v.OutputProperties)
	return v
}

// waitReason returns what a queued task waits for.
func (s *Server) waitReason(t *task) string {
	if r := s.mostRecentRunner(t); r != nil {
		if used := s.usedSlots(r); t.view.Kind == api.KindTask && used >= r.config.Capacity {
			return fmt.Sprintf("for a free slot of runner %s: %d of %d are in use", r.info.Name, used, r.config.Capacity)
		}
		return "for runner " + r.info.Name + " to ask for jobs"
	}
	reason := "for a runner"
	if needs := t.requiredCapabilities(); len(needs) > 0 {
		reason += " with the capabilities " + strings.Join(needs, ", ")
	}
	if slices.ContainsFunc(s.runners, func(r *runner) bool { return r.canRun(t) }) {
		reason += " that is enabled"
	}
	return reason
}

// usedSlots counts the tasks that a runner was offered and has not finished. Scripts need no slot.
func (s *Server) usedSlots(r *runner) (used int) {
	for _, t := range s.tasks {
		if t.view.Runner == r.id && t.view.Kind == api.KindTask && (t.view.State == Running || t.view.State == Offered && !t.offerable()) {
			used++
		}
	}
	return used
}

func (t *task) entry(op, detail string) Entry {
	return Entry{Op: op, Runner: t.view.Runner, Job: t.view.ID, Execution: t.view.Execution, Detail: detail}
}

func (t *task) abortEvent() api.AbortJobEvent {
	return api.AbortJobEvent{JobID: t.view.ID, ExecutionID: t.view.Execution, Reason: t.view.AbortReason}
}
