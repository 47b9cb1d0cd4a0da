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

// reported is what the spool has reported as done, so that others may have acted on it.
type reported struct {
	identity                         []byte
	added, handedOut, ended, removed bool
	removing                         bool // Remove was called and has failed: the job may be there or not
	executor, result                 bool
	log                              int64
	next                             msg.Position
}

var errCrash = errors.New("simulated crash")

// runJob loads an identity, saves a setting and takes a job from Add to Remove. It stops at the first error.
func runJob(s *spool.Spool, reported *reported) error {
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
			reported.identity = id
		}
		return err
	}, nothing)
	do(func() error { return s.Save(spool.Gateway, []byte(`"here"`)) }, nothing)
	do(func() error { return s.Add(offer(execution)) }, func() { reported.added = true })
	do(func() error { return s.Confirm(execution) }, nothing)
	do(func() error {
		return s.CreateExecutor(msg.ExecutorRecord{ID: ex1, Created: noon}, map[string][]byte{"sa/token": []byte("t")})
	}, func() { reported.executor = true })
	do(func() error { return s.HandOut(msg.HandOut{Execution: execution, Executor: ex1, From: noon}) }, func() { reported.handedOut = true })
	for n := 1; n <= 3; n++ {
		next := msg.Position{Time: noon, Count: n}
		do(func() error { return s.AppendLog(execution, text, next) }, func() {
			reported.log, reported.next = reported.log+int64(len(text)), next
		})
		do(func() error { return s.AckLog(execution, reported.log) }, nothing)
	}
	do(func() error {
		_, err := s.StoreResult(execution, msg.Result{Body: bytes.Repeat([]byte("r"), 500), ExitCode: 7})
		return err
	}, func() { reported.result, reported.ended = true, true })
	do(func() error { return s.CloseLog(execution) }, nothing)
	do(func() error { return s.Finish(execution) }, nothing)
	wasLast := err == nil
	do(func() error { return s.Remove(execution) }, func() { reported.removed = true })
	if wasLast && !reported.removed {
		reported.removing = true
	}
	return err
}

// checkInvariants checks that the spool still has everything that it has reported.
func checkInvariants(s *spool.Spool, reported reported, powerLost bool) error {
	for _, p := range s.Problems() {
		torn := p.What == "journal" || p.What == "result" && !reported.result // by a loss of power; cannot be distinguished from damage
		if !powerLost || !torn {
			return fmt.Errorf("a crash was reported as damage: %+v", p)
		}
	}
	rec, found := s.Job(execution)
	switch {
	case reported.identity != nil && !bytes.Equal(reported.identity, identity(s)):
		return errors.New("the identity has changed")
	case reported.removed && found:
		return errors.New("a removed job is back")
	case reported.added && !reported.removed && !reported.removing && !found:
		return errors.New("an added job is lost")
	case !found:
		return nil
	case reported.handedOut && (rec.Stage < msg.HandedOut || rec.Executor != ex1):
		return fmt.Errorf("a hand-out is lost: %+v", rec)
	case reported.result && !rec.HasResult:
		return errors.New("a stored result is lost")
	case rec.Log.Size < reported.log:
		return fmt.Errorf("the log has %d bytes, want at least %d", rec.Log.Size, reported.log)
	case rec.Log.Size == reported.log && rec.Log.Resume != reported.next:
		return fmt.Errorf("the log resumes at %v, want %v", rec.Log.Resume, reported.next)
	}
	if _, err := s.Input(execution); err != nil {
		return err
	}
	if body, err := s.Result(execution); err != nil || rec.HasResult && len(body) != 500 {
		return fmt.Errorf("the result has %d bytes: %w", len(body), err)
	}
	e, found := s.Executor(ex1)
	if reported.executor && !found {
		return errors.New("an executor is lost")
	}
	if found && rec.Stage >= msg.HandedOut && e.Job != execution {
		return fmt.Errorf("the executor record does not name the job: %+v", e)
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

func TestReportedStateSurvivesCrashAtAnyOperation(t *testing.T) {
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
							t.Fatalf("runJob has only %d operations", at)
						}
						break
					}
				}
			}
		})
	}
}

// crashAt runs a job until the operation, crashes, and checks the invariants after the next Open, and once more after a loss of
// power: everything that Open returns must be durable. done reports that there is no such operation.
func crashAt(at int, survives func() bool) (done bool, err error) {
	files := memfs.New()
	files.Before = func(op memfs.Op) error {
		if op.N >= at {
			return errCrash
		}
		return nil
	}
	var reported reported
	s, err := spool.Open(files, spool.Options{})
	if err == nil {
		err = runJob(s, &reported)
	}
	if err != nil && !errors.Is(err, errCrash) {
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
	if err := checkInvariants(s, reported, survives != nil); err != nil {
		return done, err
	}
	seen, found := s.Job(execution)
	s, err = spool.Open(files.Crash(func() bool { return false }), spool.Options{})
	if err != nil {
		return done, err
	}
	again, foundAgain := s.Job(execution)
	if found != foundAgain || seen.Stage != again.Stage || seen.HasResult != again.HasResult || seen.Log != again.Log {
		return done, fmt.Errorf("state returned by Open is lost: %+v, then %+v", seen, again)
	}
	return done, checkInvariants(s, reported, survives != nil)
}

// Every operation in turn fails once, and the test retries the method as its callers do.
func TestRepeatSucceedsAfterFailedOperation(t *testing.T) {
	for at := 1; ; at++ {
		files := memfs.New()
		files.Before = func(op memfs.Op) error {
			if op.N == at {
				return errors.New("input/output error")
			}
			return nil
		}
		var reported reported
		s, err := spool.Open(files, spool.Options{})
		if err != nil {
			ok(t, files.Close())
			s = open(t, files)
		}
		if err := runJob(s, &reported); err != nil {
			if reported.added {
				_, _ = s.End(execution, msg.Ending{Outcome: msg.Failed, Message: "the disk"})
			}
			reported.ended = true
			again := reported
			again.log = 0
			ok(t, repeat(s, &again))
		}
		if files.Ops() < at {
			return
		}
		after := open(t, files.Crash(func() bool { return false }))
		same(t, len(after.Jobs()), 0)
		same(t, len(after.Problems()), 0)
	}
}

// repeat calls again the methods that the failing operation may have left undone.
func repeat(s *spool.Spool, reported *reported) error {
	if err := s.Add(offer(execution)); errors.Is(err, msg.ErrAlreadyDone) {
		return nil
	} else if err != nil && !reported.removed {
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
