package driver_test

import (
	"strings"
	"testing"
	"time"

	"runnerd/infra/driver"
	msg "runnerd/messages"
)

func TestACursorLeavesOutWhatLiesBeforeThePosition(t *testing.T) {
	log := []msg.LogEntry{entry(1, "a1 "), entry(2, "b1 "), entry(2, "b2 "), entry(2, "b3 "), entry(3, "c1 ")}
	for name, c := range map[string]struct {
		from msg.Position
		want string
	}{
		"the zero position is the beginning":              {msg.Position{}, "a1 b1 b2 b3 c1 "},
		"a stamp alone is before all that bear it":        {msg.Position{Time: at(2)}, "b1 b2 b3 c1 "},
		"entries that bear the stamp are counted":         {msg.Position{Time: at(2), Count: 2}, "b3 c1 "},
		"bytes are skipped of the entry after those":      {msg.Position{Time: at(2), Count: 1, Skip: 2}, " b3 c1 "},
		"but not of a later one, if that is gone":         {msg.Position{Time: at(2), Count: 3, Skip: 1}, "c1 "},
		"all that bear the newest stamp: nothing is left": {msg.Position{Time: at(3), Count: 1}, ""},
		"an entry that is skipped whole does not come":    {msg.Position{Time: at(2), Count: 2, Skip: 3}, "c1 "},
		"a stamp between two entries":                     {msg.Position{Time: at(2).Add(1)}, "c1 "},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			cursor := driver.From(c.from)
			for _, e := range log {
				if e, ok := cursor.Next(e); ok {
					if len(e.Text) == 0 {
						t.Error("an entry came without text")
					}
					got.Write(e.Text)
				}
			}
			if got.String() != c.want {
				t.Errorf("got %q, want %q", got.String(), c.want)
			}
		})
	}
}

func at(second int) time.Time { return time.Unix(int64(second), 0) }

func entry(second int, text string) msg.LogEntry {
	return msg.LogEntry{Time: at(second), Text: []byte(text)}
}
