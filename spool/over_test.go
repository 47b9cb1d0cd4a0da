package spool

import (
	"fmt"
	"strings"
	"testing"

	msg "runnerd/messages"
)

func TestOnlyTheNewestOfThoseThatAreOverAreRemembered(t *testing.T) {
	var o over
	id := func(n int) msg.ExecutionID { return msg.ExecutionID(fmt.Sprint(n)) }
	for n := range 3*remembered + 7 {
		o.add(id(n))
		o.add(id(n))
	}
	if len(o.ids) != remembered || len(o.ring) != remembered {
		t.Errorf("%d and %d are remembered", len(o.ids), len(o.ring))
	}
	for n, want := range map[int]bool{2*remembered + 6: false, 2*remembered + 7: true, 3*remembered + 6: true} {
		if o.has(id(n)) != want {
			t.Errorf("%d is remembered: %t", n, !want)
		}
	}
}

func TestALongIDIsRememberedInFewBytes(t *testing.T) {
	var o over
	long := strings.Repeat("long ", 2000)
	for _, id := range []string{"job-1", long + "1", long + "2"} {
		if o.has(msg.ExecutionID(id)) {
			t.Errorf("%.10q is remembered too early", id)
		}
		o.add(msg.ExecutionID(id))
		if !o.has(msg.ExecutionID(id)) {
			t.Errorf("%.10q is not remembered", id)
		}
	}
	for _, kept := range o.ring {
		if len(kept) > 65 {
			t.Errorf("one takes %d bytes", len(kept))
		}
	}
}
