package actors

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	msg "runnerd/messages"
)

func TestBackoffGrowsToMaximum(t *testing.T) {
	b := backoff{min: time.Second, max: 10 * time.Second}
	for failures, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second, 1000: 10 * time.Second} {
		if got := b.after(failures, 0.5); got != want {
			t.Errorf("after %d failures: %v, want %v", failures, got, want)
		}
	}
}

func TestBackoffStaysWithinJitter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := backoff{min: 100 * time.Millisecond, max: 10 * time.Second, jitter: 0.2}
		got := b.after(rapid.IntRange(1, 100).Draw(t, "failures"), rapid.Float64Range(0, 0.999999).Draw(t, "random number"))
		if got < 80*time.Millisecond || got > 12*time.Second {
			t.Errorf("%v", got)
		}
	})
}

func TestBackoffHonorsRetryAfter(t *testing.T) {
	b := backoff{min: time.Second, max: 10 * time.Second}
	refusal := func(after time.Duration) error {
		return errors.Join(errors.New("reserve"), &msg.Refusal{Status: 429, RetryAfter: after})
	}
	for _, row := range []struct {
		err  error
		want time.Duration
	}{
		{errors.New("no answer"), 2 * time.Second},
		{refusal(0), 2 * time.Second},
		{refusal(time.Second), 2 * time.Second},
		{refusal(time.Minute), time.Minute},
	} {
		if got := b.afterError(row.err, 2, 0.5); got != row.want {
			t.Errorf("%v: %v, want %v", row.err, got, row.want)
		}
	}
}
