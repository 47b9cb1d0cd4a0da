package crash

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"runnerd/infra/devserver"
)

// check waits until all jobs are done and verifies each of them.
func (s *crashLoop) check() {
	s.T.Helper()
	for _, j := range s.load.jobs {
		view, log := s.WaitDone(j.id)
		var problems []string
		if view.State != devserver.Completed || fmt.Sprint(view.OutputProperties["stepsDone"]) != fmt.Sprint(j.steps) {
			problems = append(problems, fmt.Sprintf("state %s with %v: %s", view.State, view.OutputProperties, view.Message))
		}
		if n := s.load.notifier.Count(j.name); n != 1 {
			problems = append(problems, fmt.Sprintf("notified %d times, want 1", n))
		}
		problems = append(problems, s.checkLedger(j)...)
		problems = append(problems, checkLog(log, j, s.Marker)...)
		if len(problems) > 0 {
			s.T.Errorf("job %s:\n%s\nits log:\n%s\nthe ledger:\n%v\nthe runner:\n%s",
				j.id, strings.Join(problems, "\n"), log, s.Server.Ledger().Job(j.id), s.logAround(j))
		}
	}
	s.WaitNoExecutors()
	l := s.CheckCapacity(s.mode.capacity)
	s.T.Logf("%d jobs ran in %d executors", len(s.load.jobs), len(l.Created))
}

// logAround returns the logs of all runner processes from the job's first to its last entry in the ledger.
func (s *crashLoop) logAround(j job) string {
	const around = 2 * time.Second
	entries := s.Server.Ledger().Job(j.id)
	if len(entries) == 0 {
		return ""
	}
	return s.LogBetween(entries[0].Time.Add(-around), entries[len(entries)-1].Time.Add(around))
}

// checkLedger verifies that the job was confirmed and finished once. It may have been offered more often.
func (s *crashLoop) checkLedger(j job) (problems []string) {
	times := map[string]int{}
	for _, e := range s.Server.Ledger().Job(j.id) {
		times[e.Op]++
	}
	for _, op := range []string{"confirm", "finish"} {
		if times[op] != 1 {
			problems = append(problems, fmt.Sprintf("the ledger has %d entries %s, want 1", times[op], op))
		}
	}
	return problems
}

// logLine matches a complete log line of the SDK, so that it detects missing and duplicate bytes.
var logLine = regexp.MustCompile(`^[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ [\w-]+\.go:\d+\] [^\n]*\n$`)

// checkLog describes the lines that are missing, duplicate, out of order, torn, or from another job.
func checkLog(log string, j job, marker string) (problems []string) {
	seen := map[string]bool{}
	var lines []string
	for line := range strings.Lines(log) {
		if !logLine.MatchString(line) || seen[line] {
			problems = append(problems, fmt.Sprintf("torn or duplicate log line: %q", line))
		}
		seen[line] = true
		if _, text, _ := strings.Cut(line, "] "); strings.HasPrefix(text, "step ") || strings.Contains(text, marker) {
			lines = append(lines, strings.TrimSpace(text))
		}
	}
	if len(lines) == 0 || !strings.HasSuffix(lines[0], "of the start of "+j.name) || !slices.Equal(lines[1:], j.wantSteps()) {
		problems = append(problems, fmt.Sprintf("unexpected log lines: %q", lines))
	}
	if n := strings.Count(log, "Finished executing runner function"); n != 1 {
		problems = append(problems, fmt.Sprintf("executed %d times according to its log, want 1", n))
	}
	return problems
}

func (j job) wantSteps() (steps []string) {
	for n := range j.steps {
		steps = append(steps, fmt.Sprintf("step %d of %d", n+1, j.steps))
	}
	return steps
}
