package actors

import (
	"slices"
	"testing"
	"time"

	msg "runnerd/messages"
)

func TestRestartKeepsRemainingRunTime(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, row := range []struct {
		when  string
		limit time.Duration
		since time.Time
		want  time.Duration
	}{
		{"handed out just now", time.Hour, time.Time{}, time.Hour},
		{"handed out ten minutes ago", time.Hour, now.Add(-10 * time.Minute), 50 * time.Minute},
		{"handed out longer ago than its limit", time.Hour, now.Add(-2 * time.Hour), minRunTime},
		{"the clock was set ahead by a day", time.Hour, now.Add(-24 * time.Hour), minRunTime},
		{"the clock was set back by a day", time.Hour, now.Add(24 * time.Hour), time.Hour},
		{"its limit is shorter than the minimum", time.Second, now.Add(-24 * time.Hour), time.Second},
		{"it has no limit", 0, now.Add(-24 * time.Hour), 0},
	} {
		if got := remainingRunTime(row.limit, row.since, now); got != row.want {
			t.Errorf("%s: %v, want %v", row.when, got, row.want)
		}
	}
}

func TestStopMessageNamesTheSignal(t *testing.T) {
	for _, row := range []struct {
		last     msg.Signal
		answered bool
		want     string
	}{
		{"", true, "The plugin returned its result within 40.2s"},
		{"", false, "The plugin exited within 40.2s"},
		{msg.SIGTERM, true, "The plugin answered SIGTERM with its result after 40.2s"},
		{msg.SIGTERM, false, "The plugin exited on SIGTERM after 40.2s"},
		{msg.SIGKILL, true, "The plugin was killed (SIGKILL) after 40.2s, but had returned its result"},
		{msg.SIGKILL, false, "The plugin was killed (SIGKILL) after 40.2s"},
	} {
		if got := describeStop(row.last, row.answered, 40200*time.Millisecond); got != row.want {
			t.Errorf("%q, answered %v: %q, want %q", row.last, row.answered, got, row.want)
		}
	}
}

func TestRetiringExecutorReturnsJob(t *testing.T) {
	s := newSession(msg.ExecutorRecord{ID: "x", Mode: msg.Daemon}, msg.ExecutorLimits{}, 0)
	s.state, s.poll, s.observed, s.retireReason = idle, 1, true, "it is outdated"
	_, effects := step(s, msg.Assign{Job: msg.Job{Execution: "job"}, Seq: 2})
	var sent []msg.ToDispatcher
	for _, e := range effects {
		if e, ok := e.(tellDispatcher); ok {
			sent = append(sent, e.m)
		}
	}
	want := []msg.ToDispatcher{
		msg.JobReturned{Executor: "x", Execution: "job", Reason: "it is outdated"},
		msg.Retired{Executor: "x", Reason: "it is outdated"},
	}
	if !slices.Equal(sent, want) {
		t.Errorf("sent %+v, want %+v", sent, want)
	}
}
