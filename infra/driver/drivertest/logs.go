package drivertest

import (
	"errors"
	"fmt"
	"strings"

	msg "runnerd/messages"
)

func completeLog(b *fixture) {
	log := b.log(b.start(Floods), msg.Position{})
	var want strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	if got := textOf(log); got != want.String() {
		b.Errorf("got %d bytes, want %d: %.100q…", len(got), want.Len(), got)
	}
	for i, e := range log {
		if e.Time.IsZero() || i > 0 && e.Time.Before(log[i-1].Time) {
			b.Fatalf("entry %d is stamped %v, the one before it %v", i, e.Time, log[max(0, i-1)].Time)
		}
	}
}

func longLine(b *fixture) {
	got := textOf(b.log(b.start(LongLine), msg.Position{}))
	if want := strings.Repeat("x", 40_000) + "\n"; got != want {
		b.Errorf("got %d bytes, want %d", len(got), len(want))
	}
}

func followsLog(b *fixture) {
	id := b.start(Waits) // start has already read the first line of the running program
	done := make(chan error, 1)
	go func() {
		done <- b.Logs(b.ctx, id, msg.Position{}, func([]msg.LogEntry) error { return nil })
	}()
	b.ok(b.Signal(b.ctx, id, msg.SIGKILL))
	b.ok(<-done)
}

// resumesLog reads from every position of a log and expects exactly the rest.
func resumesLog(b *fixture) {
	for _, does := range []Behavior{Exits, LongLine} {
		id := b.start(does)
		all := b.log(id, msg.Position{})
		for i, e := range all {
			positions := []msg.Position{positionOf(all, i)}
			for _, skip := range []int{1, len(e.Text) - 1} {
				inside := positionOf(all, i+1)
				inside.Count, inside.Skip = inside.Count-1, skip
				positions = append(positions, inside)
			}
			for _, at := range positions {
				skip := at.Skip
				got, want := textOf(b.log(id, at)), textOf(all[i:])[skip:]
				if got != want {
					b.Errorf("%s: from %+v, entry %d of %d: got %d bytes, want %d", does, at, i, len(all), len(got), len(want))
				}
			}
		}
		if got := b.log(id, positionOf(all, len(all))); len(got) > 0 {
			b.Errorf("%s: there are %d entries after the last", does, len(got))
		}
	}
}

// positionOf returns the position after the first n entries.
func positionOf(log []msg.LogEntry, n int) (p msg.Position) {
	for _, e := range log[:n] {
		if !e.Time.Equal(p.Time) {
			p = msg.Position{Time: e.Time}
		}
		p.Count++
	}
	return p
}

func emitFails(b *fixture) {
	full := errors.New("the spool is full")
	calls := 0
	err := b.Logs(b.ctx, b.start(Floods), msg.Position{}, func([]msg.LogEntry) error {
		calls++
		return full
	})
	if !errors.Is(err, full) || calls != 1 {
		b.Errorf("logs returns %v after %d calls", err, calls)
	}
}
