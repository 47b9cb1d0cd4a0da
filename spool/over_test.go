package spool

import (
	"fmt"
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
