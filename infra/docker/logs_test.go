package docker_test

import (
	"fmt"
	"strings"
	"testing"

	msg "runnerd/messages"
)

func TestReadingResumesWhereBothOutputsRace(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "mixes", ""))
	whole := e.log(t, id, msg.Position{})
	if len(whole) != 600 {
		t.Fatalf("%d entries, want 600", len(whole))
	}
	var at msg.Position
	for i, entry := range whole {
		if entry.Time.Before(at.Time) {
			t.Fatalf("entry %d is stamped %v, before %v", i, entry.Time, at.Time)
		}
		if !entry.Time.Equal(at.Time) {
			at = msg.Position{Time: entry.Time}
		}
		at.Count++
		if i%7 > 0 && i < len(whole)-1 {
			continue // one call each: some are enough
		}
		got, want := textOf(e.log(t, id, at)), textOf(whole[i+1:])
		if got != want {
			t.Fatalf("from %+v behind entry %d: got %d bytes, want %d", at, i, len(got), len(want))
		}
	}
}

func TestALogIsWholeThoughTheEngineTurnsItsFileOverWhileItIsRead(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "pours", ""))
	lines, rest := 0, ""
	check(t, e.driver.Logs(t.Context(), id, msg.Position{}, func(batch []msg.LogEntry) error {
		rest += textOf(batch)
		for {
			line, more, whole := strings.Cut(rest, "\n")
			if !whole {
				return nil
			}
			if want := fmt.Sprintf("%0999d", lines); line != want {
				return fmt.Errorf("line %d is %q", lines, strings.TrimLeft(line, "0"))
			}
			lines, rest = lines+1, more
		}
	}))
	if lines != 80_000 || rest != "" {
		t.Errorf("%d lines and %d bytes", lines, len(rest))
	}
}

func (e *env) log(t *testing.T, id msg.ExecutorID, from msg.Position) (log []msg.LogEntry) {
	t.Helper()
	check(t, e.driver.Logs(t.Context(), id, from, func(batch []msg.LogEntry) error {
		log = append(log, batch...)
		return nil
	}))
	return log
}

func textOf(log []msg.LogEntry) string {
	var text strings.Builder
	for _, e := range log {
		text.Write(e.Text)
	}
	return text.String()
}
