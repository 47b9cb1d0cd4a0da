package spool_test

import (
	"errors"
	"path"
	"testing"

	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
)

func TestStoppedExcludesLeftoverResult(t *testing.T) {
	for name, c := range map[string]struct {
		stopped bool // Stopped is called after the failed attempt to store the result
		want    msg.Ending
	}{
		"reported without it": {true, msg.Ending{Outcome: msg.Aborted, Message: "aborted: enough. The plugin was killed (SIGKILL)"}},
		"not reported yet":    {false, msg.Ending{Outcome: msg.Aborted, Message: "aborted: enough", ExitCode: 7}},
	} {
		t.Run(name, func(t *testing.T) {
			files := memfs.New()
			s := withJob(t, open(t, files))
			ok(t, aborted(s))
			files.Before = func(op memfs.Op) error {
				if path.Base(op.Name) == "result" && (op.Kind == "sync" || op.Kind == "truncate") {
					return errors.New("input/output error")
				}
				return nil
			}
			if err := completed(s); err == nil {
				t.Fatal("stored a result on a failing disk")
			}
			files.Before = nil
			if c.stopped {
				ending, err := s.Stopped(execution, "The plugin was killed (SIGKILL)")
				ok(t, err)
				same(t, ending, c.want)
			}
			for range 2 {
				ok(t, s.Close())
				s = open(t, files)
				rec, _ := s.Job(execution)
				same(t, rec.Ending, c.want)
				same(t, rec.HasResult, !c.stopped)
				found, err := spool.Inspect(files)
				ok(t, err)
				same(t, found[0].Job, rec)
			}
		})
	}
}
