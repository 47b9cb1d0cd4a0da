package hostile

import (
	"strings"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/tests/rig"
)

// A job's own result counts, whatever it does before: what it posts or leaves by forging ends no job, and changes none that has ended.
func TestAResultThatIsForgedOrReplayedEndsNoJob(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Minute})
	const answered = "204 No Content"
	keep := attempt{what: "post", with: "own"} // the control: it counts, and what the job says afterwards does not
	var tasks []string
	for _, row := range []struct {
		forged string
		attempt
		got string
	}{
		{"control: its own", keep, "posted"},
		{"the result of the job before, where it belonged", attempt{what: "post", with: "kept", target: "KEPT"}, answered},
		{"the result of an earlier job", attempt{what: "post", with: "kept"}, answered},
		{"the same, where it belonged", attempt{what: "post", with: "kept", target: "KEPT"}, "404 Not Found"},
		{"control: its own once more", keep, "posted"},
		{"the result of the job before", attempt{what: "post", with: "kept"}, answered},
		{"one that is encrypted with a key that it has not", attempt{what: "post", with: "another key"}, answered},
		{"one that is not encrypted", attempt{what: "post", with: "no key"}, answered},
		{"control: its own once more", keep, "posted"},
	} {
		task := row.submit(w)
		if said := got(w, task); said != row.got {
			t.Errorf("%s: the job's result is %q, want %q", row.forged, said, row.got)
		}
		tasks = append(tasks, task)
	}
	gate := newGate(w)
	replay := attempt{what: "replace", with: "the result of an earlier job", gate: gate}.submit(w)
	w.Hears("plugin did not start its job") // so it seems: the file was made with the key of the job before
	gate.open()
	if said := got(w, replay); said != "by the SDK's file" {
		t.Errorf("the result of a job that replayed another's by the file is %q", said)
	}
	w.FinishedOnce(append(tasks, replay)...)
	for _, task := range tasks { // what they were told to be is still so
		got(w, task)
	}
}

func TestWhatIsNoFileInTheResultsPlaceIsPassedOver(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Minute})
	for _, trick := range []string{"nothing", "a pipe", "a link to a file beside", "a link out", "a directory", "nothing"} {
		gate := newGate(w)
		task := attempt{what: "replace", with: trick, gate: gate}.submit(w)
		if trick != "nothing" { // the control
			rig.Until(t, "the runner passes over "+trick, func() bool {
				return len(w.LinesOf(task, "result file ignored")) > 0
			})
			if view, err := w.Server.Task(task); err != nil || view.State != devserver.Running {
				t.Errorf("%s: the job is %s, %v", trick, view.State, err)
			}
		}
		gate.open()
		if said := got(w, task); said != "by the SDK's file" {
			t.Errorf("%s: the result is %q", trick, said)
		}
	}
	w.Only() // all of them ran in one executor, whose directory was emptied after each
}

func TestAResultThatIsNestedWithoutEndIsTheJobsAndHarmsNobody(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Minute})
	if said := (attempt{what: "nest", size: 100}).got(w); said != "nested" { // the control
		t.Errorf("a result that is nested a little is %q", said)
	}
	view, _ := w.Done(attempt{what: "nest", size: 1 << 20}.submit(w))
	if view.State != devserver.Failed || !strings.Contains(view.Message, "result") {
		t.Errorf("the job is %s: %s", view.State, view.Message)
	}
	if said := (attempt{what: "nest", size: 100}).got(w); said != "nested" {
		t.Errorf("the next result is %q", said)
	}
	w.Only()
}
