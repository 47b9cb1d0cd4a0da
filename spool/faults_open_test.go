package spool_test

import (
	"slices"
	"sync"
	"testing"

	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
)

// filledSpool returns a spool with jobs at every stage, executors, an identity, settings, and a leftover in tmp/.
func filledSpool(t testing.TB, files *memfs.FS) *spool.Spool {
	t.Helper()
	s, err := reopen(files)
	ok(t, err)
	for _, step := range steps(identityMade, saved(`{"capacity":1}`), func(s *spool.Spool) error { return s.Save(spool.Gateway, []byte(`{"port":1}`)) }) {
		ok(t, step(s))
	}
	for name, upTo := range map[msg.ExecutionID]int{"reserved": 0, "confirmed": 1, "handed-out": 3, "logging": 4, "ended": 5, "finished": 7} {
		ex := msg.ExecutorID("ex0")
		for n, step := range []func() error{
			func() error { return s.Confirm(name) },
			func() error {
				ex = msg.ExecutorID("x" + string(name[:1]))
				return s.CreateExecutor(msg.ExecutorRecord{ID: ex, Created: noon}, map[string][]byte{"sa/token": []byte("t")})
			},
			func() error { return s.HandOut(msg.HandOut{Execution: name, Executor: ex, From: noon}) },
			func() error {
				for n := range 3 {
					if err := s.AppendLog(name, []byte("a line\n"), msg.Position{Time: noon, Count: n}); err != nil {
						return err
					}
				}
				return s.AckLog(name, 7)
			},
			func() error {
				_, err := s.StoreResult(name, msg.Result{Body: []byte("the result of " + name), ExitCode: 7})
				return err
			},
			func() error { return s.CloseLog(name) },
			func() error { return s.Finish(name) },
		} {
			if n == 0 {
				ok(t, s.Add(offer(name)))
			}
			if n < upTo {
				ok(t, step())
			}
		}
	}
	ok(t, s.Add(offer("failed")))
	_, err = s.End("failed", msg.Ending{Outcome: msg.Failed, Message: "no image"})
	ok(t, err)
	ok(t, files.Mkdir("tmp/77", 0o700))
	return s
}

// Open fails, and the next start retries it. Nothing is lost, except a record that could not be read.
func TestFailedOpenLosesNothing(t *testing.T) {
	t.Parallel()
	var seen sync.Map // the operations that have failed
	for name, newFiles := range map[string]func(*testing.T) *memfs.FS{
		"an empty directory": func(*testing.T) *memfs.FS { return memfs.New() },
		"a filled spool": func(t *testing.T) *memfs.FS {
			files := memfs.New()
			filledSpool(t, files)
			ok(t, files.Close())
			// The last line of an executor's record, the hand-out, is torn.
			f, err := files.Open("executors/xh/executor.json")
			ok(t, err)
			size, err := f.Size()
			ok(t, err)
			ok(t, f.Truncate(size-1))
			return files
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := reopenedState(t, newFiles(t))
			for f := range allFaults() {
				for f.at = 1; ; f.at++ {
					files := newFiles(t)
					hit, lost := openWithFault(t, files, f, &seen)
					if !hit {
						break
					}
					got := reopenedState(t, files)
					if lost == 0 {
						same(t, got, want)
					}
					if missing := len(want.Jobs) + len(want.Executors) - len(got.Jobs) - len(got.Executors); missing > lost {
						t.Fatalf("%+v: %d records are lost, but only %d are listed", f, missing, lost)
					}
				}
				if f.at == 1 {
					t.Fatal("no operation can fail")
				}
			}
		})
	}
	t.Cleanup(func() { // after all subtests
		for _, op := range []string{"mkdir", "create", "write", "truncate", "sync", "rename", "remove", "syncdir", "syncall", "open", "read", "size", "readdir"} {
			if _, failed := seen.Load(op); !failed {
				t.Errorf("no %s has failed", op)
			}
		}
	})
}

// openWithFault opens with a fault and returns the number of quarantined records.
func openWithFault(t *testing.T, files *memfs.FS, f fault, seen *sync.Map) (hit bool, lost int) {
	t.Helper()
	tr := &trial{files: files, methodCall: methodCall{do: func(*spool.Spool) error {
		s, err := reopen(files)
		if err == nil {
			lost = len(slices.DeleteFunc(s.Problems(), func(p spool.Problem) bool { return p.Quarantined == "" || p.What == "leftover" }))
		}
		return err
	}}}
	hit, _ = tr.doWithFault(f, seen)
	ok(t, files.Close())
	if f.reading && f.permanent {
		lost = 0
	}
	return hit, lost
}

// reopenedState returns the state that the next start sees.
func reopenedState(t testing.TB, files *memfs.FS) state {
	t.Helper()
	s, err := reopen(files)
	ok(t, err)
	st, err := stateOf(s)
	ok(t, err)
	ok(t, files.Close())
	return st
}
