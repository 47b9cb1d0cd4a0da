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

// verb is one thing that the spool is asked to do, and what is there before it.
type verb struct {
	does   string // the method
	before []func(*spool.Spool) error
	do     func(*spool.Spool) error
	soft   bool // a loss of power may take it back
	leaves bool // its error may mean: it is gone, but not all of it could be deleted
	asked  bool // by a person, who looks again before asking again
}

// The steps that bring a job to where a verb is tried.
var (
	added     = func(s *spool.Spool) error { return s.Add(offer(execution)) }
	bystander = func(s *spool.Spool) error { return s.Add(offer("bystander")) }
	confirmed = func(s *spool.Spool) error { return s.Confirm(execution) }
	executor  = func(s *spool.Spool) error {
		return s.CreateExecutor(msg.ExecutorRecord{ID: ex1, Created: noon}, map[string][]byte{"sa/token": []byte("t")})
	}
	unstarted = func(s *spool.Spool) error { return s.NotStarted(execution, 1) }
	passing   = func(s *spool.Spool) error { return errors.Join(s.Add(offer("passing")), s.Remove("passing")) }
	handedOut = func(s *spool.Spool) error {
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
	identified = func(s *spool.Spool) error {
		_, err := s.LoadIdentity(func() ([]byte, error) { return []byte(`{"uuid":1}`), nil })
		return err
	}
	logged = func(n int) func(*spool.Spool) error {
		return func(s *spool.Spool) error {
			return s.AppendLog(execution, []byte(strings.Repeat(fmt.Sprint("line ", n, "\n"), 30)), msg.Position{Time: noon, Count: n})
		}
	}
	grown = func(s *spool.Spool) error { // so that the next update writes the record anew
		return s.UpdateExecutor(ex1, func(r *msg.ExecutorRecord) { r.Mask = make([]byte, 64<<10) })
	}
)

func steps(all ...func(*spool.Spool) error) []func(*spool.Spool) error { return all }

var atWork = steps(bystander, added, confirmed, executor, handedOut)

func after(more ...func(*spool.Spool) error) []func(*spool.Spool) error {
	return append(slices.Clone(atWork), more...)
}

var verbs = map[string]verb{
	"an identity is made":      {does: "LoadIdentity", do: identified},
	"a setting is saved":       {does: "Save", do: saved(`{"capacity":1}`)},
	"a setting is saved again": {does: "Save", before: steps(saved(`{"capacity":1}`)), do: saved(`{"capacity":2}`)},
	"a job is added":           {does: "Add", before: steps(bystander), do: added},
	"a job is added to a directory that was made before": {does: "Add", before: steps(bystander, passing), do: added},
	"a job is confirmed":              {does: "Confirm", before: steps(bystander, added), do: confirmed, soft: true},
	"a job is aborted":                {does: "Abort", before: after(), do: func(s *spool.Spool) error { return s.Abort(execution, "enough") }},
	"a crash is counted":              {does: "Crash", before: after(), do: crashed},
	"a second crash is counted":       {does: "Crash", before: after(crashed), do: crashed},
	"a job fails":                     {does: "End", before: after(), do: failed},
	"a job fails that was never ours": {does: "End", before: steps(bystander, added), do: failed},
	"a job is stopped":                {does: "Stopped", before: after(aborted), do: func(s *spool.Spool) error { _, err := s.Stopped(execution, "It took SIGKILL"); return err }},
	"a log ends":                      {does: "EndLog", before: after(logged(1)), do: func(s *spool.Spool) error { return s.EndLog(execution) }},
	"a finish is accepted":            {does: "Finish", before: after(failed), do: func(s *spool.Spool) error { return s.Finish(execution) }, soft: true},
	"a job is handed out":             {does: "HandOut", before: steps(bystander, added, confirmed, executor), do: handedOut},
	"a job is handed out once more":   {does: "HandOut", before: after(unstarted), do: handedOut},
	"a job is handed out to a record that is written anew": {does: "HandOut", before: steps(bystander, added, executor, grown), do: handedOut},
	"a job is delivered":                {does: "Delivered", before: after(), do: func(s *spool.Spool) error { return s.Delivered(execution) }, soft: true},
	"a job is proven not to have begun": {does: "NotStarted", before: after(), do: unstarted},
	"a job may go to another executor":  {does: "TakeBack", before: after(unstarted), do: func(s *spool.Spool) error { return s.TakeBack(execution) }},
	"a result is stored":                {does: "StoreResult", before: after(), do: completed},
	"the log begins":                    {does: "AppendLog", before: after(), do: logged(1)},
	"the log goes on":                   {does: "AppendLog", before: after(logged(1), logged(2)), do: logged(3)},
	"the log is read on, without text": {does: "AppendLog", before: after(logged(1)), do: func(s *spool.Spool) error {
		return s.AppendLog(execution, nil, msg.Position{Time: noon, Count: 9})
	}},
	"a log is acknowledged":                {does: "AckLog", before: after(logged(1)), do: func(s *spool.Spool) error { return s.AckLog(execution, 7) }, soft: true},
	"a job is removed":                     {does: "Remove", before: after(completed), do: removed, leaves: true},
	"a job is rejected":                    {does: "Reject", before: after(completed), do: refused},
	"a rejected job is sent again":         {does: "Resend", asked: true, before: after(completed, refused), do: resent},
	"a rejected job is discarded":          {does: "Discard", asked: true, before: after(completed, refused), do: discarded("rejected/job-1"), leaves: true},
	"a job that is over is discarded":      {does: "Discard", asked: true, before: after(completed), do: discarded("jobs/job-1"), leaves: true},
	"an executor is made":                  {does: "CreateExecutor", before: steps(bystander), do: executor},
	"an executor's record changes":         {does: "UpdateExecutor", before: after(), do: idles, soft: true},
	"an executor's record is written anew": {does: "UpdateExecutor", before: after(grown), do: idles},
	"an executor is removed":               {does: "RemoveExecutor", before: after(completed), do: func(s *spool.Spool) error { return s.RemoveExecutor(ex1) }, leaves: true},
}

func discarded(place string) func(*spool.Spool) error {
	return func(s *spool.Spool) error { _, err := s.Discard(place); return err }
}

func resent(s *spool.Spool) error {
	_, err := s.Resend("rejected/job-1")
	return err
}

func idles(s *spool.Spool) error {
	return s.UpdateExecutor(ex1, func(r *msg.ExecutorRecord) { r.IdleSince = noon })
}

// readers are the methods that change nothing, and Close.
var readers = []string{"Changed", "Close", "Executor", "ExecutorDir", "Executors", "Free", "Input", "Job", "Jobs", "JobsOf", "Kept", "Load", "Problems", "ReadLog", "Result", "Room", "RoomFrom"}

func TestNoVerbOfTheSpoolIsSparedByTheFaults(t *testing.T) {
	tried := slices.Clone(readers)
	for _, v := range verbs {
		tried = append(tried, v.does)
	}
	for method := range reflect.TypeFor[*spool.Spool]().Methods() {
		if !slices.Contains(tried, method.Name) {
			t.Errorf("nothing fails %s", method.Name)
		}
	}
}

// state is all that a spool shows.
type state struct {
	Jobs                  []msg.JobRecord
	Executors             []msg.ExecutorRecord
	Inputs, Results, Logs []string
	Server, Identity      string
	Rejected              int
}

func look(s *spool.Spool) (st state, err error) {
	st.Jobs, st.Executors = s.Jobs(), s.Executors()
	for n, e := range st.Executors {
		st.Executors[n].Mask = fmt.Append(nil, len(e.Mask)) // which is long
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
	rejected, _, keptErr := s.Kept()
	st.Rejected, err = rejected, errors.Join(err, keptErr)
	return st, err
}

// trial is one verb on one file system of which one operation fails.
type trial struct {
	verb
	files         *memfs.FS
	s             *spool.Spool
	fault         fault
	before, after state
}

// begin makes what is there before the verb.
func (v verb) begin() (*trial, error) {
	tr := &trial{verb: v, files: memfs.New()}
	var err error
	if tr.s, err = reopen(tr.files); err != nil {
		return nil, err
	}
	for _, step := range v.before {
		if err := step(tr.s); err != nil {
			return nil, err
		}
	}
	if err := tr.files.SyncAll(); err != nil {
		return nil, err
	}
	tr.before, err = look(tr.s)
	return tr, err
}

func reopen(files *memfs.FS) (*spool.Spool, error) {
	return spool.Open(files, spool.Options{Now: func() time.Time { return noon }})
}

// damages are the ways in which an operation fails.
var damages = map[string]func() error{
	"EIO":                 func() error { return &memfs.Fault{Err: syscall.EIO} },
	"ENOSPC":              func() error { return &memfs.Fault{Err: syscall.ENOSPC} },
	"ENOSPC after some":   func() error { return &memfs.Fault{Err: syscall.ENOSPC, Written: 70} },
	"EIO after all of it": func() error { return &memfs.Fault{Err: syscall.EIO, Written: 1 << 20} },
}

// fault is what goes wrong in a verb.
type fault struct {
	damage  string
	at      int // the how manieth operation
	reading bool
	stays   bool // all that come after it fail too
}

// failing does the verb with a fault; false: it has fewer operations.
func (tr *trial) failing(f fault, seen *sync.Map) (hit bool, err error) {
	tr.fault = f
	count := 0
	hook := func(op memfs.Op) error {
		if count++; count < f.at || count > f.at && !f.stays {
			return nil
		}
		hit = true
		seen.Store(op.Verb, true)
		return damages[f.damage]()
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

// faults are all, each at its first operation.
func faults() iter.Seq[fault] {
	return func(yield func(fault) bool) {
		for damage := range damages {
			for _, f := range []fault{{}, {reading: true}, {stays: true}} {
				f.damage = damage
				if !yield(f) {
					return
				}
			}
		}
	}
}

// powers are what a loss of power may leave.
func powers(seed uint64) map[string]func() bool {
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

// TestOneFailure is the promise of the package for every operation of every verb: it reported success and it is there after
// any end, or it reported an error and all is as before; and the next attempt works.
func TestAVerbOfWhichAnyOperationFailsKeepsThePromise(t *testing.T) {
	t.Parallel()
	var seen sync.Map // the operations that have failed
	for _, name := range slices.Sorted(maps.Keys(verbs)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := verbs[name]
			clean, err := v.begin()
			ok(t, err)
			ok(t, v.do(clean.s))
			done, err := look(clean.s)
			ok(t, err)
			if cmp.Equal(clean.before, done) {
				t.Fatal("it changes nothing")
			}
			for f := range faults() {
				for f.at = 1; v.tryAll(t, f, done, &seen); f.at++ {
				}
				if f.at == 1 && !f.reading {
					t.Fatal("it has no operation that can fail")
				}
			}
		})
	}
	t.Cleanup(func() { // when all of them are done
		for _, op := range []string{"create", "mkdir", "write", "truncate", "sync", "rename", "remove", "syncdir", "open", "read", "readdir", "free", "size"} {
			if _, failed := seen.Load(op); !failed {
				t.Errorf("no %s has failed", op)
			}
		}
	})
}

// tryAll tries one failure with each of its sequels; false: there is no such operation.
func (v verb) tryAll(t *testing.T, f fault, done state, seen *sync.Map) bool {
	t.Helper()
	for i, sequel := range []struct {
		name string
		of   func(*trial, error) error
	}{{"the verb is repeated", (*trial).repeats}, {"the power fails", (*trial).losesPower}, {"the process dies", (*trial).dies}} {
		if raced && i != f.at%3 {
			continue
		}
		tr, err := v.begin()
		ok(t, err)
		tr.after = done
		hit, err := tr.failing(f, seen)
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
	for twice := f; f.damage == "EIO" && !raced; twice.at++ { // and so does the attempt after that which also fails
		tr, err := v.begin()
		ok(t, err)
		tr.after = done
		if _, err = tr.failing(f, seen); err == nil {
			break
		}
		hit, err := tr.failing(twice, seen)
		if !hit {
			break
		}
		if wrong := errors.Join(tr.checkIndex(err), tr.repeats(err)); wrong != nil {
			t.Fatalf("%+v, then %+v, error %v: %v", f, twice, err, wrong)
		}
	}
	return true
}

// checkIndex: what others see is as the verb has said.
func (tr *trial) checkIndex(said error) error {
	got, err := look(tr.s)
	switch {
	case said != nil && tr.fault.stays && !tr.leaves: // what could not be undone may be out of its place
		return differ(state{Jobs: got.Jobs, Executors: got.Executors}, state{Jobs: tr.before.Jobs, Executors: tr.before.Executors})
	case tr.leaves && said != nil && (tr.fault.stays || differ(got, tr.after) == nil):
		return nil
	case err != nil:
		return err
	case said == nil:
		return differ(got, tr.after)
	case tr.does == "Save" || tr.does == "LoadIdentity": // what has no index may be one or the other
		return differEither(got, tr.before, tr.after)
	default:
		return differ(got, tr.before)
	}
}

func differ(got, want state) error {
	if reflect.DeepEqual(want, got) { // which is quick
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

// unsure is what is known of a state when what is soft in it may be lost.
func (st state) unsure() state {
	st.Jobs = slices.Clone(st.Jobs)
	for n, rec := range st.Jobs {
		if rec.Stage == msg.Confirmed {
			st.Jobs[n].Stage = msg.Reserved
		}
	}
	return st
}

// repeats: the next attempt works, and what it says holds.
func (tr *trial) repeats(said error) error {
	got, err := look(tr.s)
	if tr.asked && tr.fault.stays {
		return nil
	}
	if said != nil && !(tr.leaves && differ(got, tr.after) == nil) {
		if err := tr.do(tr.s); err != nil {
			return fmt.Errorf("again: %w", err)
		}
		got, err = look(tr.s)
	}
	if err = errors.Join(err, differ(got, tr.after)); err != nil {
		return err
	}
	return tr.returns(tr.files.Crash(func() bool { return false }), !tr.soft)
}

// losesPower: whatever the disk has kept of it, the spool is as before the verb or as after it, and after it if it said so.
func (tr *trial) losesPower(said error) error {
	for name, survives := range powers(uint64(tr.files.Ops())) {
		if err := tr.returns(tr.files.Crash(survives), said == nil && !tr.soft); err != nil {
			return fmt.Errorf("%s survives: %w", name, err)
		}
	}
	return nil
}

// dies: the next process finds what the verb said, and the verb works there.
func (tr *trial) dies(said error) error {
	if err := tr.files.Close(); err != nil {
		return err
	}
	if err := tr.returns(tr.files, said == nil); err != nil {
		return err
	}
	if err := tr.files.Close(); err != nil {
		return err
	}
	s, err := reopen(tr.files)
	if err != nil {
		return err
	}
	got, err := look(s)
	if err == nil && !cmp.Equal(got, tr.after) {
		if err = tr.do(s); err == nil {
			got, err = look(s)
		}
	}
	return errors.Join(err, differ(got, tr.after))
}

// returns opens what is left, and again after a loss of power: what Open shows is safe. (What a failing disk did not even let
// the verb take back may be read until the power fails; others had not acted on it.)
func (tr *trial) returns(files *memfs.FS, must bool) error {
	var shown state
	for again := range 2 {
		s, err := reopen(files)
		if err != nil {
			return err
		}
		if ps := s.Problems(); len(ps) > 0 && !tr.fault.stays && ps[0].What != "journal" && ps[0].What != "result" {
			return fmt.Errorf("it is taken for damage: %+v", ps)
		}
		got, err := look(s)
		if err == nil && again == 1 {
			if err = differ(got, shown); tr.fault.stays {
				err = differEither(got.unsure(), tr.before.unsure(), tr.after.unsure())
			}
		} else if err == nil && must {
			err = differ(got, tr.after)
		} else if err == nil {
			err = differEither(got.unsure(), tr.before.unsure(), tr.after.unsure())
		}
		if err != nil {
			return fmt.Errorf("opened %d times: %w", again+1, err)
		}
		shown, files = got, files.Crash(func() bool { return false })
	}
	return nil
}
