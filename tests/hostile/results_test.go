package hostile

import (
	"strings"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/tests/harness"
)

// A forged or replayed result neither ends a running job nor changes the result of one that has ended.
func TestForgedOrReplayedResultEndsNoJob(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Minute})
	const answered = "204 No Content"
	keep := attempt{what: "post", with: "own"} // the control: it is accepted, so the result that the SDK sends later is not
	var tasks []string
	for _, row := range []struct {
		forged string
		attempt
		want string
	}{
		{"control: its own", keep, "posted"},
		{"the previous job's result, at its URL", attempt{what: "post", with: "saved", target: "SAVED"}, answered},
		{"an earlier job's result", attempt{what: "post", with: "saved"}, answered},
		{"an earlier job's result, at its URL", attempt{what: "post", with: "saved", target: "SAVED"}, "404 Not Found"},
		{"control: its own once more", keep, "posted"},
		{"the previous job's result", attempt{what: "post", with: "saved"}, answered},
		{"encrypted with another key", attempt{what: "post", with: "another key"}, answered},
		{"not encrypted", attempt{what: "post", with: "no key"}, answered},
		{"control: its own once more", keep, "posted"},
	} {
		task := row.submit(env)
		if got := resultOf(env, task); got != row.want {
			t.Errorf("%s: the job's result is %q, want %q", row.forged, got, row.want)
		}
		tasks = append(tasks, task)
	}
	gate := newGate(env)
	replay := attempt{what: "replace", with: "the result of an earlier job", gate: gate}.submit(env)
	env.WaitRunnerLog("plugin did not start its job") // because the file was made with the previous job's key
	gate.open()
	if got := resultOf(env, replay); got != "by the SDK's file" {
		t.Errorf("the result of the job with a replayed file is %q", got)
	}
	env.CheckFinishedOnce(append(tasks, replay)...)
	for _, task := range tasks { // the results have not changed
		resultOf(env, task)
	}
}

func TestResultPathThatIsNoFileIsIgnored(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Minute})
	for _, trick := range []string{"nothing", "a pipe", "a link to a file beside", "a link out", "a directory", "nothing"} {
		gate := newGate(env)
		task := attempt{what: "replace", with: trick, gate: gate}.submit(env)
		if trick != "nothing" { // the control
			harness.WaitUntil(t, "the runner ignores "+trick, func() bool {
				return len(env.LogLinesOf(task, "result file ignored")) > 0
			})
			if view, err := env.Server.Task(task); err != nil || view.State != devserver.Running {
				t.Errorf("%s: the job is %s, %v", trick, view.State, err)
			}
		}
		gate.open()
		if got := resultOf(env, task); got != "by the SDK's file" {
			t.Errorf("%s: the result is %q", trick, got)
		}
	}
	env.OnlyExecutor() // all ran in one executor, whose directory was emptied after each job
}

func TestDeeplyNestedResultFailsOnlyItsJob(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Minute})
	if got := (attempt{what: "nest-result", size: 100}).run(env); got != "nested" { // the control
		t.Errorf("the control's result is %q", got)
	}
	view, _ := env.WaitDone(attempt{what: "nest-result", size: 1 << 20}.submit(env))
	if view.State != devserver.Failed || !strings.Contains(view.Message, "result") {
		t.Errorf("the job is %s: %s", view.State, view.Message)
	}
	if got := (attempt{what: "nest-result", size: 100}).run(env); got != "nested" {
		t.Errorf("the next result is %q", got)
	}
	env.OnlyExecutor()
}
