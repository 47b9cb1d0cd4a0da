package spool_test

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
)

// methodCall is a call of a method of Spool, and how to prepare the spool for it.
type methodCall struct {
	method      string
	before      []func(*spool.Spool) error
	do          func(*spool.Spool) error
	notDurable  bool // a loss of power may undo it
	mayFailLate bool // an error may mean that it took effect and only the deletion failed
	byOperator  bool // an operator looks at the spool before repeating it
}

// The steps that prepare a spool for a method call.
var (
	added     = func(s *spool.Spool) error { return s.Add(offer(execution)) }
	bystander = func(s *spool.Spool) error { return s.Add(offer("bystander")) }
	confirmed = func(s *spool.Spool) error { return s.Confirm(execution) }
	executor  = func(s *spool.Spool) error {
		return s.CreateExecutor(msg.ExecutorRecord{ID: ex1, Created: noon}, map[string][]byte{"sa/token": []byte("t")})
	}
	unstarted = func(s *spool.Spool) error { return s.NotStarted(execution, 1) }
	// Remove preallocates a directory.
	preallocated = func(s *spool.Spool) error { return errors.Join(s.Add(offer("earlier")), s.Remove("earlier")) }
	handedOut    = func(s *spool.Spool) error {
		return s.HandOut(msg.HandOut{Execution: execution, Executor: ex1, From: noon})
	}
	failed = func(s *spool.Spool) error {
		_, err := s.End(execution, msg.Ending{Outcome: msg.Failed, Message: "no image"})
		return err
	}
	aborted = func(s *spool.Spool) error {
		_, err := s.End(execution, msg.Ending{Outcome: msg.Aborted, Message: "aborted: enough"})
		return err
	}
	completed = func(s *spool.Spool) error {
		_, err := s.StoreResult(execution, msg.Result{Body: []byte(strings.Repeat("r", 300)), ExitCode: 7})
		return err
	}
	removed = func(s *spool.Spool) error { return s.Remove(execution) }
	refused = func(s *spool.Spool) error { return s.Reject(execution, "410: gone") }
	crashed = func(s *spool.Spool) error { _, err := s.Crash(execution, "executor"); return err }
	saved   = func(text string) func(*spool.Spool) error {
		return func(s *spool.Spool) error { return s.Save(spool.Server, []byte(text)) }
	}
	identityMade = func(s *spool.Spool) error {
		_, err := s.LoadIdentity(func() ([]byte, error) { return []byte(`{"uuid":1}`), nil })
		return err
	}
	logged = func(n int) func(*spool.Spool) error {
		return func(s *spool.Spool) error {
			return s.AppendLog(execution, []byte(strings.Repeat(fmt.Sprint("line ", n, "\n"), 30)), msg.Position{Time: noon, Count: n})
		}
	}
	largeRecord = func(s *spool.Spool) error { // so that the next update rewrites the record
		return s.UpdateExecutor(ex1, func(r *msg.ExecutorRecord) { r.Mask = make([]byte, 64<<10) })
	}
)

func steps(all ...func(*spool.Spool) error) []func(*spool.Spool) error { return all }

var runningJob = steps(bystander, added, confirmed, executor, handedOut)

func after(more ...func(*spool.Spool) error) []func(*spool.Spool) error {
	return append(slices.Clone(runningJob), more...)
}

