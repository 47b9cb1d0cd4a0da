package docker

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/tests/rig"
)

// errand is a task with what should become of it.
type errand struct {
	image, taskType string
	properties      map[string]any
	state           devserver.State
	check           func(view devserver.TaskView, log string) string // what is wrong
}

// errands are of several task types, for both images by turns: in runs, as every change of the image costs the idle
// executors of the other.
func errands(marker string, n int) []errand {
	const run = 20
	images := []string{shop.Blue, shop.Green}
	all := make([]errand, n)
	for i := range all {
		all[i] = errandOf(fmt.Sprintf("%s-%d.", marker, i), i)
		all[i].image = images[i/run%2]
	}
	return all
}

// errandOf has a name of its own in input, output and log.
func errandOf(name string, i int) errand {
	switch i % 4 {
	case 0:
		return errand{taskType: "sample.Fail", properties: map[string]any{"message": name}, state: devserver.Failed,
			check: func(v devserver.TaskView, _ string) string {
				return differs("message", v.Message, "Execution failed.\nCause: "+name)
			}}
	case 1:
		return errand{taskType: "sample.Large", properties: map[string]any{"text": name}, state: devserver.Completed,
			check: func(v devserver.TaskView, _ string) string { return differs("text", v.OutputProperties["text"], name) }}
	case 2:
		return errand{taskType: "sample.Slow", properties: map[string]any{"steps": 3, "delayMillis": 5}, state: devserver.Completed,
			check: func(v devserver.TaskView, log string) string {
				return differs("steps", v.OutputProperties["stepsDone"], 3.0) +
					differs("steps in the log", steps(log), []string{"step 1 of 3", "step 2 of 3", "step 3 of 3"})
			}}
	default:
		return errand{taskType: "sample.Hello", properties: map[string]any{"yourName": name}, state: devserver.Completed,
			check: func(v devserver.TaskView, log string) string {
				return differs("greeting", v.OutputProperties["greeting"], "Hello "+name) +
					differs("status", v.StatusLine, "Greeting "+name) +
					differs("comments", v.Comments, []string{"Hello " + name + "\nfrom the sample plugin"})
			}}
	}
}

func differs(what string, got, want any) string {
	if g, w := fmt.Sprintf("%q", got), fmt.Sprintf("%q", want); fmt.Sprint(got) != fmt.Sprint(want) {
		return fmt.Sprintf("%s: got %s, want %s. ", what, g, w)
	}
	return ""
}

var step = regexp.MustCompile(`step \d+ of \d+`)

func steps(log string) []string { return step.FindAllString(log, -1) }

// runErrands submits all, and returns when all are done and right.
func runErrands(w *rig.World, all []errand) []string {
	w.T.Helper()
	var ids []string
	for _, e := range all {
		ids = append(ids, w.Submit(e.image, e.taskType, e.properties))
	}
	name := regexp.MustCompile(w.Marker + `-\d+\.`)
	for i, e := range all {
		view, log := w.Done(ids[i])
		if view.State != e.state {
			w.T.Errorf("task %d, %s, is %s: %s\n%s", i, e.taskType, view.State, view.Message, log)
		} else if wrong := e.check(view, log); wrong != "" {
			w.T.Errorf("task %d, %s: %s\n%s", i, e.taskType, wrong, log)
		}
		for _, found := range name.FindAllString(log, -1) {
			if found != fmt.Sprintf("%s-%d.", w.Marker, i) {
				w.T.Errorf("in the log of task %d, %s, stands one of another: %s\n%s", i, e.taskType, found, log)
			}
		}
		if strings.Count(log, "\n") == 0 {
			w.T.Errorf("task %d, %s, has no log", i, e.taskType)
		}
	}
	return ids
}

func TestManyJobsOfTwoImagesShareThreeWarmExecutors(t *testing.T) {
	t.Parallel()
	const capacity, eviction = 3, 3 * time.Second
	jobs := rig.Size(80, 200)
	w := shop.World(t, rig.Plan{Capacity: capacity, Eviction: eviction})
	begun := time.Now()
	ids := runErrands(w, errands(w.Marker, jobs))
	took := time.Since(begun)
	waiting := w.Lives().Alive
	w.AllDie()

	l := w.NoMoreThan(capacity)
	t.Logf("%d jobs in %d executors, at most %d at the same time, in %v", jobs, len(l.Created), l.Most, took)
	if len(l.Created) > jobs/4 {
		t.Errorf("%d executors were made for %d jobs: they are not reused", len(l.Created), jobs)
	}
	if len(waiting) == 0 {
		t.Error("no executor was warm after the last job: nothing is proven of the eviction")
	}
	last := lastResults(w, ids)
	for executor := range waiting {
		idle := l.Died[executor].Sub(last[executor])
		t.Logf("executor %s ended %v after its last result", executor, idle)
		if idle < eviction || idle > eviction+rig.Patience/10 {
			t.Errorf("executor %s ended %v after its last result, the eviction time is %v", executor, idle, eviction)
		}
	}
	images := map[string]bool{}
	for _, id := range ids {
		view, _ := w.Done(id)
		images[view.Image] = true
	}
	if len(images) != 2 {
		t.Errorf("the jobs were of %d images", len(images))
	}
}

// lastResults says when the last result of each executor was stored.
func lastResults(w *rig.World, jobs []string) map[string]time.Time {
	w.T.Helper()
	var executions []string
	for _, id := range jobs {
		executions = append(executions, w.ExecutionOf(id))
	}
	last := map[string]time.Time{}
	for _, l := range w.Lines("result stored") {
		if slices.Contains(executions, l.Job) {
			last[l.Executor] = l.Time
		}
	}
	return last
}

func TestInNormalModeEveryJobHasAnExecutorOfItsOwn(t *testing.T) {
	t.Parallel()
	capacity, jobs := 3, rig.Size(12, 40)
	w := shop.World(t, rig.Plan{Capacity: capacity})
	begun := time.Now()
	ids := runErrands(w, errands(w.Marker, jobs))
	took := time.Since(begun)
	w.AllDie()

	l := w.NoMoreThan(capacity)
	t.Logf("%d jobs in %d executors, at most %d at the same time, in %v", jobs, len(l.Created), l.Most, took)
	if len(l.Created) != jobs || len(lastResults(w, ids)) != jobs {
		t.Errorf("%d executors were made, and %d gave results, for %d jobs", len(l.Created), len(lastResults(w, ids)), jobs)
	}
}
