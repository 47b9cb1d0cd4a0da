package hostile

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"runnerd/infra/devserver"
	"runnerd/tests/rig"
)

func TestAPluginThatForksWithoutEndIsStoppedByItsLimitAndHarmsNobody(t *testing.T) {
	t.Parallel()
	const steps = 30
	w := shop.World(t, rig.Plan{Capacity: 3, Eviction: time.Minute, Flags: []string{"--executor-pids", "60"}})
	other := w.Slow(shop.Blue, steps)
	w.Says(other, "step 1 of ")
	if said := (attempt{what: "fork", size: 10}).got(w); said != "10 processes" { // the control
		t.Errorf("who needs a few processes gets %s", said)
	}
	view, log := w.Done(attempt{what: "fork", size: 2000}.submit(w))
	if said, _ := view.OutputProperties["got"].(string); !strings.Contains(said+log+view.Message, "resource temporarily unavailable") {
		t.Errorf("the bomb is %s (%s), got %q, and its log is:\n%s", view.State, view.Message, said, log)
	}
	_, log = w.Completed(other)
	w.WholeLog(w.ExecutorOf(other), log, steps)
	if said := (attempt{what: "fork", size: 10}).got(w); said != "10 processes" {
		t.Errorf("the next job gets %s", said)
	}
}

func TestAnExecutorInWhichAJobLeftAProcessBehindTakesNoMoreJobs(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Hour})
	attempt{what: "read", target: "/"}.got(w)
	executor := w.Only()
	w.Hears(`"processes":1`)     // what is usual for the image is known now
	for _, a := range []attempt{ // the controls: one ends what it starts, one leaves nothing
		{what: "fork", size: 3},
		{what: "leave", size: 0},
	} {
		task := a.submit(w)
		w.Completed(task)
		if ran := w.ExecutorOf(task); ran != executor {
			t.Fatalf("%s ran in %s, and not in %s", a.what, ran, executor)
		}
	}
	rig.Until(t, "it was counted after each job", func() bool { return len(w.Lines("processes counted")) >= 3 })
	if now := w.Only(); now != executor {
		t.Error("an executor is gone in which nothing was left")
	}
	if said := (attempt{what: "leave", size: 1}).got(w); said != "left 1 processes" {
		t.Errorf("it %s", said)
	}
	rig.Until(t, "it is gone", func() bool { return len(shop.Containers(t, w.UUID)) == 0 })
	w.Hears("a job has left a process behind: 2 run in it, and 1 are usual for its image")
	next := attempt{what: "read", target: "/"}.submit(w)
	got(w, next)
	if ran := w.ExecutorOf(next); ran == executor {
		t.Error("the next job met the process")
	}
}

func TestAPluginThatFillsTheDiskIsStopped(t *testing.T) {
	t.Parallel()
	w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Minute, Flags: []string{"--executor-disk", "20MiB"}})
	gate := newGate(w)
	modest := attempt{what: "fill", size: 8, gate: gate}.submit(w) // the control
	rig.Until(t, "the files are seen", func() bool {
		for line := range strings.Lines(w.Heard("disk measured")) {
			var measured struct{ Bytes int }
			if json.Unmarshal([]byte(line), &measured) == nil && measured.Bytes >= 8<<20 {
				return true
			}
		}
		return false
	})
	gate.open()
	if said := got(w, modest); said != "filled" {
		t.Errorf("who writes what it may is told %q", said)
	}
	executor := w.Only()

	view, _ := w.Done(attempt{what: "fill", size: 30, gate: newGate(w)}.submit(w))
	if view.State != devserver.Failed || !strings.Contains(view.Message, "bytes to disk and was stopped: an executor may write 20971520") {
		t.Errorf("it is %s: %s", view.State, view.Message)
	}
	rig.Until(t, "it is gone", func() bool { return len(shop.Containers(t, w.UUID)) == 0 })

	w.Completed(attempt{what: "fill-later", size: 30}.submit(w)) // after its job nobody is left to be failed
	filled := w.Only()
	if filled == executor {
		t.Error("the executor that filled the disk took another job")
	}
	w.Hears("it filled the disk while it had no job")
	rig.Until(t, "it is gone too", func() bool { return w.Lives().Died[filled] != time.Time{} })
	if said := (attempt{what: "fill", size: 1}).got(w); said != "filled" {
		t.Errorf("the next job is told %q", said)
	}
}

func TestDirectoriesInOneAnotherTakeNoDescriptorsFromTheRunner(t *testing.T) {
	t.Parallel()
	for mode, eviction := range map[string]time.Duration{"that is emptied": time.Hour, "that is removed": 0} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := shop.World(t, rig.Plan{Capacity: 1, Eviction: eviction, NoRunner: true})
			runnerd := w.Command
			w.Command = func(args ...string) *exec.Cmd {
				c := runnerd(args...)
				return exec.Command("sh", append([]string{"-c", `ulimit -n 500 && exec "$@"`, "sh", c.Path}, args...)...)
			}
			w.Start()
			w.Ready()
			for _, size := range []int{10, 5000, 10} { // the first is the control
				if said, want := (attempt{what: "deep", size: size}).got(w), fmt.Sprintf("%d directories", size); said != want {
					t.Errorf("it made %s, and should have made %s", said, want)
				}
				if said := (attempt{what: "read", target: "/runnerd/out"}).got(w); said != "0 entries" {
					t.Errorf("after the job there are %s", said)
				}
			}
			if eviction == 0 {
				rig.Until(t, "all is removed", func() bool {
					return len(entries(t, w.State, "executors"))+len(entries(t, w.State, "tmp")) == 0
				})
			} else {
				w.Only()
			}
			if strings.Contains(w.Runner.Said(), "too many open files") {
				t.Error("it had no more descriptors")
			}
		})
	}
}

func entries(t *testing.T, state, name string) []os.DirEntry {
	t.Helper()
	found, err := os.ReadDir(filepath.Join(state, "spool", name))
	rig.Must(t, err)
	return found
}

func TestAFloodOfOutputIsCutAndHarmsNoOtherJob(t *testing.T) {
	t.Parallel()
	const kept, steps = 1 << 20, 20
	w := shop.World(t, rig.Plan{Capacity: 2, Eviction: time.Minute, Flags: []string{"--max-log", "1MiB"}})
	_, log := w.Completed(attempt{what: "flood"}.submit(w)) // the control: a log that is not too large is whole
	w.WholeLog(w.Only(), log, 0)

	flood := attempt{what: "flood", size: 100}.submit(w) // without newline, with NUL and what is no UTF-8, which the engine replaces
	other := w.Slow(shop.Green, steps)
	_, log = w.Completed(flood)
	if !strings.Contains(log, "the log ends here: of a job's log this runner keeps 1048576 bytes") || len(log) > kept+200 {
		t.Errorf("its log has %d bytes, and ends with %q", len(log), log[max(0, len(log)-200):])
	}
	if n := strings.Count(log, "flood \x00"); n < kept/20 || strings.Contains(log, "step ") {
		t.Errorf("its log has %d of its own words, or one of the other's", n)
	}
	_, log = w.Completed(other)
	w.WholeLog(w.ExecutorOf(other), log, steps)
	if strings.Contains(log, "flood") || strings.Contains(log, "\x00") {
		t.Error("the other's log has words of the flood")
	}
}
