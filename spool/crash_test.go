package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
)

// told is what the spool has answered, and so what others have acted on.
type told struct {
	identity                                  []byte
	added, handedOut, ended, removed, offered bool
	executor, result                          bool
	log                                       int64
	next                                      msg.Position
}

var errPower = errors.New("the power is gone")

// life does everything once, and stops at the first error.
func life(s *spool.Spool, told *told) error {
	var err error
	do := func(step func() error, done func()) {
		if err == nil {
			if err = step(); err == nil {
				done()
			}
		}
	}
	nothing := func() {}
	text := bytes.Repeat([]byte("a line of the log\n"), 20)
	do(func() error {
		id, err := s.LoadIdentity(func() ([]byte, error) { return []byte(`{"uuid":1}`), nil })
		if err == nil {
			told.identity = id
		}
		return err
	}, nothing)
	do(func() error { return s.Save(spool.Gateway, []byte(`"here"`)) }, nothing)
	told.offered = err == nil
	do(func() error { return s.Add(offer(execution)) }, func() { told.added = true })
	do(func() error { return s.Confirm(execution) }, nothing)
	do(func() error {
		return s.CreateExecutor(msg.ExecutorRecord{ID: ex1, Created: noon}, map[string][]byte{"sa/token": []byte("t")})
	}, func() { told.executor = true })
	do(func() error { return s.HandOut(msg.HandOut{Execution: execution, Executor: ex1, From: noon}) }, func() { told.handedOut = true })
	for n := 1; n <= 3; n++ {
		next := msg.Position{Time: noon, Count: n}
		do(func() error { return s.AppendLog(execution, text, next) }, func() {
			told.log, told.next = told.log+int64(len(text)), next
		})
		do(func() error { return s.AckLog(execution, told.log) }, nothing)
	}
	do(func() error {
		_, err := s.StoreResult(execution, msg.Result{Body: bytes.Repeat([]byte("r"), 500), ExitCode: 7})
		return err
	}, func() { told.result, told.ended = true, true })
	do(func() error { return s.EndLog(execution) }, nothing)
	do(func() error { return s.Finish(execution) }, nothing)
	wasLast := err == nil
	do(func() error { return s.Remove(execution) }, func() { told.removed = true })
	if wasLast && !told.removed {
		told.offered = false // it may be there or not: a removal was asked for
	}
	return err
}

// checkLaws: what was told is so.
func checkLaws(s *spool.Spool, told told, powerLost bool) error {
	for _, p := range s.Problems() {
		torn := p.What == "journal" || p.What == "result" && !told.result // by a loss of power: it cannot be told from damage
		if !powerLost || !torn {
			return fmt.Errorf("a crash is taken for damage: %+v", p)
		}
	}
	rec, found := s.Job(execution)
	removing := !told.offered
	switch {
	case told.identity != nil && !bytes.Equal(told.identity, identity(s)):
		return errors.New("the identity is another")
	case told.removed && found:
		return errors.New("a removed job is back")
	case told.added && !told.removed && !removing && !found:
		return errors.New("an added job is lost")
	case !found:
		return nil
	case told.handedOut && (rec.Stage < msg.HandedOut || rec.Executor != ex1):
		return fmt.Errorf("a hand-out is forgotten: %+v", rec)
	case told.result && !rec.HasResult:
		return errors.New("a stored result is lost")
	case rec.Log.Size < told.log:
		return fmt.Errorf("the log has %d bytes, and %d were told", rec.Log.Size, told.log)
	case rec.Log.Size == told.log && rec.Log.Resume != told.next:
		return fmt.Errorf("the log goes on at %v instead of %v", rec.Log.Resume, told.next)
	}
	if _, err := s.Input(execution); err != nil {
		return err
	}
	if body, err := s.Result(execution); err != nil || rec.HasResult && len(body) != 500 {
		return fmt.Errorf("the result has %d bytes: %w", len(body), err)
	}
	e, found := s.Executor(ex1)
	if told.executor && !found {
		return errors.New("an executor is lost")
	}
	if found && rec.Stage >= msg.HandedOut && e.Job != execution {
		return fmt.Errorf("its executor does not know of the job: %+v", e)
	}
	text, err := s.ReadLog(execution, 0, 1<<20)
	if err == nil && bytes.IndexByte(text, 0) >= 0 {
		err = errors.New("the log has holes")
	}
	return err
}

