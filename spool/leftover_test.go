package spool_test

import (
	"errors"
	"strings"
	"testing"

	msg "runnerd/messages"
	"runnerd/spool/memfs"
)

func TestAJobThatCouldNotBeAddedDoesNotComeBackAfterItsEnd(t *testing.T) {
	files := memfs.New()
	s := open(t, files)
	bad := map[string]bool{"rename": true, "remove": true}
	files.Before = func(op memfs.Op) error {
		if bad[op.Verb] && strings.Contains(op.Name, ".spare-") {
			return errors.New("input/output error")
		}
		return nil
	}
	if s.Add(offer(execution)) == nil {
		t.Fatal("it is added, though it could not get its name")
	}
	bad["rename"] = false
	if s.Add(offer(execution)) == nil {
		t.Fatal("it is added beside what an earlier attempt has left")
	}
	bad["remove"] = false
	ok(t, s.Add(offer(execution)))
	ok(t, s.Remove(execution))
	ok(t, s.Close())
	if jobs := open(t, files).Jobs(); len(jobs) > 0 {
		t.Errorf("after its removal and a restart there is %v", jobs)
	}
}

func TestAJobThatCouldNotBeAddedIsSafeWhenAReturnFindsIt(t *testing.T) {
	files := memfs.New()
	s := open(t, files)
	files.Before = func(op memfs.Op) error {
		if (op.Verb == "sync" || op.Verb == "remove") && strings.Contains(op.Name, ".spare-") {
			return &memfs.Fault{Err: errors.New("input/output error")}
		}
		return nil
	}
	if s.Add(offer(execution)) == nil {
		t.Fatal("it is added, though it could not be synced")
	}
	ok(t, s.Close())
	files.Before = nil
	s = open(t, files)
	if _, there := s.Job(execution); !there {
		t.Fatal("it has gone") // which would be as good
	}
	left := open(t, files.Crash(func() bool { return false }))
	same(t, len(left.Problems()), 0)
	same(t, len(left.Jobs()), 1)
}

func TestAJobWhoseRemovalCanNeitherBeMadeSafeNorUndoneIsReportedOnceMoreAndRemoved(t *testing.T) {
	files := memfs.New()
	s := withJob(t, open(t, files))
	ok(t, s.AppendLog(execution, []byte("said\n"), msg.Position{Time: noon, Count: 1}))
	ok(t, s.EndLog(execution))
	ok(t, s.AckLog(execution, 5))
	stored(t, s, "r")
	ok(t, s.Finish(execution))
	files.Before = func(op memfs.Op) error {
		if op.Verb == "syncdir" || op.Verb == "rename" && strings.HasPrefix(op.Name, "tmp/") {
			return errors.New("input/output error")
		}
		return nil
	}
	if s.Remove(execution) == nil {
		t.Error("it says that it is safely gone")
	}
	files.Before = nil
	text, err := s.ReadLog(execution, 5, 100) // a reporter that does not know of the attempt says the log's total again
	ok(t, err)
	same(t, len(text), 0)
	ok(t, s.AckLog(execution, 5))
	ok(t, s.Remove(execution))
	same(t, len(s.Jobs()), 0)
}
