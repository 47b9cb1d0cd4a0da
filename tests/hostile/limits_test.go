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
	"runnerd/tests/harness"
)

func TestForkBombHarmsNoOtherJob(t *testing.T) {
	t.Parallel()
	const steps = 30
	env := shared.NewEnv(t, harness.Options{Capacity: 3, Eviction: time.Minute, Flags: []string{"--executor-pids", "60"}})
	other := env.SubmitSlow(shared.Blue, steps)
	env.WaitTaskLog(other, "step 1 of ")
	if got := (attempt{what: "fork", size: 10}).run(env); got != "10 processes" { // the control
		t.Errorf("the control got %s", got)
	}
	view, log := env.WaitDone(attempt{what: "fork", size: 2000}.submit(env))
	if got, _ := view.OutputProperties["got"].(string); !strings.Contains(got+log+view.Message, "resource temporarily unavailable") {
		t.Errorf("the fork bomb is %s (%s), got %q, and its log is:\n%s", view.State, view.Message, got, log)
	}
	_, log = env.WaitCompleted(other)
	env.CheckLog(env.ExecutorOf(other), log, steps)
	if got := (attempt{what: "fork", size: 10}).run(env); got != "10 processes" {
		t.Errorf("the next job gets %s", got)
	}
}

func TestExecutorWithLeftoverProcessTakesNoMoreJobs(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Hour})
	attempt{what: "read", target: "/"}.run(env)
	executor := env.OnlyExecutor()
	env.WaitRunnerLog(`"processes":1`) // the baseline of the image is known now
	for _, a := range []attempt{       // the controls: one kills its processes, one leaves none
		{what: "fork", size: 3},
		{what: "leave-processes", size: 0},
	} {
		task := a.submit(env)
		env.WaitCompleted(task)
		if ran := env.ExecutorOf(task); ran != executor {
			t.Fatalf("%s ran in %s, and not in %s", a.what, ran, executor)
		}
	}
	harness.WaitUntil(t, "processes are counted after each job", func() bool { return len(env.LogLines("processes counted")) >= 3 })
	if now := env.OnlyExecutor(); now != executor {
		t.Error("an executor without leftover processes was removed")
	}
	if got := (attempt{what: "leave-processes", size: 1}).run(env); got != "left 1 processes" {
		t.Errorf("the plugin %s", got)
	}
	harness.WaitUntil(t, "the executor is removed", func() bool { return len(shared.Containers(t, env.UUID)) == 0 })
	env.WaitRunnerLog("a job left a process behind: it has 2 processes, the baseline of its image is 1")
	next := attempt{what: "read", target: "/"}.submit(env)
	resultOf(env, next)
	if ran := env.ExecutorOf(next); ran == executor {
		t.Error("the next job ran in the executor with the process")
	}
}

func TestPluginFillingDiskIsStopped(t *testing.T) {
	t.Parallel()
	env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Minute, Flags: []string{"--executor-disk", "20MiB"}})
	gate := newGate(env)
	modest := attempt{what: "fill", size: 8, gate: gate}.submit(env) // the control
	harness.WaitUntil(t, "the disk usage is measured", func() bool {
		for line := range strings.Lines(env.GrepLog("disk measured")) {
			var measured struct{ Bytes int }
			if json.Unmarshal([]byte(line), &measured) == nil && measured.Bytes >= 8<<20 {
				return true
			}
		}
		return false
	})
	gate.open()
	if got := resultOf(env, modest); got != "filled" {
		t.Errorf("the control got %q", got)
	}
	executor := env.OnlyExecutor()

	view, _ := env.WaitDone(attempt{what: "fill", size: 30, gate: newGate(env)}.submit(env))
	if view.State != devserver.Failed || !strings.Contains(view.Message, "bytes to disk and was stopped: the limit is 20971520 bytes") {
		t.Errorf("the job is %s: %s", view.State, view.Message)
	}
	harness.WaitUntil(t, "the executor is removed", func() bool { return len(shared.Containers(t, env.UUID)) == 0 })

	env.WaitCompleted(attempt{what: "fill-later", size: 30}.submit(env)) // the disk is filled after the job, so no job fails
	filled := env.OnlyExecutor()
	if filled == executor {
		t.Error("the executor that filled the disk took another job")
	}
	env.WaitRunnerLog("executor exceeded its disk limit while it had no job")
	harness.WaitUntil(t, "the executor is removed", func() bool { return env.Executors().Died[filled] != time.Time{} })
	if got := (attempt{what: "fill", size: 1}).run(env); got != "filled" {
		t.Errorf("the next job got %q", got)
	}
}

func TestNestedDirectoriesExhaustNoDescriptors(t *testing.T) {
	t.Parallel()
	for mode, eviction := range map[string]time.Duration{"emptied": time.Hour, "removed": 0} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			env := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: eviction, NoRunner: true})
			runnerd := env.Command
			env.Command = func(args ...string) *exec.Cmd {
				c := runnerd(args...)
				return exec.Command("sh", append([]string{"-c", `ulimit -n 500 && exec "$@"`, "sh", c.Path}, args...)...)
			}
			env.Start()
			env.WaitReady()
			for _, size := range []int{10, 5000, 10} { // the first is the control
				if got, want := (attempt{what: "nest-dirs", size: size}).run(env), fmt.Sprintf("%d directories", size); got != want {
					t.Errorf("created %s, want %s", got, want)
				}
				if got := (attempt{what: "read", target: "/runnerd/out"}).run(env); got != "0 entries" {
					t.Errorf("the directory has %s after the job", got)
				}
			}
			if eviction == 0 {
				harness.WaitUntil(t, "all directories are removed", func() bool {
					return len(entries(t, env.StateDir, "executors"))+len(entries(t, env.StateDir, "tmp")) == 0
				})
			} else {
				env.OnlyExecutor()
			}
			if strings.Contains(env.Runner.Log(), "too many open files") {
				t.Error("the runner ran out of descriptors")
			}
		})
	}
}

func entries(t *testing.T, state, name string) []os.DirEntry {
	t.Helper()
	found, err := os.ReadDir(filepath.Join(state, "spool", name))
	harness.Must(t, err)
	return found
}

func TestLogFloodIsTruncated(t *testing.T) {
	t.Parallel()
	const kept, steps = 1 << 20, 20
	env := shared.NewEnv(t, harness.Options{Capacity: 2, Eviction: time.Minute, Flags: []string{"--max-log", "1MiB"}})
	_, log := env.WaitCompleted(attempt{what: "flood"}.submit(env)) // the control: a small log is complete
	env.CheckLog(env.OnlyExecutor(), log, 0)

	flood := attempt{what: "flood", size: 100}.submit(env) // without newline, with NUL and invalid UTF-8, which the engine replaces
	other := env.SubmitSlow(shared.Green, steps)
	_, log = env.WaitCompleted(flood)
	if !strings.Contains(log, "log truncated: the limit is 1048576 bytes") || len(log) > kept+200 {
		t.Errorf("the job's log has %d bytes, and ends with %q", len(log), log[max(0, len(log)-200):])
	}
	if n := strings.Count(log, "flood \x00"); n < kept/20 || strings.Contains(log, "step ") {
		t.Errorf("the log has %d words of the flood, or lines of the other job", n)
	}
	_, log = env.WaitCompleted(other)
	env.CheckLog(env.ExecutorOf(other), log, steps)
	if strings.Contains(log, "flood") || strings.Contains(log, "\x00") {
		t.Error("the other job's log has words of the flood")
	}
}
