package docker

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"
)

// slow is a job of many steps, each with a line in the log.
func (w *world) slow(image string, steps int) string {
	w.t.Helper()
	return w.submit(image, "sample.Slow", map[string]any{"steps": steps, "delayMillis": 100})
}

// printed is all that an executor has printed, by the engine's own log.
func (w *world) printed(executor string) string {
	w.t.Helper()
	c, ok := containers(w.t, w.uuid)[executor]
	if !ok {
		w.t.Fatalf("there is no executor %s", executor)
	}
	body, err := shop.engine.ContainerLogs(w.t.Context(), c.ID, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	must(w.t, err)
	defer body.Close()
	var text bytes.Buffer
	_, err = stdcopy.StdCopy(&text, &text, io.Reader(body))
	must(w.t, err)
	return text.String()
}

// wholeLog checks that the log is what the executor has printed, to the byte. It must have had this job only.
func (w *world) wholeLog(executor, log string, steps int) {
	w.t.Helper()
	if printed := w.printed(executor); log != printed {
		w.t.Errorf("the log is\n%s\nand the executor printed\n%s", log, printed)
	}
	if got := strings.Count(log, "step "); got != steps {
		w.t.Errorf("%d steps in the log, want %d:\n%s", got, steps, log)
	}
}

func TestAfterKillMinusNineTheNextStartGoesOnWithWhatRunsAndWhatIsIdle(t *testing.T) {
	t.Parallel()
	const steps = 120
	w := newWorld(t, plan{capacity: 2, eviction: time.Minute})
	w.completed(w.submit(shop.green, "sample.Hello", map[string]any{"yourName": w.marker}))
	idle := w.only()
	job := w.slow(shop.blue, steps)
	w.says(job, "step 5 of ")
	if len(w.onDisk("step 5 of ")) == 0 {
		t.Error("what a log says is not found on disk while the job runs: that nothing is found at the end proves nothing")
	}
	w.kill()
	w.start()
	w.ready()

	// The idle one is reused while the other still works: there is no third place.
	reused := w.submit(shop.green, "sample.Hello", map[string]any{"yourName": w.marker})
	w.completed(reused)
	if got := w.executorOf(reused); got != idle {
		t.Errorf("the next job ran in executor %s, and %s was idle", got, idle)
	}
	_, log := w.completed(job)
	w.wholeLog(w.executorOf(job), log, steps)
	if l := w.noMoreThan(2); len(l.created) != 2 {
		t.Errorf("executors were created: %v", l.created)
	}
	w.finishedOnce(job, reused)
}

// finishedOnce looks in the ledger: one offer, one confirmed, one finish.
func (w *world) finishedOnce(ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		times := map[string]int{}
		for _, e := range w.server.Ledger().Job(id) {
			times[e.Op]++
		}
		if times["offer"] != 1 || times["confirm"] != 1 || times["finish"] != 1 {
			w.t.Errorf("task %s: the ledger has %v", id, times)
		}
	}
}

func TestAResultThatComesWhileTheRunnerIsAwayIsNotLost(t *testing.T) {
	t.Parallel()
	const steps = 20
	w := newWorld(t, plan{capacity: 2, eviction: time.Hour, flags: []string{"--settle-timeout=1h"}})
	job := w.slow(shop.blue, steps)
	w.says(job, "step 3 of ")
	executor := w.only()
	w.kill()
	until(t, "the plugin is done", func() bool { return strings.Contains(w.printed(executor), "result return using Output File") })
	w.start()
	w.ready()
	view, log := w.completed(job)
	if got := view.OutputProperties["stepsDone"]; fmt.Sprint(got) != fmt.Sprint(steps) {
		t.Errorf("done are %v steps", got)
	}
	if got := strings.Count(log, "step "); got != steps {
		t.Errorf("%d steps in the log, want %d:\n%s", got, steps, log)
	}
	w.finishedOnce(job)
	w.allDie() // it might run the old job again
}