func identity(s *spool.Spool) []byte {
	id, err := s.LoadIdentity(func() ([]byte, error) { return []byte(`"new"`), nil })
	if err != nil {
		return nil
	}
	return id
}

func TestWhatWasToldIsSoAfterACrashAtAnyOperation(t *testing.T) {
	t.Parallel()
	for name, survives := range map[string]func(*rand.Rand) func() bool{
		"all that was not synced is lost": func(*rand.Rand) func() bool { return func() bool { return false } },
		"only the process died":           func(*rand.Rand) func() bool { return nil },
		"anything may be lost": func(r *rand.Rand) func() bool {
			return func() bool { return r.IntN(2) == 0 }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(20) {
				for at := 1; ; at++ {
					done, err := crashAt(at, survives(rand.New(rand.NewPCG(seed, uint64(at)))))
					if err != nil {
						t.Fatalf("crash at operation %d, seed %d: %v", at, seed, err)
					}
					if done {
						if at < 40 {
							t.Fatalf("a life has only %d operations", at)
						}
						break
					}
				}
			}
		})
	}
}

// crashAt lives until the operation and checks the laws after it, and again after a loss of power that follows the first look:
// what Open shows must itself be safe.
func crashAt(at int, survives func() bool) (done bool, err error) {
	files := memfs.New()
	files.Before = func(op memfs.Op) error {
		if op.N >= at {
			return errPower
		}
		return nil
	}
	var told told
	s, err := spool.Open(files, spool.Options{})
	if err == nil {
		err = life(s, &told)
	}
	if err != nil && !errors.Is(err, errPower) {
		return false, err
	}
	done = err == nil && files.Ops() < at
	files.Before = nil
	if survives != nil {
		files = files.Crash(survives)
	} else if err := files.Close(); err != nil {
		return done, err
	}
	s, err = spool.Open(files, spool.Options{})
	if err != nil {
		return done, err
	}
	if err := checkLaws(s, told, survives != nil); err != nil {
		return done, err
	}
	seen, found := s.Job(execution)
	s, err = spool.Open(files.Crash(func() bool { return false }), spool.Options{})
	if err != nil {
		return done, err
	}
	again, foundAgain := s.Job(execution)
	if found != foundAgain || seen.Stage != again.Stage || seen.HasResult != again.HasResult || seen.Log != again.Log {
		return done, fmt.Errorf("what was seen is lost: %+v, then %+v", seen, again)
	}
	return done, checkLaws(s, told, survives != nil)
}

// A failing disk: every operation in turn fails once, and the verb is repeated as its callers do.
func TestAnOperationThatFailsOnceIsAnErrorAndItsRepetitionHolds(t *testing.T) {
	for at := 1; ; at++ {
		files := memfs.New()
		files.Before = func(op memfs.Op) error {
			if op.N == at {
				return errors.New("input/output error")
			}
			return nil
		}
		var told told
		s, err := spool.Open(files, spool.Options{})
		if err != nil {
			ok(t, files.Close())
			s = open(t, files)
		}
		if err := life(s, &told); err != nil {
			if told.added {
				_, _ = s.End(execution, msg.Ending{Outcome: msg.Failed, Message: "the disk"})
			}
			told.ended = true
			again := told
			again.log = 0
			ok(t, repeat(s, &again))
		}
		if files.Ops() < at {
			return
		}
		left := open(t, files.Crash(func() bool { return false }))
		same(t, len(left.Jobs()), 0)
		same(t, len(left.Problems()), 0)
	}
}

// repeat does again what the failing operation may have left undone.
func repeat(s *spool.Spool, told *told) error {
	if err := s.Add(offer(execution)); errors.Is(err, msg.ErrAlreadyDone) {
		return nil
	} else if err != nil && !told.removed {
		return err
	}
	if err := s.CreateExecutor(msg.ExecutorRecord{ID: ex1, Created: noon}, nil); err != nil {
		return err
	}
	rec, _ := s.Job(execution)
	if rec.Stage < msg.Ended {
		if err := s.HandOut(msg.HandOut{Execution: execution, Executor: ex1, From: noon}); err != nil {
			return err
		}
		if _, err := s.StoreResult(execution, msg.Result{Body: []byte("r")}); err != nil {
			return err
		}
	}
	if err := s.Finish(execution); err != nil {
		return err
	}
	return s.Remove(execution)
}
