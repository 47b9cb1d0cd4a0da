// Package upgrade replaces the real runner by another version of it while jobs flow through real executors: it is told to stop
// and leaves its executors (--on-exit=detach), and the next version takes them over. Nobody may notice but by the time that the
// restart itself takes.
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

	"runnerd/tests/rig"
)

// shop is nil if no engine answers; before and after are two versions of the runner.
var (
	shop          *rig.Shop
	before, after string
)

func TestMain(m *testing.M) {
	os.Exit(rig.Main(m, func(ctx context.Context, s *rig.Shop) (err error) {
		shop = s
		if before, err = s.Release(ctx, "1.0.0"); err == nil {
			after, err = s.Release(ctx, "2.0.0")
		}
		return err
	}))
}

const (
	capacity = 3
	tasks    = 45
	steps    = 4
)

func TestAnUpgradeUnderLoadIsNoticedByNoJob(t *testing.T) {
	for _, row := range []struct {
		how  string
		kept bool // the sockets, by whoever starts the runner
	}{
		{how: "the service manager keeps the sockets", kept: true},
		{how: "the ports refuse for a moment"},
	} {
		t.Run(row.how, func(t *testing.T) {
			t.Parallel()
			s := rig.Manager{}
			if row.kept {
				s = rig.KeepSockets(t)
			}
			w := shop.World(t, rig.Plan{Capacity: capacity, Eviction: time.Hour, NoRunner: true, Lease: 5 * time.Second, Env: s.Env(), Flags: []string{"--on-exit=detach"}})
			w.Command = s.Run(before)
			w.Start()
			w.Ready()
			var ids []string
			for range tasks {
				ids = append(ids, w.Slow(shop.Blue, steps))
			}
			rig.Until(t, "a quarter of the jobs is done", func() bool { return len(finished(w)) >= tasks/4 })
			w.Signal(syscall.SIGTERM)
			if state := w.Ends(); !state.Success() {
				t.Errorf("the old runner ended with %v", state)
			}
			atStop := len(finished(w))
			w.Command = s.Run(after)
			w.Start("--on-exit=drain")
			for _, id := range ids {
				judge(w, id)
			}
			if versions := registered(w); !slices.Equal(versions, []string{"1.0.0", "2.0.0"}) {
				t.Errorf("at the server came %q", versions)
			}
			if atStop == tasks {
				t.Error("all was done before the stop: nothing is proven")
			}
			inOrder(t, ids, finished(w))
			l := w.NoMoreThan(capacity)
			t.Logf("%d of %d jobs were done at the stop; %d executors in all", atStop, tasks, len(l.Created))
		})
	}
}

// An executor that waits for a job while the runner is away has its connection taken by the system, and waits on.
func TestAnIdleExecutorThatWaitsAtTheKeptSocketIsTakenOver(t *testing.T) {
	for _, row := range []struct {
		how string
		end syscall.Signal
	}{
		{"the runner is told to stop", syscall.SIGTERM},
		{"the runner is killed", syscall.SIGKILL},
	} {
		t.Run(row.how, func(t *testing.T) {
			t.Parallel()
			s := rig.KeepSockets(t)
			w := shop.World(t, rig.Plan{Capacity: 1, Eviction: time.Hour, NoRunner: true, Env: s.Env(), Flags: []string{"--on-exit=detach"}})
			w.Command = s.Run(before)
			w.Start()
			w.Ready()
			hello := func() string { return w.Submit(shop.Blue, "sample.Hello", map[string]any{"yourName": w.Marker}) }
			w.Completed(hello())
			idle := w.Only()
			w.Signal(row.end)
			w.Ends()
			rig.Until(t, "the executor waits at the socket", func() bool { return waiting(t, s.Sockets["api"]) > 0 })
			w.Command = s.Run(after)
			w.Start("--on-exit=drain")
			next := hello()
			w.Completed(next)
			if got := w.ExecutorOf(next); got != idle || len(w.NoMoreThan(1).Created) != 1 {
				t.Errorf("the next job ran in executor %s, and %s was idle", got, idle)
			}
			if said := w.Printed(idle); strings.Count(said, "Finished executing runner function") != 2 {
				t.Errorf("the executor says\n%s", said)
			}
		})
	}
}

// waiting is how many connections the system has taken that nobody has accepted: the receive queue of a socket that listens.
func waiting(t *testing.T, l *net.TCPListener) int64 {
	t.Helper()
	row := fmt.Sprintf(" 00000000:%04X 00000000:0000 0A ", l.Addr().(*net.TCPAddr).Port)
	table, err := os.ReadFile("/proc/net/tcp")
	rig.Must(t, err)
	_, rest, found := strings.Cut(string(table), row)
	if !found {
		t.Fatalf("nobody listens at %v", l.Addr())
	}
	_, queue, _ := strings.Cut(strings.Fields(rest)[0], ":")
	n, err := strconv.ParseInt(queue, 16, 64)
	rig.Must(t, err)
	return n
}

// judge waits until the job is done, and looks whether it was lost, doubled or cut.
func judge(w *rig.World, id string) {
	w.T.Helper()
	view, log := w.Completed(id)
	if fmt.Sprint(view.OutputProperties["stepsDone"]) != fmt.Sprint(steps) || strings.Count(log, "step ") != steps || strings.Count(log, "Finished executing runner function") != 1 {
		w.T.Errorf("task %s has %v and says\n%s", id, view.OutputProperties, log)
	}
	times := map[string]int{}
	for _, e := range w.Server.Ledger().Job(id) {
		times[e.Op]++
	}
	if times["confirm"] != 1 || times["finish"] != 1 { // an offer that the stop cut off lapses, and is made again
		w.T.Errorf("task %s: the ledger has %v", id, times)
	}
}

// finished are the jobs in the order in which the server heard of their ends.
func finished(w *rig.World) (ids []string) {
	for _, e := range w.Server.Ledger().Entries() {
		if e.Op == "finish" {
			ids = append(ids, e.Job)
		}
	}
	return ids
}

// inOrder: all jobs are alike, so what comes first ends first, but for those that run beside it: a cold start takes as long as a
// few of them. One that the restart held up, by a lease that had to run out or by an executor that was waited for, would be
// overtaken by most of them.
func inOrder(t *testing.T, submitted, finished []string) {
	t.Helper()
	const most = tasks / 2
	for i, id := range submitted {
		overtaken := 0
		for _, other := range finished[:slices.Index(finished, id)] {
			if slices.Index(submitted, other) > i {
				overtaken++
			}
		}
		if overtaken > most {
			t.Errorf("task %d was overtaken by %d others", i, overtaken)
		}
	}
}

// registered are the versions that came to the server, in order.
func registered(w *rig.World) (versions []string) {
	for _, e := range w.Server.Ledger().Entries() {
		if e.Op == "register" {
			versions = append(versions, e.Detail[strings.LastIndex(e.Detail, " ")+1:])
		}
	}
	return slices.Compact(versions)
}