var methodCalls = map[string]methodCall{
	"an identity is created":                     {method: "LoadIdentity", do: identityMade},
	"a setting is saved":                         {method: "Save", do: saved(`{"capacity":1}`)},
	"a setting is saved again":                   {method: "Save", before: steps(saved(`{"capacity":1}`)), do: saved(`{"capacity":2}`)},
	"a job is added":                             {method: "Add", before: steps(bystander), do: added},
	"a job is added to a preallocated directory": {method: "Add", before: steps(bystander, preallocated), do: added},
	"a job is confirmed":                         {method: "Confirm", before: steps(bystander, added), do: confirmed, notDurable: true},
	"a job is aborted":                           {method: "Abort", before: after(), do: func(s *spool.Spool) error { return s.Abort(execution, "enough") }},
	"a crash is counted":                         {method: "Crash", before: after(), do: crashed},
	"a second crash is counted":                  {method: "Crash", before: after(crashed), do: crashed},
	"a job fails":                                {method: "End", before: after(), do: failed},
	"an unconfirmed job fails":                   {method: "End", before: steps(bystander, added), do: failed},
	"a job is stopped": {method: "Stopped", before: after(aborted), do: func(s *spool.Spool) error {
		_, err := s.Stopped(execution, "The plugin was killed (SIGKILL)")
		return err
	}},
	"a log ends":                                      {method: "CloseLog", before: after(logged(1)), do: func(s *spool.Spool) error { return s.CloseLog(execution) }},
	"a finish is accepted":                            {method: "Finish", before: after(failed), do: func(s *spool.Spool) error { return s.Finish(execution) }, notDurable: true},
	"a job is handed out":                             {method: "HandOut", before: steps(bystander, added, confirmed, executor), do: handedOut},
	"a job is handed out again":                       {method: "HandOut", before: after(unstarted), do: handedOut},
	"a job is handed out and the record is rewritten": {method: "HandOut", before: steps(bystander, added, executor, largeRecord), do: handedOut},
	"a job is delivered":                              {method: "Delivered", before: after(), do: func(s *spool.Spool) error { return s.Delivered(execution) }, notDurable: true},
	"a job is proven not to have started":             {method: "NotStarted", before: after(), do: unstarted},
	"a job is taken back":                             {method: "TakeBack", before: after(unstarted), do: func(s *spool.Spool) error { return s.TakeBack(execution) }},
	"a result is stored":                              {method: "StoreResult", before: after(), do: completed},
	"a log starts":                                    {method: "AppendLog", before: after(), do: logged(1)},
	"a log grows":                                     {method: "AppendLog", before: after(logged(1), logged(2)), do: logged(3)},
	"a log position moves without text": {method: "AppendLog", before: after(logged(1)), do: func(s *spool.Spool) error {
		return s.AppendLog(execution, nil, msg.Position{Time: noon, Count: 9})
	}},
	"a log is acknowledged":             {method: "AckLog", before: after(logged(1)), do: func(s *spool.Spool) error { return s.AckLog(execution, 7) }, notDurable: true},
	"a job is removed":                  {method: "Remove", before: after(completed), do: removed, mayFailLate: true},
	"a job is rejected":                 {method: "Reject", before: after(completed), do: refused},
	"a rejected job is resent":          {method: "Resend", byOperator: true, before: after(completed, refused), do: resent},
	"a rejected job is discarded":       {method: "Discard", byOperator: true, before: after(completed, refused), do: discarded("rejected/job-1"), mayFailLate: true},
	"an ended job is discarded":         {method: "Discard", byOperator: true, before: after(completed), do: discarded("jobs/job-1"), mayFailLate: true},
	"an executor is created":            {method: "CreateExecutor", before: steps(bystander), do: executor},
	"an executor's record changes":      {method: "UpdateExecutor", before: after(), do: becomesIdle, notDurable: true},
	"an executor's record is rewritten": {method: "UpdateExecutor", before: after(largeRecord), do: becomesIdle},
	"an executor is removed":            {method: "RemoveExecutor", before: after(completed), do: func(s *spool.Spool) error { return s.RemoveExecutor(ex1) }, mayFailLate: true},
}

func discarded(location string) func(*spool.Spool) error {
	return func(s *spool.Spool) error { _, err := s.Discard(location); return err }
}

func resent(s *spool.Spool) error {
	_, err := s.Resend("rejected/job-1")
	return err
}

func becomesIdle(s *spool.Spool) error {
	return s.UpdateExecutor(ex1, func(r *msg.ExecutorRecord) { r.IdleSince = noon })
}

// readMethods are the methods that change nothing, and Close and CheckSpace.
var readMethods = []string{"Changed", "Close", "Executor", "ExecutorDir", "Executors", "Free", "Input", "Job", "Jobs", "JobsOf", "CountRejectedAndCorrupt", "Load", "Problems", "ReadLog", "RequiredSpace", "Result", "CheckSpace"}

