package spool

import (
	"errors"
	"math"
	"testing"

	msg "runnerd/messages"
)

func TestFailedAddLeavesNothingInIndex(t *testing.T) {
	files, err := Dir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(files, Options{LowWater: math.MaxUint64})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	o := msg.Offer{Job: msg.Job{ID: "job", Execution: "execution"}}
	if err := s.Add(o); !errors.Is(err, ErrLowSpace) {
		t.Fatalf("added to a full disk: %v", err)
	}
	if len(s.jobs) > 0 {
		t.Errorf("%d jobs are in the index", len(s.jobs))
	}
	s.opts.LowWater = 0
	if err := s.Add(o); err != nil {
		t.Fatal(err)
	}
	if _, found := s.Job(o.Execution); !found {
		t.Error("the job is not added although there is space again")
	}
}
