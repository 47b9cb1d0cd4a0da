package spool_test

import (
	"os"
	"path/filepath"
	"testing"
)

// A loss of power can take a job's name back to that of the spare it was written into.
func TestASpareIsTheJobThatWasWrittenIntoItOrNothing(t *testing.T) {
	for name, c := range map[string]struct {
		edit func([]byte) []byte
		want bool
	}{
		"whole":                   {add(""), true},
		"empty":                   {func([]byte) []byte { return nil }, false},
		"its head was torn":       {func(b []byte) []byte { return b[:20] }, false},
		"its input was torn":      {cut(1), false},
		"a hole in what is there": {flip(-1), false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openDir(t, dir)
			ok(t, s.Add(offer(execution)))
			ok(t, s.Add(offer("bystander")))
			ok(t, s.Close())
			spare := filepath.Join(dir, "jobs", ".spare-1")
			ok(t, os.Rename(filepath.Join(dir, "jobs/job-1"), spare))
			change(t, dir, "jobs/.spare-1/job.json", c.edit)

			s = openDir(t, dir)
			same(t, len(s.Problems()), 0)
			_, found := s.Job(execution)
			same(t, found, c.want)
			_, found = s.Job("bystander")
			same(t, found, true)
			if _, err := os.Stat(spare); !os.IsNotExist(err) {
				t.Errorf("the spare is still there: %v", err)
			}
			ok(t, s.Add(offer("next")))
		})
	}
}

func TestAnOfferThatWasWrittenTwiceIsThereOnce(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	ok(t, s.Add(offer(execution)))
	ok(t, s.Close())
	ok(t, os.CopyFS(filepath.Join(dir, "jobs", ".spare-1"), os.DirFS(filepath.Join(dir, "jobs/job-1"))))
	s = openDir(t, dir)
	same(t, len(s.Jobs()), 1)
	same(t, len(s.Problems()), 0)
}
