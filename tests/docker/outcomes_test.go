package docker

import (
	"slices"
	"strings"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
	"runnerd/tests/harness"
)

const password = `s3cr3t"with a quote`

// outcomeCase is a job with the outcome that its user should see.
type outcomeCase struct {
	name     string // completes "a job …"
	image    *string
	ref      string // instead of image
	taskType string
	set      map[string]any
	timeout  int64 // seconds
	policy   api.PullPolicy

	state   devserver.State
	outcome api.Outcome
	code    int
	message []string // parts of the message
	log     []string // parts of the log
}

func misbehaving(how string) map[string]any { return map[string]any{"how": how} }

func outcomeCases() []outcomeCase {
	const (
		completed = devserver.Completed
		failed    = devserver.Failed
		misbehave = "sample.Misbehave"
	)
	image := &shared.Blue
	return []outcomeCase{
		{name: "that fails", image: image, taskType: "sample.Fail", set: map[string]any{"message": "no such host"},
			state: failed, outcome: api.OutcomeCompleted, code: -1, message: []string{"Cause: no such host"}},
		{name: "of a type that the plugin does not have", image: image, taskType: "sample.Nonsense",
			state: failed, outcome: api.OutcomeCompleted, code: -1, message: []string{"unknown task type sample.Nonsense"}},
		{name: "of an image that does not exist here", ref: "runnerd-e2e/nowhere:1.0", taskType: "sample.Hello", policy: api.PullNever,
			state: failed, outcome: api.OutcomeFailed, message: []string{`"runnerd-e2e/nowhere:1.0"`, "the image is not on this machine", "if-not-present"}},
		{name: "of an image whose registry cannot be reached", ref: "127.0.0.1:1/nowhere:1.0", taskType: "sample.Hello",
			state: failed, outcome: api.OutcomeFailed, message: []string{`"127.0.0.1:1/nowhere:1.0"`, "connection refused"}},
		{name: "of an image with an invalid name", ref: "What is this?", taskType: "sample.Hello",
			state: failed, outcome: api.OutcomeFailed, message: []string{"invalid image name"}},
		{name: "whose plugin exits without a result", image: image, taskType: misbehave, set: misbehaving("exit-without-result"),
			state: failed, outcome: api.OutcomeFailed, code: 3,
			message: []string{"the plugin exited with code 3 without a result. Its last output:", "misbehaving: exit-without-result"}},
		{name: "whose plugin exits before it asks", image: &exitsEarly, taskType: "sample.Hello",
			state: failed, outcome: api.OutcomeFailed, code: 7,
			message: []string{"the plugin exited with code 7 before it asked for its job. Its last output:", "cannot find my settings"}},
		{name: "whose plugin never asks", image: &neverPolls, taskType: "sample.Hello",
			state: failed, outcome: api.OutcomeFailed,
			message: []string{"did not ask for its job within 10s", "integration SDK", "this is not a plugin: never-polls"}},
		{name: "whose plugin hangs", image: image, taskType: misbehave, set: misbehaving("hang"), timeout: 2,
			state: failed, outcome: api.OutcomeTimedOut, code: 134, message: []string{"no result after 2s", "The plugin answered SIGABRT with its result after "}},
		{name: "whose plugin hangs and ignores signals", image: image, taskType: misbehave, set: misbehaving("hang-ignoring-signals"), timeout: 2,
			state: failed, outcome: api.OutcomeTimedOut, message: []string{"no result after 2s", "The plugin was killed (SIGKILL) after "}},
		{name: "whose plugin exits with 255 after its result", image: image, taskType: misbehave, set: misbehaving("exit-after-result"),
			state: completed, outcome: api.OutcomeCompleted},
		{name: "whose plugin hangs after its result", image: image, taskType: misbehave, set: misbehaving("hang-after-result"),
			state: completed, outcome: api.OutcomeCompleted},
		{name: "whose plugin logs after its result", image: image, taskType: misbehave, set: misbehaving("log-after-result"),
			state: completed, outcome: api.OutcomeCompleted, log: []string{"logged after the result"}},
		{name: "whose plugin only writes its result file", image: image, taskType: misbehave, set: misbehaving("lose-callback"),
			state: completed, outcome: api.OutcomeCompleted},
		{name: "whose plugin takes too much memory", image: image, taskType: misbehave, set: map[string]any{"how": "memory", "size": 400},
			state: failed, outcome: api.OutcomeFailed, code: 137, message: []string{"ran out of memory", "memory limit"}},
		{name: "whose result is too large", image: image, taskType: "sample.Large", set: map[string]any{"size": 3 << 20},
			state: failed, outcome: api.OutcomeFailed, message: []string{"more than the limit of 2097152 bytes", "raise --max-result"}},
		{name: "with a password", image: image, taskType: "sample.Secret", set: map[string]any{"password": password},
			state: completed, outcome: api.OutcomeCompleted, log: []string{"plain: ***", "on stdout: ***", "in two writes: ***"}},
	}
}

