package spool_test

import (
	"errors"
	"strings"
	"testing"

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