func TestEveryMethodHasFaultTest(t *testing.T) {
	tested := slices.Clone(readMethods)
	for _, c := range methodCalls {
		tested = append(tested, c.method)
	}
	for method := range reflect.TypeFor[*spool.Spool]().Methods() {
		if !slices.Contains(tested, method.Name) {
			t.Errorf("method %s has no fault test", method.Name)
		}
	}
}

// state is everything that a spool returns.
type state struct {
	Jobs                  []msg.JobRecord
	Executors             []msg.ExecutorRecord
	Inputs, Results, Logs []string
	Server, Identity      string
	Rejected              int
}

func stateOf(s *spool.Spool) (st state, err error) {
	st.Jobs, st.Executors = s.Jobs(), s.Executors()
	for n, e := range st.Executors {
		st.Executors[n].Mask = fmt.Append(nil, len(e.Mask)) // the masks are long
	}
	err = checkJobsOf(s)
	for _, rec := range st.Jobs {
		input, inputErr := s.Input(rec.Execution)
		result, resultErr := s.Result(rec.Execution)
		log, logErr := s.ReadLog(rec.Execution, 0, 1<<20)
		err = errors.Join(err, inputErr, resultErr, logErr)
		st.Inputs, st.Results, st.Logs = append(st.Inputs, input), append(st.Results, string(result)), append(st.Logs, string(log))
	}
	server, _ := s.Load(spool.Server)
	st.Server = string(server)
	id, _ := s.LoadIdentity(func() ([]byte, error) { return nil, errors.New("none") })
	st.Identity = string(id)
	rejected, _, countErr := s.CountRejectedAndCorrupt()
	st.Rejected, err = rejected, errors.Join(err, countErr)
	return st, err
}

// trial is a method call on a file system on which an operation fails.
type trial struct {
	methodCall
	files         *memfs.FS
	s             *spool.Spool
	fault         fault
	before, after state
}

// begin prepares a spool for the call.
func (c methodCall) begin() (*trial, error) {
	tr := &trial{methodCall: c, files: memfs.New()}
	var err error
	if tr.s, err = reopen(tr.files); err != nil {
		return nil, err
	}
	for _, step := range c.before {
		if err := step(tr.s); err != nil {
			return nil, err
		}
	}
	if err := tr.files.SyncAll(); err != nil {
		return nil, err
	}
	tr.before, err = stateOf(tr.s)
	return tr, err
}

func reopen(files *memfs.FS) (*spool.Spool, error) {
	return spool.Open(files, spool.Options{Now: func() time.Time { return noon }})
}

// failures are the errors of a file operation.
var failures = map[string]func() error{
	"EIO":                 func() error { return &memfs.Fault{Err: syscall.EIO} },
	"ENOSPC":              func() error { return &memfs.Fault{Err: syscall.ENOSPC} },
	"ENOSPC after some":   func() error { return &memfs.Fault{Err: syscall.ENOSPC, Written: 70} },
	"EIO after all of it": func() error { return &memfs.Fault{Err: syscall.EIO, Written: 1 << 20} },
}

// fault is a failing file operation.
type fault struct {
	failure   string
	at        int // 1-based number of the operation
	reading   bool
	permanent bool // all later operations fail too
}

// doWithFault makes the call with a fault. hit is false if the call has fewer file operations.
func (tr *trial) doWithFault(f fault, seen *sync.Map) (hit bool, err error) {
	tr.fault = f
	count := 0
	hook := func(op memfs.Op) error {
		if count++; count < f.at || count > f.at && !f.permanent {
			return nil
		}
		hit = true
		seen.Store(op.Kind, true)
		return failures[f.failure]()
	}
	if f.reading {
		tr.files.BeforeRead = hook
	} else {
		tr.files.Before = hook
	}
	err = tr.do(tr.s)
	tr.files.Before, tr.files.BeforeRead = nil, nil
	return hit, err
}

