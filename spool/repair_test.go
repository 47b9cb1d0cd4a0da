package spool_test

import (
	"errors"
	"strings"
	"testing"

	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
)

func TestFailedRepairKeepsJob(t *testing.T) {
	for _, verb := range []string{"rename", "create", "syncdir"} {
		t.Run(verb, func(t *testing.T) {
			files := memfs.New()
			s := open(t, files)
			ok(t, s.Add(offer(execution)))
			ok(t, s.Confirm(execution))
			ok(t, s.Close())
			result, err := files.Open("jobs/job-1/result")
			ok(t, err)
			_, err = result.WriteAt([]byte("half of a res"), 0)
			ok(t, err)
			files.Before = func(op memfs.Op) error {
				if op.Kind == verb && strings.Contains(op.Name, "job-1") {
					return errors.New("no space left on device")
				}
				return nil
			}
			if _, err := spool.Open(files, spool.Options{}); err == nil {
				t.Fatal("opened, although the repair failed")
			}
			ok(t, files.Close())
			files.Before = nil
			if rec, there := open(t, files).Job(execution); !there || rec.Stage != msg.Confirmed {
				t.Errorf("after the next start: found %v, stage %v", there, rec.Stage)
			}
		})
	}
}
