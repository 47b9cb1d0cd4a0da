package devserver

import (
	"cmp"
	"context"
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

// TaskRequest is a task, or a script, to be run.
type TaskRequest struct {
	Image      string         `json:"image"` // may be left out where the type's definition names one
	TaskType   string         `json:"taskType"`
	Kind       api.Kind       `json:"kind"` // may be left out: known from the type, else a task
	Properties map[string]any `json:"properties"`
	RunAs      contract.User  `json:"runAs"`

	Capabilities    []string       `json:"capabilities"` // that a runner must have to get it; for scripts remote-script is one more
	Priority        int            `json:"priority"`
	TimeoutSeconds  int64          `json:"timeoutSeconds"`
	ImagePullPolicy api.PullPolicy `json:"imagePullPolicy"`
	Limits          api.Limits     `json:"limits"`
}

// State is how far a task has come, as people see it.
type State string

// The states of a task, in their order; the last three are final.
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

// TaskView is a task as people see it.
type TaskView struct {
	ID       string   `json:"id"`
	URL      string   `json:"url"`
	LogURL   string   `json:"logUrl"`
	Kind     api.Kind `json:"kind"`
	TaskType string   `json:"taskType"`
	Image    string   `json:"image"`
	Note     string   `json:"note,omitempty"`  // what the server took for granted
	Waits    string   `json:"waits,omitempty"` // for what, if no enabled runner can take it

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

// task is what the server knows of one. Guarded by Server.mu.
type task struct {
	view        TaskView // but for what the log knows
	request     TaskRequest
	secrets     []msg.Secret
	input       []byte // the input context; nil once the task is done
	log         jobLog
	changed     notifier
	lease       time.Time // end of the offer; zero for scripts
	key         seal.Key
	sealed      string      // the encrypted input of this offer, where it is fetched
	ending      *api.Ending // with a digest of the result instead of the result
	storedBytes int64       // bytes that it keeps in memory once it is done
	finishErr   error       // the answer to ending, which a repeated one gets again
}

// Task returns a task; the error is that there is none of that id (any more).
func (s *Server) Task(id string) (TaskView, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.task(id)
	if err != nil {
		return TaskView{}, err
	}
	return s.viewOf(t), nil
}

// Tasks lists all that are kept, newest first.
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

// Wait returns the task once it is done. Its log may still grow: WaitLog.
func (s *Server) Wait(ctx context.Context, id string) (TaskView, error) {
	return s.waitFor(ctx, id, func(t *task) bool { return t.view.State.Done() })
}

// WaitLog returns the task once it is done and its log is complete.
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

// Abort asks for the end of a task. One that no runner has confirmed ends at once; one that is done stays as it is.
func (s *Server) Abort(id, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.task(id)
	if err != nil || t.view.State.Done() || t.view.AbortReason != "" {
		return err
	}
	t.view.AbortReason = cmp.Or(reason, "aborted by a person")
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
	return nil, errorf(http.StatusNotFound, "there is no task %q, or no more", id)
}

// endTask moves a task to a final state, and forgets the oldest ones beyond the bound.
func (s *Server) endTask(t *task, state State, message string) {
	t.view.State, t.view.Message, t.view.Finished = state, message, time.Now()
	t.input, t.sealed = nil, ""
	s.events.dropEvents(t.view.Runner, func(e event) bool { return e.job == t.view.ID })
	s.options.Log.Info().Str("job", t.view.ID).Str("to", string(state)).Msg("task done")
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

// logComplete: nothing more will be heard of it. Scripts have no log here, nor has what no runner confirmed.
func (t *task) logComplete() bool {
	return t.view.State.Done() && (t.log.total >= 0 || t.view.Kind == api.KindScript || t.view.Started.IsZero())
}

func (s *Server) viewOf(t *task) TaskView {
	v := t.view
	if v.State == Queued && s.mostRecentRunner(t) == nil {
		v.Waits = "for a runner"
		if needs := t.requiredCapabilities(); len(needs) > 0 {
			v.Waits += " with the capabilities " + strings.Join(needs, ", ")
		}
		if slices.ContainsFunc(s.runners, func(r *runner) bool { return r.canRun(t) }) {
			v.Waits += " that is enabled"
		}
	}
	v.LogSize, v.LogComplete = t.log.size, t.logComplete()
	v.StatusLine, v.Comments = t.log.markers.status, slices.Clone(t.log.markers.comments)
	v.OutputProperties = maps.Clone(v.OutputProperties)
	return v
}

func (t *task) entry(op, detail string) Entry {
	return Entry{Op: op, Runner: t.view.Runner, Job: t.view.ID, Execution: t.view.Execution, Detail: detail}
}

func (t *task) abortEvent() api.AbortJobEvent {
	return api.AbortJobEvent{JobID: t.view.ID, ExecutionID: t.view.Execution, Reason: t.view.AbortReason}
}