// allFaults yields every kind of fault.
func allFaults() iter.Seq[fault] {
	return func(yield func(fault) bool) {
		for failure := range failures {
			for _, f := range []fault{{}, {reading: true}, {permanent: true}} {
				f.failure = failure
				if !yield(f) {
					return
				}
			}
		}
	}
}

// powerLosses returns functions that say what survives a loss of power, by name.
func powerLosses(seed uint64) map[string]func() bool {
	all := map[string]func() bool{
		"nothing more": func() bool { return false },
		"everything":   func() bool { return true },
	}
	for n := range uint64(2) {
		r := rand.New(rand.NewPCG(seed, n))
		all[fmt.Sprint("some, ", n)] = func() bool { return r.IntN(2) == 0 }
	}
	return all
}

// Every file operation of every method fails in turn. If the method then returns no error, its effect survives a crash. If it returns
// an error, the spool is unchanged. A repeated call succeeds.
func TestMethodIsAtomicWhenAnyOperationFails(t *testing.T) {
	t.Parallel()
	var seen sync.Map // the operations that have failed
	for _, name := range slices.Sorted(maps.Keys(methodCalls)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := methodCalls[name]
			clean, err := c.begin()
			ok(t, err)
			ok(t, c.do(clean.s))
			done, err := stateOf(clean.s)
			ok(t, err)
			if cmp.Equal(clean.before, done) {
				t.Fatal("the call changes nothing")
			}
			for f := range allFaults() {
				for f.at = 1; c.tryFault(t, f, done, &seen); f.at++ {
				}
				if f.at == 1 && !f.reading {
					t.Fatal("the call has no operation that can fail")
				}
			}
		})
	}
	t.Cleanup(func() { // after all subtests
		for _, op := range []string{"create", "mkdir", "write", "truncate", "sync", "rename", "remove", "syncdir", "open", "read", "readdir", "free", "size"} {
			if _, failed := seen.Load(op); !failed {
				t.Errorf("no %s has failed", op)
			}
		}
	})
}

// tryFault injects a fault and then tries each sequel. It returns false if the call has no such file operation.
func (c methodCall) tryFault(t *testing.T, f fault, done state, seen *sync.Map) bool {
	t.Helper()
	for i, sequel := range []struct {
		name string
		of   func(*trial, error) error
	}{{"the call is repeated", (*trial).checkRepeat}, {"the power fails", (*trial).checkPowerLoss}, {"the process dies", (*trial).checkProcessDeath}} {
		if raceEnabled && i != f.at%3 {
			continue
		}
		tr, err := c.begin()
		ok(t, err)
		tr.after = done
		hit, err := tr.doWithFault(f, seen)
		if !hit {
			return false
		}
		if wrong := tr.checkIndex(err); wrong != nil {
			t.Fatalf("%+v, error %v: %v", f, err, wrong)
		}
		if wrong := sequel.of(tr, err); wrong != nil {
			t.Fatalf("%+v, error %v, %s: %v", f, err, sequel.name, wrong)
		}
	}
	for twice := f; f.failure == "EIO" && !raceEnabled; twice.at++ { // the second attempt fails too
		tr, err := c.begin()
		ok(t, err)
		tr.after = done
		if _, err = tr.doWithFault(f, seen); err == nil {
			break
		}
		hit, err := tr.doWithFault(twice, seen)
		if !hit {
			break
		}
		if wrong := errors.Join(tr.checkIndex(err), tr.checkRepeat(err)); wrong != nil {
			t.Fatalf("%+v, then %+v, error %v: %v", f, twice, err, wrong)
		}
	}
	return true
}

// checkIndex checks that the index agrees with the error of the call.
func (tr *trial) checkIndex(opErr error) error {
	got, err := stateOf(tr.s)
	switch {
	case opErr != nil && tr.fault.permanent && !tr.mayFailLate: // a move that could not be undone may have hidden a file
		return differ(state{Jobs: got.Jobs, Executors: got.Executors}, state{Jobs: tr.before.Jobs, Executors: tr.before.Executors})
	case tr.mayFailLate && opErr != nil && (tr.fault.permanent || differ(got, tr.after) == nil):
		return nil
	case err != nil:
		return err
	case opErr == nil:
		return differ(got, tr.after)
	case tr.method == "Save" || tr.method == "LoadIdentity": // the spool has no index of these, so both states are possible
		return differEither(got, tr.before, tr.after)
	default:
		return differ(got, tr.before)
	}
}

