package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/docker/go-units"

	"runnerd/actors/actorrt"
	"runnerd/spool"
)

// print writes the document as text.
func (s statusDocument) print(out io.Writer, now time.Time) error {
	t := newTable(out, now)
	s.headline(t)
	t.row("state", s.StateDir)
	if s.Server != nil {
		t.row("server", s.Server.URL+", "+s.Server.registration()+"; "+s.Server.contact(t))
		t.row("executors", fmt.Sprintf("%d of %d in use; idle ones are kept for %v%s", len(s.Executors), s.Server.Capacity, time.Duration(s.Server.Eviction)*time.Second, disabled(s.Server)))
	}
	if r := s.Recovery; r != nil && (!r.Done || r.Attached < r.Adopted) {
		t.row("recovery", strings.TrimSuffix(fmt.Sprintf("%d of %d executors reattached; waiting for: %s", r.Attached, r.Adopted, r.WaitingFor), "; waiting for: "))
	}
	t.row("jobs", fmt.Sprintf("%d waiting, %d running, %d unreported%s", s.Spool.Waiting, s.Spool.Running, s.Spool.Unreported, s.oldestUnreported(t)))
	t.row("problems", fmt.Sprintf("%d rejected, %d corrupt; see runnerd spool ls", s.Spool.Rejected, s.Spool.Corrupt))
	t.row("space", units.BytesSize(float64(s.Spool.Free))+" free"+s.freeInodes()+s.lowWater())
	s.printExecutors(t)
	s.printJobs(t)
	s.printActors(t)
	return t.Flush()
}

func (s statusDocument) headline(t *table) {
	switch {
	case !s.Running:
		t.line("No runner answers. This is the content of its spool.")
	case len(s.NotReady) == 0:
		t.line("runnerd %s is %s and ready: pid %d, started %s ago", s.Version, s.State, s.PID, t.since(s.Started))
	default:
		t.line("runnerd %s is %s and NOT READY: pid %d, started %s ago", s.Version, s.State, s.PID, t.since(s.Started))
		for _, reason := range s.NotReady {
			t.row("not ready", reason)
		}
	}
}

func (s *serverStatus) registration() string {
	if s.RunnerID == "" {
		return "not registered"
	}
	return "registered as " + s.RunnerID
}

func (s *serverStatus) contact(t *table) string {
	if s.LastContact.IsZero() {
		return "server never reached"
	}
	return "last answer " + t.ago(s.LastContact)
}

func disabled(s *serverStatus) string {
	if s.RunnerID != "" && !s.Enabled {
		return "; DISABLED on the server"
	}
	return ""
}

func (s statusDocument) freeInodes() string {
	if s.Spool.FreeInodes == nil {
		return ""
	}
	return fmt.Sprintf(", %d inodes free", *s.Spool.FreeInodes)
}

func (s statusDocument) lowWater() string {
	if !s.Running {
		return ""
	}
	required := "; new jobs are taken above " + units.BytesSize(float64(s.Spool.LowWater))
	if s.Spool.FreeInodes != nil {
		required += fmt.Sprintf(" and %d inodes", spool.RequiredInodes)
	}
	return required
}

func (s statusDocument) oldestUnreported(t *table) string {
	if s.Backlog.Oldest == nil {
		return ""
	}
	return fmt.Sprintf("; the oldest is %s, since %s", s.Backlog.Oldest.ID, t.ago(s.Backlog.Oldest.Since))
}

func (s statusDocument) printExecutors(t *table) {
	if len(s.Executors) > 0 {
		t.line("")
		t.row("EXECUTOR", "STATE", "SINCE", "JOBS", "JOB", "IMAGE", "NOTE")
	}
	for _, x := range s.Executors {
		t.row(string(x.ID), cmp.Or(x.State, "-"), t.ago(x.Since), fmt.Sprint(x.Jobs), cmp.Or(string(x.Job), "-"), x.Image, x.RetiredReason)
	}
}

func (s statusDocument) printJobs(t *table) {
	if len(s.Jobs) > 0 {
		t.line("")
		t.row("JOB", "STAGE", "SINCE", "TYPE", "EXECUTION", "EXECUTOR", "IMAGE", "NOTE")
	}
	for _, j := range s.Jobs {
		t.row(string(j.ID), j.Stage, t.ago(j.Since), j.TaskType, string(j.Execution), cmp.Or(string(j.Executor), "-"), j.Image, abortNote(j))
	}
}

func abortNote(j jobStatus) string {
	if j.AbortReason == "" {
		return ""
	}
	return "aborted: " + j.AbortReason
}

func (s statusDocument) printActors(t *table) {
	if len(s.Actors) > 0 {
		t.line("")
		t.row("ACTOR", "STATE", "QUEUE", "BUSY WITH", "CRASHES", "LAST CRASH")
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

// table writes aligned rows.
type table struct {
	*tabwriter.Writer
	now time.Time
}

func newTable(out io.Writer, now time.Time) *table {
	return &table{Writer: tabwriter.NewWriter(&lineTrimmer{out: out}, 0, 0, 2, ' ', 0), now: now}
}

// row writes a row. Flush returns the error.
func (t *table) row(cells ...string) {
	for i, cell := range cells {
		cells[i] = printable(cell)
	}
	_, _ = fmt.Fprintln(t, strings.Join(cells, "\t"))
}

// line writes a line outside the columns.
func (t *table) line(format string, args ...any) {
	_ = t.Flush() // the last Flush returns the error again
	_, _ = fmt.Fprintf(t, format+"\n", args...)
	_ = t.Flush()
}

// printable escapes what a terminal does not print as it is: control characters, which could move the cursor, and marks that change the
// direction of text.
func printable(text string) string {
	var b strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return b.String()
}

// lineTrimmer removes the spaces at the end of each line: the cells of a column align only if each row has all cells, and the last ones
// may be empty.
type lineTrimmer struct {
	out    io.Writer
	spaces []byte // not written yet
}

func (w *lineTrimmer) Write(text []byte) (int, error) {
	var kept []byte
	for _, c := range text {
		switch c {
		case ' ':
			w.spaces = append(w.spaces, c)
			continue
		case '\n':
			w.spaces = nil
		}
		kept, w.spaces = append(append(kept, w.spaces...), c), nil
	}
	if _, err := w.out.Write(kept); err != nil {
		return 0, err
	}
	return len(text), nil
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