func TestEveryJobReportsItsOutcome(t *testing.T) {
	t.Parallel()
	for mode, eviction := range map[string]time.Duration{"daemon mode": 2 * time.Second, "single-job mode": 0} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			env := shared.NewEnv(t, harness.Options{Capacity: 4, Eviction: eviction, Flags: []string{
				"--pickup-timeout=10s", "--finish-timeout=3s", "--abort-wait=1s", "--term-wait=1s", "--max-result=2MiB",
				"--executor-memory=256MiB",
			}})
			all := outcomeCases()
			ids := make([]string, len(all))
			for i, f := range all {
				request := devserver.TaskRequest{Image: f.ref, TaskType: f.taskType, Properties: f.set, TimeoutSeconds: f.timeout, ImagePullPolicy: f.policy}
				if f.image != nil {
					request.Image = *f.image
				}
				ids[i] = env.SubmitTask(request)
			}
			for i, f := range all {
				view, log := env.WaitDone(ids[i])
				f.check(t, view, log)
			}
			checkNoPassword(env, ids)
			env.WaitNoExecutors() // the slots of hanging jobs are free again
			env.CheckCapacity(4)
			checkStopSequences(env)
		})
	}
}

func (f outcomeCase) check(t *testing.T, view devserver.TaskView, log string) {
	t.Helper()
	if view.State != f.state || view.Outcome != f.outcome || *view.ExitCode != f.code {
		t.Errorf("a job %s is %s (%s, code %d), want %s (%s, code %d): %s\n%s", f.name, view.State, view.Outcome, *view.ExitCode,
			f.state, f.outcome, f.code, view.Message, log)
	}
	for _, part := range f.message {
		if !strings.Contains(view.Message, part) {
			t.Errorf("the message of a job %s lacks %q: %s", f.name, part, view.Message)
		}
	}
	for _, part := range f.log {
		if !strings.Contains(log, part) {
			t.Errorf("the log of a job %s lacks %q:\n%s", f.name, part, log)
		}
	}
}

// checkNoPassword checks that the password is neither on disk nor in anything that leaves the runner, in plain text or in JSON.
func checkNoPassword(env *harness.Env, ids []string) {
	env.T.Helper()
	for _, form := range []string{password, strings.ReplaceAll(password, `"`, `\"`)} {
		if files := env.FilesContaining(form); files != nil {
			env.T.Errorf("the password is in %v", files)
		}
		if strings.Contains(env.Runner.Log(), form) {
			env.T.Error("the password is in the runner's log")
		}
		for _, id := range ids {
			view, log := env.WaitDone(id)
			if strings.Contains(log+view.Message+strings.Join(view.Comments, ""), form) {
				env.T.Errorf("the password is in the log, the message or a comment of %s:\n%s", view.TaskType, log)
			}
		}
	}
}

// checkStopSequences checks that at least one executor, whose plugin ignores signals, was sent SIGABRT and SIGTERM before SIGKILL.
func checkStopSequences(env *harness.Env) {
	env.T.Helper()
	var escalated int
	for executor := range env.Executors().Died {
		if slices.Equal(env.Signals(executor), []string{"6", "15", "9"}) {
			escalated++
		}
	}
	if escalated == 0 {
		env.T.Error("no executor was sent SIGABRT, SIGTERM and SIGKILL")
	}
}
