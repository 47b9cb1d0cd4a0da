package driver_test

import (
	"strings"
	"testing"
	"time"

	"runnerd/infra/driver"
	msg "runnerd/messages"
)

func TestCursorSkipsEntriesBeforePosition(t *testing.T) {
	log := []msg.LogEntry{entry(1, "a1 "), entry(2, "b1 "), entry(2, "b2 "), entry(2, "b3 "), entry(3, "c1 ")}
	for name, c := range map[string]struct {
		from msg.Position
		want string
	}{
		"zero position":                             {msg.Position{}, "a1 b1 b2 b3 c1 "},
		"timestamp without count":                   {msg.Position{Time: at(2)}, "b1 b2 b3 c1 "},
		"count of entries with the timestamp":       {msg.Position{Time: at(2), Count: 2}, "b3 c1 "},
		"bytes of the next entry are skipped":       {msg.Position{Time: at(2), Count: 1, Skip: 2}, " b3 c1 "},
		"no bytes skipped if that entry is missing": {msg.Position{Time: at(2), Count: 3, Skip: 1}, "c1 "},
		"after the last entry":                      {msg.Position{Time: at(3), Count: 1}, ""},
		"fully skipped entry is omitted":            {msg.Position{Time: at(2), Count: 2, Skip: 3}, "c1 "},
		"timestamp between two entries":             {msg.Position{Time: at(2).Add(1)}, "c1 "},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			cursor := driver.NewCursor(c.from)
			for _, e := range log {
				if e, ok := cursor.Next(e); ok {
					if len(e.Text) == 0 {
						t.Error("entry without text")
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
