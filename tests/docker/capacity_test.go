package docker

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/tests/harness"
)

// testJob is a task with its expected outcome.
type testJob struct {
	image, taskType string
	properties      map[string]any
	state           devserver.State
	check           func(view devserver.TaskView, log string) string // returns what is wrong, or ""
}

// testJobs returns n jobs of several task types. The image changes only every 20 jobs, because a change evicts the idle executors of
// the other image.
func testJobs(marker string, n int) []testJob {
	const run = 20
	images := []string{shared.Blue, shared.Green}
	all := make([]testJob, n)
	for i := range all {
		all[i] = newTestJob(fmt.Sprintf("%s-%d.", marker, i), i)
		all[i].image = images[i/run%2]
	}
	return all
}

// newTestJob returns a job that has name, which is unique, in its input, output or log.
func newTestJob(name string, i int) testJob {
	switch i % 4 {
	case 0:
		return testJob{taskType: "sample.Fail", properties: map[string]any{"message": name}, state: devserver.Failed,
			check: func(v devserver.TaskView, _ string) string {
				return diff("message", v.Message, "Execution failed.\nCause: "+name)
			}}
	case 1:
		return testJob{taskType: "sample.Large", properties: map[string]any{"text": name}, state: devserver.Completed,
			check: func(v devserver.TaskView, _ string) string { return diff("text", v.OutputProperties["text"], name) }}
	case 2:
		return testJob{taskType: "sample.Slow", properties: map[string]any{"steps": 3, "delayMillis": 5}, state: devserver.Completed,
			check: func(v devserver.TaskView, log string) string {
				return diff("steps", v.OutputProperties["stepsDone"], 3.0) +
					diff("steps in the log", steps(log), []string{"step 1 of 3", "step 2 of 3", "step 3 of 3"})
			}}
	default:
		return testJob{taskType: "sample.Hello", properties: map[string]any{"yourName": name}, state: devserver.Completed,
			check: func(v devserver.TaskView, log string) string {
				return diff("greeting", v.OutputProperties["greeting"], "Hello "+name) +
					diff("status", v.StatusLine, "Greeting "+name) +
					diff("comments", v.Comments, []string{"Hello " + name + "\nfrom the sample plugin"})
			}}
	}
}

func diff(what string, got, want any) string {
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Sprintf("%s: got %q, want %q. ", what, got, want)
	}
	return ""
}

var step = regexp.MustCompile(`step \d+ of \d+`)

func steps(log string) []string { return step.FindAllString(log, -1) }

// runTestJobs submits all jobs, waits for them and checks their outcomes.
func runTestJobs(env *harness.Env, all []testJob) []string {
	env.T.Helper()
	var ids []string
	for _, e := range all {
		ids = append(ids, env.Submit(e.image, e.taskType, e.properties))
	}
	name := regexp.MustCompile(env.Marker + `-\d+\.`)
	for i, e := range all {
		view, log := env.WaitDone(ids[i])
		if view.State != e.state {
			env.T.Errorf("task %d, %s, is %s: %s\n%s", i, e.taskType, view.State, view.Message, log)
		} else if wrong := e.check(view, log); wrong != "" {
			env.T.Errorf("task %d, %s: %s\n%s", i, e.taskType, wrong, log)
		}
		for _, found := range name.FindAllString(log, -1) {
			if found != fmt.Sprintf("%s-%d.", env.Marker, i) {
				env.T.Errorf("the log of task %d, %s, contains the name of another: %s\n%s", i, e.taskType, found, log)
			}
		}
		if strings.Count(log, "\n") == 0 {
			env.T.Errorf("task %d, %s, has no log", i, e.taskType)
		}
	}
	return ids
}

func TestJobsOfTwoImagesShareWarmExecutors(t *testing.T) {
	t.Parallel()
	const capacity, eviction = 3, 3 * time.Second
	jobs := harness.Size(80, 200)
	env := shared.NewEnv(t, harness.Options{Capacity: capacity, Eviction: eviction})
	started := time.Now()
	ids := runTestJobs(env, testJobs(env.Marker, jobs))
	elapsed := time.Since(started)
	warm := env.Executors().Alive
	env.WaitNoExecutors()

	l := env.CheckCapacity(capacity)
	t.Logf("%d jobs in %d executors, at most %d at the same time, in %v", jobs, len(l.Created), l.MaxAlive, elapsed)
	if len(l.Created) > jobs/4 {
		t.Errorf("%d executors were created for %d jobs: warm executors are not reused", len(l.Created), jobs)
	}
	if len(warm) == 0 {
		t.Error("no executor was warm after the last job: the eviction is not tested")
	}
	last := lastResultTimes(env, ids)
	for executor := range warm {
		idle := l.Died[executor].Sub(last[executor])
		t.Logf("executor %s ended %v after its last result", executor, idle)
		if idle < eviction || idle > eviction+harness.Timeout/10 {
			t.Errorf("executor %s ended %v after its last result, the eviction time is %v", executor, idle, eviction)
		}
	}
	images := map[string]bool{}
	for _, id := range ids {
		view, _ := env.WaitDone(id)
		images[view.Image] = true
	}
	if len(images) != 2 {
		t.Errorf("the jobs were of %d images", len(images))
	}
}

// lastResultTimes returns when the last result of each executor was stored.
func lastResultTimes(env *harness.Env, jobs []string) map[string]time.Time {
	env.T.Helper()
	var executions []string
	for _, id := range jobs {
		executions = append(executions, env.ExecutionOf(id))
	}
	last := map[string]time.Time{}
	for _, l := range env.LogLines("result stored") {
		if slices.Contains(executions, l.Execution) {
			last[l.Executor] = l.Time
		}
	}
	return last
}

func TestSingleJobModeUsesOneExecutorPerJob(t *testing.T) {
	t.Parallel()
	capacity, jobs := 3, harness.Size(12, 40)
	env := shared.NewEnv(t, harness.Options{Capacity: capacity})
	started := time.Now()
	ids := runTestJobs(env, testJobs(env.Marker, jobs))
	elapsed := time.Since(started)
	env.WaitNoExecutors()

	l := env.CheckCapacity(capacity)
	t.Logf("%d jobs in %d executors, at most %d at the same time, in %v", jobs, len(l.Created), l.MaxAlive, elapsed)
	if len(l.Created) != jobs || len(lastResultTimes(env, ids)) != jobs {
		t.Errorf("%d executors were created, and %d gave results, for %d jobs", len(l.Created), len(lastResultTimes(env, ids)), jobs)
	}
}
