// Package upgrade replaces the real runner by another version while jobs run in real executors: the old version stops and detaches
// from its executors (--on-exit=detach), and the new version adopts them. The only visible effect must be the duration of the restart
// itself.
package upgrade

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"runnerd/tests/harness"
)

// shared is the harness of all tests; it is nil if no engine answers. oldRunner and newRunner are binaries of two versions of the runner.
var (
	shared               *harness.Harness
	oldRunner, newRunner string
)

func TestMain(m *testing.M) {
	os.Exit(harness.Main(m, func(ctx context.Context, s *harness.Harness) (err error) {
		shared = s
		if oldRunner, err = s.BuildRelease(ctx, "1.0.0"); err == nil {
			newRunner, err = s.BuildRelease(ctx, "2.0.0")
		}
		return err
	}))
}

const (
	capacity = 3
	tasks    = 45
	steps    = 4
)

func TestUpgradeUnderLoadLosesNoJob(t *testing.T) {
	for _, row := range []struct {
		how            string
		inheritSockets bool // the runner gets its listening sockets from the service manager
	}{
		{how: "service manager keeps the sockets", inheritSockets: true},
		{how: "ports refuse connections briefly"},
	} {
		t.Run(row.how, func(t *testing.T) {
			t.Parallel()
			s := harness.ServiceManager{}
			if row.inheritSockets {
				s = harness.NewServiceManager(t)
			}
			w := shared.NewEnv(t, harness.Options{Capacity: capacity, Eviction: time.Hour, NoRunner: true, Lease: 5 * time.Second, Environ: s.Environ(), Flags: []string{"--on-exit=detach"}})
			w.Command = s.Command(oldRunner)
			w.Start()
			w.WaitReady()
			var ids []string
			for range tasks {
				ids = append(ids, w.SubmitSlow(shared.Blue, steps))
			}
			harness.WaitUntil(t, "a quarter of the jobs is finished", func() bool { return len(finished(w)) >= tasks/4 })
			w.Signal(syscall.SIGTERM)
			if state := w.WaitExit(); !state.Success() {
				t.Errorf("the old runner ended with %v", state)
			}
			atStop := len(finished(w))
			w.Command = s.Command(newRunner)
			w.Start("--on-exit=drain")
			for _, id := range ids {
				checkJob(w, id)
			}
			if versions := registeredVersions(w); !slices.Equal(versions, []string{"1.0.0", "2.0.0"}) {
				t.Errorf("versions that registered: %q", versions)
			}
			if atStop == tasks {
				t.Error("all jobs finished before the stop: the test proves nothing")
			}
			checkOrder(t, ids, finished(w))
			l := w.CheckCapacity(capacity)
			t.Logf("%d of %d jobs were finished at the stop; %d executors in total", atStop, tasks, len(l.Created))
		})
	}
}

// The kernel accepts the connection of an executor that asks for a job while no runner is running, so the executor keeps waiting.
func TestIdleExecutorAtInheritedSocketIsTakenOver(t *testing.T) {
	for _, row := range []struct {
		how string
		end syscall.Signal
	}{
		{"SIGTERM", syscall.SIGTERM},
		{"SIGKILL", syscall.SIGKILL},
	} {
		t.Run(row.how, func(t *testing.T) {
			t.Parallel()
			s := harness.NewServiceManager(t)
			w := shared.NewEnv(t, harness.Options{Capacity: 1, Eviction: time.Hour, NoRunner: true, Environ: s.Environ(), Flags: []string{"--on-exit=detach"}})
			w.Command = s.Command(oldRunner)
			w.Start()
			w.WaitReady()
			hello := func() string { return w.Submit(shared.Blue, "sample.Hello", map[string]any{"yourName": w.Marker}) }
			w.WaitCompleted(hello())
			idle := w.OnlyExecutor()
			w.Signal(row.end)
			w.WaitExit()
			harness.WaitUntil(t, "the executor waits at the socket", func() bool { return acceptQueueLength(t, s.Sockets["api"]) > 0 })
			w.Command = s.Command(newRunner)
			w.Start("--on-exit=drain")
			next := hello()
			w.WaitCompleted(next)
			if got := w.ExecutorOf(next); got != idle || len(w.CheckCapacity(1).Created) != 1 {
				t.Errorf("the next job ran in executor %s, want the idle executor %s", got, idle)
			}
			if output := w.ContainerLog(idle); strings.Count(output, "Finished executing runner function") != 2 {
				t.Errorf("output of the executor:\n%s", output)
			}
		})
	}
}

// acceptQueueLength returns the number of connections that the kernel has established and no process has accepted yet: the receive queue
// of a listening socket.
func acceptQueueLength(t *testing.T, l *net.TCPListener) int64 {
	t.Helper()
	row := fmt.Sprintf(" 00000000:%04X 00000000:0000 0A ", l.Addr().(*net.TCPAddr).Port)
	table, err := os.ReadFile("/proc/net/tcp")
	harness.Must(t, err)
	_, rest, found := strings.Cut(string(table), row)
	if !found {
		t.Fatalf("no socket listens at %v", l.Addr())
	}
	_, queue, _ := strings.Cut(strings.Fields(rest)[0], ":")
	n, err := strconv.ParseInt(queue, 16, 64)
	harness.Must(t, err)
	return n
}

// checkJob waits until the job is completed and checks that it ran once, with its whole log.
func checkJob(w *harness.Env, id string) {
	w.T.Helper()
	view, log := w.WaitCompleted(id)
	if fmt.Sprint(view.OutputProperties["stepsDone"]) != fmt.Sprint(steps) || strings.Count(log, "step ") != steps || strings.Count(log, "Finished executing runner function") != 1 {
		w.T.Errorf("task %s: output properties %v, log:\n%s", id, view.OutputProperties, log)
	}
	times := map[string]int{}
	for _, e := range w.Server.Ledger().Job(id) {
		times[e.Op]++
	}
	// The number of offers is not checked: if the stop cut off the answer with an offer, the server offers the job again after the lease.
	if times["confirm"] != 1 || times["finish"] != 1 {
		w.T.Errorf("task %s: the ledger has %v", id, times)
	}
}

// finished returns the ids of the finished jobs, in the order of their finish calls.
func finished(w *harness.Env) (ids []string) {
	for _, e := range w.Server.Ledger().Entries() {
		if e.Op == "finish" {
			ids = append(ids, e.Job)
		}
	}
	return ids
}

// checkOrder fails if a job was overtaken by more than half of the others. All jobs are alike, so they finish in the order of submission,
// except for those that run in parallel: a cold start takes as long as a few jobs. A job that the restart delayed (its lease had to
// expire, or its executor was awaited) would be overtaken by most of the others.
func checkOrder(t *testing.T, submitted, finished []string) {
	t.Helper()
	const limit = tasks / 2
	for i, id := range submitted {
		overtaken := 0
		for _, other := range finished[:slices.Index(finished, id)] {
			if slices.Index(submitted, other) > i {
				overtaken++
			}
		}
		if overtaken > limit {
			t.Errorf("task %d was overtaken by %d others", i, overtaken)
		}
	}
}

// registeredVersions returns the runner versions that registered at the server, in order.
func registeredVersions(w *harness.Env) (versions []string) {
	for _, e := range w.Server.Ledger().Entries() {
		if e.Op == "register" {
			versions = append(versions, e.Detail[strings.LastIndex(e.Detail, " ")+1:])
		}
	}
	return slices.Compact(versions)
}
