package spool_test

import (
	"os"
	"path/filepath"
	"testing"
)

// A loss of power can undo the rename of a preallocated directory to the job's name.
func TestOpenAdoptsOnlyCompletePreallocatedJobs(t *testing.T) {
	for name, c := range map[string]struct {
		edit func([]byte) []byte
		want bool
	}{
		"complete":      {add(""), true},
		"empty":         {func([]byte) []byte { return nil }, false},
		"torn head":     {func(b []byte) []byte { return b[:20] }, false},
		"torn input":    {cut(1), false},
		"damaged input": {flip(-1), false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openDir(t, dir)
			ok(t, s.Add(offer(execution)))
			ok(t, s.Add(offer("bystander")))
			ok(t, s.Close())
			preallocated := filepath.Join(dir, "jobs", ".preallocated-1")
			ok(t, os.Rename(filepath.Join(dir, "jobs/job-1"), preallocated))
			change(t, dir, "jobs/.preallocated-1/job.json", c.edit)

			s = openDir(t, dir)
			same(t, len(s.Problems()), 0)
			_, found := s.Job(execution)
			same(t, found, c.want)
			_, found = s.Job("bystander")
			same(t, found, true)
			if _, err := os.Stat(preallocated); !os.IsNotExist(err) {
				t.Errorf("the preallocated directory still exists: %v", err)
			}
			ok(t, s.Add(offer("next")))
		})
	}
}

func TestOpenDropsDuplicateJob(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	ok(t, s.Add(offer(execution)))
	ok(t, s.Close())
	ok(t, os.CopyFS(filepath.Join(dir, "jobs", ".preallocated-1"), os.DirFS(filepath.Join(dir, "jobs/job-1"))))
	s = openDir(t, dir)
	same(t, len(s.Jobs()), 1)
	same(t, len(s.Problems()), 0)
}