func TestTheFirstSIGTERMLetsRunningJobsEnd(t *testing.T) {
	t.Parallel()
	const steps = 40
	w := newWorld(t, plan{capacity: 3, eviction: time.Minute})
	w.completed(w.submit(shop.green, "sample.Hello", map[string]any{"yourName": w.marker})) // its executor is idle
	job := w.slow(shop.blue, steps)
	w.says(job, "step 5 of ")
	w.signal(syscall.SIGTERM)
	w.hears("draining")
	if got := fetch(t, "http://"+w.runner.health+"/ready", 503); !strings.Contains(got, "draining") {
		t.Errorf("/ready says %s", got)
	}
	late := w.slow(shop.blue, 1)
	if state := w.ends(); !state.Success() {
		t.Errorf("the runner ended with %v", state)
	}
	view, err := w.server.Task(job)
	must(t, err)
	if view.State != "completed" || !view.LogComplete {
		t.Errorf("when the runner had ended the job was %s, its log complete: %v", view.State, view.LogComplete)
	}
	if view, err = w.server.Task(late); err != nil || !view.Started.IsZero() {
		t.Errorf("a job that came later: %+v, %v", view, err)
	}
	w.checkEngine()
	w.checkSpool()
	w.start() // for the late one
	w.completed(late)
}

func TestTheSecondSIGTERMLeavesTheExecutorsToTheNextStart(t *testing.T) {
	t.Parallel()
	const steps = 50
	w := newWorld(t, plan{capacity: 2, eviction: time.Minute})
	job := w.slow(shop.blue, steps)
	w.says(job, "step 5 of ")
	working := w.only()
	w.signal(syscall.SIGTERM)
	w.hears("draining")
	w.signal(syscall.SIGTERM)
	if state := w.ends(); state.Success() {
		t.Errorf("the runner ended with %v", state)
	}
	if got := w.only(); got != working || len(w.lives().alive) != 1 {
		t.Errorf("executor %s is there, and not %s", got, working)
	}
	w.start()
	w.ready()
	_, log := w.completed(job)
	w.wholeLog(working, log, steps)
	if l := w.noMoreThan(2); len(l.created) != 1 {
		t.Errorf("executors were created: %v", l.created)
	}
	w.finishedOnce(job)
}

func TestDetachedTheRunnerEndsAtOnceAndTheNextStartTakesOverWhatRunsAndWhatIsIdle(t *testing.T) {
	t.Parallel()
	const steps = 80
	w := newWorld(t, plan{capacity: 2, eviction: time.Hour, flags: []string{"--on-exit=detach"}})
	w.completed(w.submit(shop.green, "sample.Hello", map[string]any{"yourName": w.marker}))
	idle := w.only()
	job := w.slow(shop.blue, steps)
	w.says(job, "step 5 of ")
	w.signal(syscall.SIGTERM)
	if state := w.ends(); !state.Success() {
		t.Errorf("the runner ended with %v", state)
	}
	if view, err := w.server.Task(job); err != nil || view.State != "running" {
		t.Errorf("when the runner had ended the job was %s, %v", view.State, err)
	}
	if l := w.lives(); len(l.alive) != 2 {
		t.Errorf("alive are %v", l.alive)
	}
	w.start("--on-exit=drain")
	w.hears(`"executor":"` + idle + `","from":"settling","to":"idle"`) // it was asked to come again
	later := w.submit(shop.green, "sample.Hello", map[string]any{"yourName": w.marker})
	w.completed(later)
	if got := w.executorOf(later); got != idle {
		t.Errorf("the next job ran in executor %s, and %s was idle", got, idle)
	}
	_, log := w.completed(job)
	w.wholeLog(w.executorOf(job), log, steps)
	if l := w.noMoreThan(2); len(l.created) != 2 {
		t.Errorf("executors were created: %v", l.created)
	}
	w.finishedOnce(job, later)
}

func TestASecondRunnerInTheSameStateDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{})
	first := w.runner
	w.runner = nil
	w.start()
	second := w.runner
	if state := w.ends(); state.ExitCode() != 1 {
		t.Errorf("the second ended with %v", state)
	}
	w.runner = first
	if said := second.said(); !strings.Contains(said, fmt.Sprintf("another runner uses it (process %d ", first.command.Process.Pid)) {
		t.Errorf("the second says %s", said)
	}
	w.completed(w.submit(shop.blue, "sample.Hello", nil))
}
