package docker

import (
	"slices"
	"strings"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
	"runnerd/tests/rig"
)

const password = `s3cr3t"with a quote`

// fate is a job and what its user is told.
type fate struct {
	job      string // in the reader's words
	image    *string
	ref      string // instead of image
	taskType string
	set      map[string]any
	timeout  int64 // seconds
	policy   api.PullPolicy

	state   devserver.State
	outcome api.Outcome
	code    int
	says    []string // in the message
	prints  []string // in the log
}

func misbehaving(how string) map[string]any { return map[string]any{"how": how} }

func fates() []fate {
	const (
		completed = devserver.Completed
		failed    = devserver.Failed
		misbehave = "sample.Misbehave"
	)
	image := &shop.Blue
	return []fate{
		{job: "that fails", image: image, taskType: "sample.Fail", set: map[string]any{"message": "no such host"},
			state: failed, outcome: api.OutcomeCompleted, code: -1, says: []string{"Cause: no such host"}},
		{job: "of a type that the plugin does not have", image: image, taskType: "sample.Nonsense",
			state: failed, outcome: api.OutcomeCompleted, code: -1, says: []string{"this plugin has no type sample.Nonsense"}},
		{job: "of an image that does not exist here", ref: "runnerd-e2e/nowhere:1.0", taskType: "sample.Hello", policy: api.PullNever,
			state: failed, outcome: api.OutcomeFailed, says: []string{`"runnerd-e2e/nowhere:1.0"`, "it is not on this machine", "if-not-present"}},
		{job: "of an image whose registry cannot be reached", ref: "127.0.0.1:1/nowhere:1.0", taskType: "sample.Hello",
			state: failed, outcome: api.OutcomeFailed, says: []string{`"127.0.0.1:1/nowhere:1.0"`, "connection refused"}},
		{job: "of an image that has no proper name", ref: "What is this?", taskType: "sample.Hello",
			state: failed, outcome: api.OutcomeFailed, says: []string{"this is no name of an image"}},
		{job: "whose plugin exits without a result", image: image, taskType: misbehave, set: misbehaving("exit-without-result"),
			state: failed, outcome: api.OutcomeFailed, code: 3,
			says: []string{"the plugin exited with code 3 without a result. Its last output:", "misbehaving: exit-without-result"}},
		{job: "whose plugin exits before it asks", image: &quitter, taskType: "sample.Hello",
			state: failed, outcome: api.OutcomeFailed, code: 7,
			says: []string{"the plugin exited with code 7 before it asked for its job. Its last output:", "cannot find my settings"}},
		{job: "whose plugin never asks", image: &deaf, taskType: "sample.Hello",
			state: failed, outcome: api.OutcomeFailed,
			says: []string{"did not ask for its job within 10s", "integration SDK", "this is no plugin, but a deaf"}},
		{job: "whose plugin hangs", image: image, taskType: misbehave, set: misbehaving("hang"), timeout: 2,
			state: failed, outcome: api.OutcomeTimedOut, code: 134, says: []string{"no result after 2s", "The plugin answered SIGABRT with its result after "}},
		{job: "whose plugin hangs and is deaf to signals", image: image, taskType: misbehave, set: misbehaving("hang-ignoring-signals"), timeout: 2,
			state: failed, outcome: api.OutcomeTimedOut, says: []string{"no result after 2s", "It took SIGKILL, after "}},
		{job: "whose plugin exits with 255 after its result", image: image, taskType: misbehave, set: misbehaving("exit-after-result"),
			state: completed, outcome: api.OutcomeCompleted},
		{job: "whose plugin hangs after its result", image: image, taskType: misbehave, set: misbehaving("hang-after-result"),
			state: completed, outcome: api.OutcomeCompleted},
		{job: "whose plugin talks after its result", image: image, taskType: misbehave, set: misbehaving("log-after-result"),
			state: completed, outcome: api.OutcomeCompleted, prints: []string{"said after the result"}},
		{job: "whose plugin only writes its result file", image: image, taskType: misbehave, set: misbehaving("lose-callback"),
			state: completed, outcome: api.OutcomeCompleted},
		{job: "whose plugin takes too much memory", image: image, taskType: misbehave, set: map[string]any{"how": "memory", "size": 400},
			state: failed, outcome: api.OutcomeFailed, code: 137, says: []string{"lack of memory", "memory limit"}},
		{job: "whose result is too large", image: image, taskType: "sample.Large", set: map[string]any{"size": 3 << 20},
			state: failed, outcome: api.OutcomeFailed, says: []string{"more than the 2097152 that this runner takes", "raise --max-result"}},
		{job: "with a password", image: image, taskType: "sample.Secret", set: map[string]any{"password": password},
			state: completed, outcome: api.OutcomeCompleted, prints: []string{"plain: ***", "on the other stream: ***", "in two writes: ***"}},
	}
}

