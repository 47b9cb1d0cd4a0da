package crash

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"runnerd/infra/devserver"
)

// judge waits until all is done, and looks at what became of it.
func (s *siege) judge() {
	s.T.Helper()
	for _, j := range s.load.jobs {
		view, log := s.Done(j.id)
		var wrong []string
		if view.State != devserver.Completed || fmt.Sprint(view.OutputProperties["stepsDone"]) != fmt.Sprint(j.steps) {
			wrong = append(wrong, fmt.Sprintf("it is %s with %v: %s", view.State, view.OutputProperties, view.Message))
		}
		if n := s.load.bell.Rings(j.name); n != 1 {
			wrong = append(wrong, fmt.Sprintf("it ran %d times", n))
		}
		wrong = append(wrong, s.entries(j)...)
		wrong = append(wrong, faults(log, j, s.Marker)...)
		if len(wrong) > 0 {
			s.T.Errorf("job %s:\n%s\nits log:\n%s\nthe ledger:\n%v\nthe runner:\n%s",
				j.id, strings.Join(wrong, "\n"), log, s.Server.Ledger().Job(j.id), s.saidMeanwhile(j))
		}
	}
	s.AllDie()
	l := s.NoMoreThan(s.mode.capacity)
	s.T.Logf("%d jobs ran in %d executors", len(s.load.jobs), len(l.Created))
}

// saidMeanwhile is what the runner's lives said of all their executors while the server heard of the job.
func (s *siege) saidMeanwhile(j job) string {
	const around = 2 * time.Second
	entries := s.Server.Ledger().Job(j.id)
	if len(entries) == 0 {
		return ""
	}
	return s.Between(entries[0].Time.Add(-around), entries[len(entries)-1].Time.Add(around))
}

// entries: an offer may lapse, but what was confirmed is confirmed and finished once.
func (s *siege) entries(j job) (wrong []string) {
	times := map[string]int{}
	for _, e := range s.Server.Ledger().Job(j.id) {
		times[e.Op]++
	}
	for _, op := range []string{"confirm", "finish"} {
		if times[op] != 1 {
			wrong = append(wrong, fmt.Sprintf("the ledger has %d times %s", times[op], op))
		}
	}
	return wrong
}

// entry is how every line of the SDK's begins: where bytes are missing or doubled, a line is none.
var entry = regexp.MustCompile(`^[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ [\w-]+\.go:\d+\] [^\n]*\n$`)

// faults finds what is missing, doubled, out of order, torn, or of another job.
func faults(log string, j job, marker string) (wrong []string) {
	seen := map[string]bool{}
	var said []string
	for line := range strings.Lines(log) {
		if !entry.MatchString(line) || seen[line] {
			wrong = append(wrong, fmt.Sprintf("torn or double in its log: %q", line))
		}
		seen[line] = true
		if _, text, _ := strings.Cut(line, "] "); strings.HasPrefix(text, "step ") || strings.Contains(text, marker) {
			said = append(said, strings.TrimSpace(text))
		}
	}
	if len(said) == 0 || !strings.HasSuffix(said[0], "that "+j.name+" is here") || !slices.Equal(said[1:], j.says()) {
		wrong = append(wrong, fmt.Sprintf("its log says %q", said))
	}
	if n := strings.Count(log, "Finished executing runner function"); n != 1 {
		wrong = append(wrong, fmt.Sprintf("by its log it was executed %d times", n))
	}
	return wrong
}

func (j job) says() (steps []string) {
	for n := range j.steps {
		steps = append(steps, fmt.Sprintf("step %d of %d", n+1, j.steps))
	}
	return steps
}
