package spool_test

import (
	"errors"
	"path"
	"testing"

	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
)

func TestAResultThatCouldNotBeTakenBackIsNotAddedToAnEndingThatWasTold(t *testing.T) {
	for name, c := range map[string]struct {
		told bool // how the stop went, after the attempt to store its result
		want msg.Ending
	}{
		"told without it": {true, msg.Ending{Outcome: msg.Aborted, Message: "aborted: enough. It took SIGKILL"}},
		"not told yet":    {false, msg.Ending{Outcome: msg.Aborted, Message: "aborted: enough", ExitCode: 7}},
	} {
		t.Run(name, func(t *testing.T) {
			files := memfs.New()
			s := withJob(t, open(t, files))
			ok(t, aborted(s))
			files.Before = func(op memfs.Op) error {
				if path.Base(op.Name) == "result" && (op.Verb == "sync" || op.Verb == "truncate") {
					return errors.New("input/output error")
				}
				return nil
			}
			if err := completed(s); err == nil {
				t.Fatal("the result is stored on a disk that failed")
			}
			files.Before = nil
			if c.told {
				ending, err := s.Stopped(execution, "It took SIGKILL")
				ok(t, err)
				same(t, ending, c.want)
			}
			for range 2 {
				ok(t, s.Close())
				s = open(t, files)
				rec, _ := s.Job(execution)
				same(t, rec.Ending, c.want)
				same(t, rec.HasResult, !c.told)
				found, err := spool.Inspect(files)
				ok(t, err)
				same(t, found[0].Job, rec)
			}
		})
	}
}