func differ(got, want state) error {
	if reflect.DeepEqual(want, got) { // fast path
		return nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("(-want +got)\n%s", diff)
	}
	return nil
}

func differEither(got, one, other state) error {
	if differ(got, other) == nil {
		return nil
	}
	return differ(got, one)
}

// withoutSoftState returns a state after the loss of what is not durable.
func (st state) withoutSoftState() state {
	st.Jobs = slices.Clone(st.Jobs)
	for n, rec := range st.Jobs {
		if rec.Stage == msg.Confirmed {
			st.Jobs[n].Stage = msg.Reserved
		}
	}
	return st
}

// checkRepeat checks that a repeated call succeeds and takes effect.
func (tr *trial) checkRepeat(opErr error) error {
	got, err := stateOf(tr.s)
	if tr.byOperator && tr.fault.permanent {
		return nil
	}
	if opErr != nil && !(tr.mayFailLate && differ(got, tr.after) == nil) {
		if err := tr.do(tr.s); err != nil {
			return fmt.Errorf("again: %w", err)
		}
		got, err = stateOf(tr.s)
	}
	if err = errors.Join(err, differ(got, tr.after)); err != nil {
		return err
	}
	return tr.checkReopened(tr.files.Crash(func() bool { return false }), !tr.notDurable)
}

// checkPowerLoss checks that after a loss of power the spool has the state before or after the call, and the state after it if the call
// succeeded.
func (tr *trial) checkPowerLoss(opErr error) error {
	for name, survives := range powerLosses(uint64(tr.files.Ops())) {
		if err := tr.checkReopened(tr.files.Crash(survives), opErr == nil && !tr.notDurable); err != nil {
			return fmt.Errorf("%s survives: %w", name, err)
		}
	}
	return nil
}

// checkProcessDeath checks that the next process finds the effect of the call, and that the call works there.
func (tr *trial) checkProcessDeath(opErr error) error {
	if err := tr.files.Close(); err != nil {
		return err
	}
	if err := tr.checkReopened(tr.files, opErr == nil); err != nil {
		return err
	}
	if err := tr.files.Close(); err != nil {
		return err
	}
	s, err := reopen(tr.files)
	if err != nil {
		return err
	}
	got, err := stateOf(s)
	if err == nil && !cmp.Equal(got, tr.after) {
		if err = tr.do(s); err == nil {
			got, err = stateOf(s)
		}
	}
	return errors.Join(err, differ(got, tr.after))
}

// checkReopened opens the spool twice, the second time after a loss of power: everything that Open returns must be durable, except
// what a permanently failing disk did not let the call undo. If wantEffect, the call must have taken effect.
func (tr *trial) checkReopened(files *memfs.FS, wantEffect bool) error {
	var shown state
	for again := range 2 {
		s, err := reopen(files)
		if err != nil {
			return err
		}
		if ps := s.Problems(); len(ps) > 0 && !tr.fault.permanent && ps[0].What != "journal" && ps[0].What != "result" {
			return fmt.Errorf("reported as damage: %+v", ps)
		}
		got, err := stateOf(s)
		if err == nil && again == 1 {
			if err = differ(got, shown); tr.fault.permanent {
				err = differEither(got.withoutSoftState(), tr.before.withoutSoftState(), tr.after.withoutSoftState())
			}
		} else if err == nil && wantEffect {
			err = differ(got, tr.after)
		} else if err == nil {
			err = differEither(got.withoutSoftState(), tr.before.withoutSoftState(), tr.after.withoutSoftState())
		}
		if err != nil {
			return fmt.Errorf("opened %d times: %w", again+1, err)
		}
		shown, files = got, files.Crash(func() bool { return false })
	}
	return nil
}