func TestEveryJobEndsWithWhatItsUserNeedsToKnow(t *testing.T) {
	t.Parallel()
	for mode, eviction := range map[string]time.Duration{"daemon mode": 2 * time.Second, "normal mode": 0} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := shop.World(t, rig.Plan{Capacity: 4, Eviction: eviction, Flags: []string{
				"--pickup-timeout=10s", "--settle-timeout=3s", "--abort-wait=1s", "--term-wait=1s", "--max-result=2MiB",
				"--executor-memory=256MiB",
			}})
			all := fates()
			ids := make([]string, len(all))
			for i, f := range all {
				request := devserver.TaskRequest{Image: f.ref, TaskType: f.taskType, Properties: f.set, TimeoutSeconds: f.timeout, ImagePullPolicy: f.policy}
				if f.image != nil {
					request.Image = *f.image
				}
				ids[i] = w.SubmitTask(request)
			}
			for i, f := range all {
				view, log := w.Done(ids[i])
				f.check(t, view, log)
			}
			noPassword(w, ids)
			w.AllDie() // the places of those that hang are free again
			w.NoMoreThan(4)
			stopSequences(w)
		})
	}
}

func (f fate) check(t *testing.T, view devserver.TaskView, log string) {
	t.Helper()
	if view.State != f.state || view.Outcome != f.outcome || *view.ExitCode != f.code {
		t.Errorf("a job %s is %s (%s, code %d), want %s (%s, code %d): %s\n%s", f.job, view.State, view.Outcome, *view.ExitCode,
			f.state, f.outcome, f.code, view.Message, log)
	}
	for _, part := range f.says {
		if !strings.Contains(view.Message, part) {
			t.Errorf("a job %s does not say %q, but %s", f.job, part, view.Message)
		}
	}
	for _, part := range f.prints {
		if !strings.Contains(log, part) {
			t.Errorf("a job %s has not %q in its log, but %s", f.job, part, log)
		}
	}
}

// noPassword looks for it in all that leaves the runner, as it is and as it is in JSON.
func noPassword(w *rig.World, ids []string) {
	w.T.Helper()
	for _, form := range []string{password, strings.ReplaceAll(password, `"`, `\"`)} {
		if files := w.OnDisk(form); files != nil {
			w.T.Errorf("the password stands in %v", files)
		}
		if strings.Contains(w.Runner.Said(), form) {
			w.T.Error("the password is in what the runner says")
		}
		for _, id := range ids {
			view, log := w.Done(id)
			if strings.Contains(log+view.Message+strings.Join(view.Comments, ""), form) {
				w.T.Errorf("the password is in the log, the message or a comment of %s:\n%s", view.TaskType, log)
			}
		}
	}
}

// stopSequences: those who do not end by themselves are asked twice before they are killed.
func stopSequences(w *rig.World) {
	w.T.Helper()
	var patient int
	for executor := range w.Lives().Died {
		if slices.Equal(w.Signals(executor), []string{"6", "15", "9"}) {
			patient++
		}
	}
	if patient == 0 {
		w.T.Error("no executor was sent SIGABRT, SIGTERM and SIGKILL")
	}
}
