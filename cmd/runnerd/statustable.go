package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"

	"runnerd/actors/actorrt"
)

// print is for people.
func (s statusDocument) print(out io.Writer, now time.Time) error {
	t := &table{Writer: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), now: now}
	s.headline(t)
	t.row("state", s.StateDir)
	if s.Server != nil {
		t.row("server", fmt.Sprintf("%s, as %s, last answer %s", s.Server.URL, cmp.Or(s.Server.RunnerID, "nobody yet"), t.ago(s.Server.LastContact)))
		t.row("room", fmt.Sprintf("%d of %d executors; idle ones are kept for %v%s", len(s.Executors), s.Server.Capacity, time.Duration(s.Server.Eviction)*time.Second, disabled(s.Server)))
	}
	if r := s.Recovery; r != nil && (!r.Done || r.Attached < r.Adopted) {
		t.row("recovery", strings.TrimSuffix(fmt.Sprintf("%d of %d executors found again; waits for: %s", r.Attached, r.Adopted, r.WaitsFor), "; waits for: "))
	}
	t.row("jobs", fmt.Sprintf("%d waiting, %d running, %d to be reported%s", s.Spool.Waiting, s.Spool.Running, s.Spool.Over, s.oldest(t)))
	t.row("kept", fmt.Sprintf("%d rejected, %d corrupt (runnerd spool ls)", s.Spool.Rejected, s.Spool.Corrupt))
	t.row("space", units.BytesSize(float64(s.Spool.Free))+" free"+s.lowWater())
	s.printExecutors(t)
	s.printJobs(t)
	s.printActors(t)
	return t.Flush()
}

func (s statusDocument) headline(t *table) {
	switch {
	case !s.Running:
		t.line("No runner answers. This is what its spool says.")
	case len(s.NotReady) == 0:
		t.line("runnerd %s is %s and ready: process %d, for %s", s.Version, s.Phase, s.PID, t.since(s.Started))
	default:
		t.line("runnerd %s is %s and NOT READY: process %d, for %s", s.Version, s.Phase, s.PID, t.since(s.Started))
		for _, why := range s.NotReady {
			t.row("not ready", why)
		}
	}
}

func disabled(s *serverStatus) string {
	if s.RunnerID != "" && !s.Enabled {
		return "; DISABLED on the server"
	}
	return ""
}

func (s statusDocument) lowWater() string {
	if !s.Running {
		return ""
	}
	return "; jobs are taken above " + units.BytesSize(float64(s.Spool.LowWater))
}

func (s statusDocument) oldest(t *table) string {
	if s.Backlog.Oldest == nil {
		return ""
	}
	return fmt.Sprintf("; the oldest is %s, %s", s.Backlog.Oldest.ID, t.ago(s.Backlog.Oldest.Since))
}

func (s statusDocument) printExecutors(t *table) {
	if len(s.Executors) > 0 {
		t.line("")
		t.row("EXECUTOR", "STATE", "SINCE", "JOBS", "JOB", "IMAGE", "NOTE")
	}
	for _, x := range s.Executors {
		t.row(string(x.ID), cmp.Or(x.State, "-"), t.ago(x.Since), fmt.Sprint(x.Jobs), cmp.Or(string(x.Job), "-"), x.Image, x.Retired)
	}
}

func (s statusDocument) printJobs(t *table) {
	if len(s.Jobs) > 0 {
		t.line("")
		t.row("JOB", "STAGE", "SINCE", "TYPE", "EXECUTION", "EXECUTOR", "IMAGE", "NOTE")
	}
	for _, j := range s.Jobs {
		t.row(string(j.ID), j.Stage, t.ago(j.Since), j.TaskType, string(j.Execution), cmp.Or(string(j.Executor), "-"), j.Image, abortOf(j))
	}
}

func abortOf(j jobStatus) string {
	if j.Abort == "" {
		return ""
	}
	return "aborted: " + j.Abort
}

func (s statusDocument) printActors(t *table) {
	if len(s.Actors) > 0 {
		t.line("")
		t.row("ACTOR", "PHASE", "QUEUE", "BUSY WITH", "CRASHES", "LAST CRASH")
	}
	var walk func([]actorrt.NodeStatus)
	walk = func(nodes []actorrt.NodeStatus) {
		for _, n := range nodes {
			busy := "-"
			if n.Busy != "" {
				busy = fmt.Sprintf("%s for %s", n.Busy, t.since(n.BusySince))
			}
			last, _, _ := strings.Cut(n.LastCrash, "\n")
			if last != "" {
				last = t.ago(n.CrashedAt) + ": " + last
			}
			t.row(n.Path, n.State.String(), fmt.Sprint(n.Queue), busy, fmt.Sprint(n.Crashes), last)
			walk(n.Children)
		}
	}
	walk(s.Actors)
}

// table writes rows of cells.
type table struct {
	*tabwriter.Writer
	now time.Time
}

// row leaves out what is empty at its end. An error is told by Flush.
func (t *table) row(cells ...string) {
	for i, cell := range cells {
		cells[i] = strings.Map(plainRune, cell)
	}
	_, _ = fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
}

// line is no part of the columns.
func (t *table) line(format string, args ...any) {
	_ = t.Flush() // it is told again
	_, _ = fmt.Fprintf(t, format+"\n", args...)
	_ = t.Flush()
}

// plainRune keeps what comes from outside from moving the cursor.
func plainRune(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}

func (t *table) ago(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return t.since(at) + " ago"
}

func (t *table) since(at time.Time) string {
	d := t.now.Sub(at)
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < 100*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}
