package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"runnerd/actors/actorrt"
)

func TestStuckActorIsNotLive(t *testing.T) {
	now := time.Now()
	tree := []actorrt.NodeStatus{{Path: "runner", Children: []actorrt.NodeStatus{
		{Path: "runner/poller", Busy: "messages.Poll", BusySince: now.Add(-turnLimit)},
		{Path: "runner/dispatcher", Busy: "messages.Assign", BusySince: now.Add(-turnLimit - time.Second)},
	}}}
	want := []string{"the actor runner/dispatcher has been busy with messages.Assign for 2m1s, more than 2m0s"}
	if diff := cmp.Diff(want, stuckActors(tree, now)); diff != "" {
		t.Error(diff)
	}
	if stuck := (&daemon{}).notLive(); stuck != nil {
		t.Errorf("before the actors start: %v", stuck)
	}
}
