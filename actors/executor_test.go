package actors

import (
	"testing"
	"time"
)

func TestAJobThatRanBeforeARestartHasTheRestOfItsTime(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, row := range []struct {
		when  string
		limit time.Duration
		since time.Time
		want  time.Duration
	}{
		{"it was handed out just now", time.Hour, time.Time{}, time.Hour},
		{"ten minutes ago", time.Hour, now.Add(-10 * time.Minute), 50 * time.Minute},
		{"longer ago than its limit", time.Hour, now.Add(-2 * time.Hour), runGrace},
		{"the clock was set ahead by a day", time.Hour, now.Add(-24 * time.Hour), runGrace},
		{"the clock was set back by a day", time.Hour, now.Add(24 * time.Hour), time.Hour},
		{"its limit is shorter than the grace", time.Second, now.Add(-24 * time.Hour), time.Second},
		{"it has no limit", 0, now.Add(-24 * time.Hour), 0},
	} {
		if got := left(row.limit, row.since, now); got != row.want {
			t.Errorf("%s: %v, want %v", row.when, got, row.want)
		}
	}
}
