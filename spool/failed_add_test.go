package spool_test

import (
	"errors"
	"strings"
	"testing"

	msg "runnerd/messages"
	"runnerd/spool/memfs"
)

func TestFailedAddDoesNotResurrectJob(t *testing.T) {
	files := memfs.New()
	s := open(t, files)
	failing := map[string]bool{"rename": true, "remove": true}
	files.Before = func(op memfs.Op) error {
		if failing[op.Kind] && strings.Contains(op.Name, ".preallocated-") {
			return errors.New("input/output error")
		}
		return nil
	}
	if s.Add(offer(execution)) == nil {
		t.Fatal("added, although the rename failed")
	}
	failing["rename"] = false
	if s.Add(offer(execution)) == nil {
		t.Fatal("added beside the leftover of a failed attempt")
	}
	failing["remove"] = false
	ok(t, s.Add(offer(execution)))
	ok(t, s.Remove(execution))
	ok(t, s.Close())
	if jobs := open(t, files).Jobs(); len(jobs) > 0 {
		t.Errorf("jobs after removal and restart: %v", jobs)
	}
}

func TestFailedAddIsDurableOnceOpened(t *testing.T) {
	files := memfs.New()
	s := open(t, files)
	files.Before = func(op memfs.Op) error {
		if (op.Kind == "sync" || op.Kind == "remove") && strings.Contains(op.Name, ".preallocated-") {
			return &memfs.Fault{Err: errors.New("input/output error")}
		}
		return nil
	}
	if s.Add(offer(execution)) == nil {
		t.Fatal("added, although the sync failed")
	}
	ok(t, s.Close())
	files.Before = nil
	s = open(t, files)
	if _, there := s.Job(execution); !there {
		t.Fatal("the job is gone") // which is valid too, but then the test shows nothing
	}
	after := open(t, files.Crash(func() bool { return false }))
	same(t, len(after.Problems()), 0)
	same(t, len(after.Jobs()), 1)
}

// The removal can neither be synced nor undone. The job is then reported once more and removed.
func TestFailedRemoveCanBeRepeated(t *testing.T) {
	files := memfs.New()
	s := withJob(t, open(t, files))
	ok(t, s.AppendLog(execution, []byte("said\n"), msg.Position{Time: noon, Count: 1}))
	ok(t, s.CloseLog(execution))
	ok(t, s.AckLog(execution, 5))
	stored(t, s, "r")
	ok(t, s.Finish(execution))
	files.Before = func(op memfs.Op) error {
		if op.Kind == "syncdir" || op.Kind == "rename" && strings.HasPrefix(op.Name, "tmp/") {
			return errors.New("input/output error")
		}
		return nil
	}
	if s.Remove(execution) == nil {
		t.Error("Remove returns no error")
	}
	files.Before = nil
	text, err := s.ReadLog(execution, 5, 100) // a reporter that does not know of the failed removal reports the log's size again
	ok(t, err)
	same(t, len(text), 0)
	ok(t, s.AckLog(execution, 5))
	ok(t, s.Remove(execution))
	same(t, len(s.Jobs()), 0)
}
