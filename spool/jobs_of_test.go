package spool_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
)

// checkJobsOf compares JobsOf with a filter of all jobs.
func checkJobsOf(s *spool.Spool) error {
	all := s.Jobs()
	for _, id := range append([]msg.ExecutorID{"", ex1, "ex2", "unknown"}, executorsOf(all)...) {
		want := slices.DeleteFunc(slices.Clone(all), func(rec msg.JobRecord) bool { return id == "" || rec.Executor != id })
		got := s.JobsOf(id)
		same := slices.EqualFunc(got, want, func(a, b msg.JobRecord) bool { return a.Execution == b.Execution && a.Stage == b.Stage })
		if !same {
			return fmt.Errorf("jobs of executor %q: %v, want %v", id, got, want)
		}
	}
	return nil
}

func executorsOf(jobs []msg.JobRecord) (ids []msg.ExecutorID) {
	for _, rec := range jobs {
		ids = append(ids, rec.Executor)
	}
	return ids
}

func TestJobsOfFollowsEveryStep(t *testing.T) {
	files := memfs.New()
	s := withJob(t, open(t, files))
	ok(t, s.CreateExecutor(msg.ExecutorRecord{ID: "ex2", Created: noon}, nil))
	for n := range 3 {
		ok(t, s.Add(offer(msg.ExecutionID(fmt.Sprint("own-", n)))))
	}
	for _, step := range []struct {
		what     string
		do       func() error
		ex1, ex2 int
	}{
		{what: "before", do: func() error { return nil }, ex1: 1},
		{what: "the executor gets its next job", do: func() error {
			return errors.Join(s.CloseLog(execution), endOf(s, execution), s.HandOut(msg.HandOut{Execution: "own-1", Executor: ex1, From: noon}))
		}, ex1: 2},
		{what: "another executor gets a job", do: func() error { return s.HandOut(msg.HandOut{Execution: "own-0", Executor: "ex2", From: noon}) }, ex1: 2, ex2: 1},
		{what: "a job is taken back", do: func() error {
			return errors.Join(s.NotStarted("own-1", 1), s.TakeBack("own-1"))
		}, ex1: 1, ex2: 1},
		{what: "the job goes to the other executor", do: func() error {
			return errors.Join(endOf(s, "own-0"), s.HandOut(msg.HandOut{Execution: "own-1", Executor: "ex2", From: noon}))
		}, ex1: 1, ex2: 2},
		{what: "a reported job is removed", do: func() error { return s.Remove(execution) }, ex2: 2},
		{what: "the process starts again", do: func() error {
			err := s.Close()
			s = open(t, files)
			return err
		}, ex2: 2},
		{what: "all are gone", do: func() error { return errors.Join(s.Remove("own-0"), s.Reject("own-1", "no")) }},
	} {
		ok(t, step.do())
		if err := checkJobsOf(s); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if len(s.JobsOf(ex1)) != step.ex1 || len(s.JobsOf("ex2")) != step.ex2 {
			t.Fatalf("%s: %d jobs of ex1 and %d of ex2, want %d and %d", step.what, len(s.JobsOf(ex1)), len(s.JobsOf("ex2")), step.ex1, step.ex2)
		}
	}
}

func endOf(s *spool.Spool, id msg.ExecutionID) error {
	_, err := s.End(id, msg.Ending{Outcome: msg.Failed})
	return err
}

// BenchmarkJobsOf measures JobsOf while the spool has many other jobs.
func BenchmarkJobsOf(b *testing.B) {
	s := benchSpool(b)
	ok(b, s.CreateExecutor(msg.ExecutorRecord{ID: ex1, Created: noon}, nil))
	for _, id := range benchJobs(b, s)[:1] {
		ok(b, s.HandOut(msg.HandOut{Execution: id, Executor: ex1, From: noon}))
	}
	for b.Loop() {
		if len(s.JobsOf(ex1)) != 1 {
			b.Fatal("not found")
		}
	}
}
