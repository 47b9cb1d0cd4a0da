package spool

import (
	"fmt"
	"strings"
	"testing"

	msg "runnerd/messages"
)

func TestRecentlyFinishedIsBounded(t *testing.T) {
	var r recentlyFinished
	id := func(n int) msg.ExecutionID { return msg.ExecutionID(fmt.Sprint(n)) }
	for n := range 3*maxRecentlyFinished + 7 {
		r.add(id(n))
		r.add(id(n))
	}
	if len(r.names) != maxRecentlyFinished || len(r.ring) != maxRecentlyFinished {
		t.Errorf("%d names and %d ring entries", len(r.names), len(r.ring))
	}
	for n, want := range map[int]bool{2*maxRecentlyFinished + 6: false, 2*maxRecentlyFinished + 7: true, 3*maxRecentlyFinished + 6: true} {
		if r.has(id(n)) != want {
			t.Errorf("has(%d) is %t", n, !want)
		}
	}
}

func TestRecentlyFinishedShortensLongIDs(t *testing.T) {
	var r recentlyFinished
	long := strings.Repeat("long ", 2000)
	for _, id := range []string{"job-1", long + "1", long + "2"} {
		if r.has(msg.ExecutionID(id)) {
			t.Errorf("%.10q is found before it is added", id)
		}
		r.add(msg.ExecutionID(id))
		if !r.has(msg.ExecutionID(id)) {
			t.Errorf("%.10q is not found", id)
		}
	}
	for _, name := range r.ring {
		if len(name) > 65 {
			t.Errorf("an entry has %d bytes", len(name))
		}
	}
}
