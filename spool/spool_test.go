package spool_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 5, time.UTC)

const (
	execution = msg.ExecutionID("job-1")
	ex1       = msg.ExecutorID("ex1")
)

func open(t *testing.T, files spool.FS) *spool.Spool {
	t.Helper()
	s, err := spool.Open(files, spool.Options{Now: func() time.Time { return noon }})
	ok(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func openDir(t *testing.T, path string) *spool.Spool {
	t.Helper()
	files, err := spool.Dir(path)
	ok(t, err)
	return open(t, files)
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same(t testing.TB, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("(-want +got)\n%s", diff)
	}
}

func offer(id msg.ExecutionID) msg.Offer {
	return msg.Offer{
		Job:        msg.Job{ID: "j", Execution: id, Kind: msg.Task, Image: "plugin:1", Timeout: time.Minute},
		Input:      "aW5wdXQ=",
		SessionKey: []byte("sealed"),
	}
}

// withJob adds a job that is handed out to executor ex1.
func withJob(t *testing.T, s *spool.Spool) *spool.Spool {
	t.Helper()
	ok(t, s.Add(offer(execution)))
	ok(t, s.Confirm(execution))
	ok(t, s.CreateExecutor(msg.ExecutorRecord{ID: ex1, Created: noon}, map[string][]byte{"sa/token": []byte("t")}))
	ok(t, s.HandOut(msg.HandOut{Execution: execution, Executor: ex1, From: noon, SessionKey: []byte("sealed"), Mask: []byte("sealed")}))
	return s
}

func stored(t *testing.T, s *spool.Spool, body string) bool {
	t.Helper()
	done, err := s.StoreResult(execution, msg.Result{Body: []byte(body), ExitCode: 7, Via: msg.ViaFile})
	ok(t, err)
	return done
}

func TestEveryMethodIsDurable(t *testing.T) {
	dir := t.TempDir()
	s := withJob(t, openDir(t, dir))
	ok(t, s.AppendLog(execution, []byte("one\n"), msg.Position{Time: noon, Count: 1}))
	ok(t, s.AppendLog(execution, []byte("two\n"), msg.Position{Time: noon, Count: 2}))
	ok(t, s.AppendLog(execution, nil, msg.Position{Time: noon, Count: 3}))
	ok(t, s.AckLog(execution, 4))
	ok(t, s.Abort(execution, "enough"))
	ok(t, s.Abort(execution, "more than enough"))
	n, err := s.Crash(execution, "executor")
	ok(t, err)
	same(t, n, 1)
	ending, err := s.End(execution, msg.Ending{Outcome: msg.Aborted, ExitCode: 137})
	ok(t, err)
	same(t, ending.Outcome, msg.Aborted)
	same(t, stored(t, s, "result"), true)
	same(t, stored(t, s, "another"), false)
	_, err = s.Stopped(execution, "The plugin was killed (SIGKILL)")
	ok(t, err)
	ok(t, s.CloseLog(execution))
	ok(t, s.Finish(execution))
	ok(t, s.Save(spool.Server, []byte(`{"capacity":3}`)))

	want := msg.JobRecord{
		Job: offer(execution).Job, SealedKey: []byte("sealed"), Added: noon, Stage: msg.Finished,
		Executor: ex1, HandedOutAt: noon, OutputFrom: noon, HandOuts: 1, Abort: "enough", Crashes: 1, HasResult: true,
		Ending: msg.Ending{Outcome: msg.Aborted, ExitCode: 7, Message: "The plugin was killed (SIGKILL)"}, EndedAt: noon, Stopped: true,
		Log: msg.LogState{Size: 8, Acked: 4, Closed: true, Resume: msg.Position{Time: noon, Count: 3}},
	}
	wantExecutor := msg.ExecutorRecord{ID: ex1, Created: noon, Jobs: 1, Job: execution, JobKey: []byte("sealed"), Mask: []byte("sealed")}
	for range 2 {
		same(t, s.Jobs(), []msg.JobRecord{want})
		same(t, s.Executors(), []msg.ExecutorRecord{wantExecutor})
		input, err := s.Input(execution)
		ok(t, err)
		same(t, input, "aW5wdXQ=")
		text, err := s.ReadLog(execution, 2, 100)
		ok(t, err)
		same(t, string(text), "e\ntwo\n")
		result, err := s.Result(execution)
		ok(t, err)
		same(t, string(result), "result")
		config, found := s.Load(spool.Server)
		same(t, string(config), `{"capacity":3}`)
		same(t, found, true)
		same(t, len(s.Problems()), 0)

		ok(t, s.Close())
		s = openDir(t, dir)
	}
}

func TestFirstEndingWins(t *testing.T) {
	failed := msg.Ending{Outcome: msg.Failed, Message: "no executor"}
	stopped := msg.Ending{Outcome: msg.TimedOut}
	answered := msg.Ending{Outcome: msg.TimedOut, ExitCode: 7}
	completed := msg.Ending{Outcome: msg.Completed, ExitCode: 7}
	end := func(e msg.Ending) func(*testing.T, *spool.Spool) {
		return func(t *testing.T, s *spool.Spool) { _, err := s.End(execution, e); ok(t, err) }
	}
	result := func(accepted bool) func(*testing.T, *spool.Spool) {
		return func(t *testing.T, s *spool.Spool) { same(t, stored(t, s, "r"), accepted) }
	}
	for name, c := range map[string]struct {
		first, second func(*testing.T, *spool.Spool)
		want          msg.Ending
		result        bool
	}{
		"a result completes the job permanently":      {result(true), end(failed), completed, true},
		"a failed job gets no result":                 {end(failed), result(false), failed, false},
		"a stopped job still gets a result":           {end(stopped), result(true), answered, true},
		"a second ending changes nothing":             {end(stopped), end(failed), stopped, false},
		"a second result is ignored without an error": {result(true), result(false), completed, true},
	} {
		t.Run(name, func(t *testing.T) {
			files := memfs.New()
			s := withJob(t, open(t, files))
			c.first(t, s)
			c.second(t, s)
			for range 2 {
				rec, _ := s.Job(execution)
				same(t, rec.Ending, c.want)
				same(t, rec.HasResult, c.result)
				same(t, rec.Stage, msg.Ended)
				ok(t, s.Close())
				s = open(t, files)
			}
		})
	}
}

func TestStoppedFixesEnding(t *testing.T) {
	const asked, killed = "aborted: enough.", "aborted: enough. The plugin was killed (SIGKILL) after 15.2s"
	end := func(o msg.Outcome) func(*testing.T, *spool.Spool) {
		return func(t *testing.T, s *spool.Spool) {
			_, err := s.End(execution, msg.Ending{Outcome: o, Message: asked})
			ok(t, err)
		}
	}
	result := func(accepted bool) func(*testing.T, *spool.Spool) {
		return func(t *testing.T, s *spool.Spool) { same(t, stored(t, s, "r"), accepted) }
	}
	stop := func(how, want string) func(*testing.T, *spool.Spool) {
		return func(t *testing.T, s *spool.Spool) {
			ending, err := s.Stopped(execution, how)
			ok(t, err)
			same(t, ending.Message, want)
		}
	}
	type calls []func(*testing.T, *spool.Spool)
	how := "The plugin was killed (SIGKILL) after 15.2s"
	for name, c := range map[string]struct {
		do     calls
		want   string
		result bool
	}{
		"an aborted job gets the details":                      {calls{end(msg.Aborted), stop(how, killed)}, killed, false},
		"a job that timed out gets the details":                {calls{end(msg.TimedOut), stop(how, killed)}, killed, false},
		"a second call changes nothing":                        {calls{end(msg.Aborted), stop(how, killed), stop("else", killed)}, killed, false},
		"nothing is added to a failed job":                     {calls{end(msg.Failed), stop(how, asked)}, asked, false},
		"nothing is added to a running job":                    {calls{stop(how, "")}, "", false},
		"an earlier result counts":                             {calls{end(msg.Aborted), result(true), stop(how, killed)}, killed, true},
		"a later result does not count":                        {calls{end(msg.Aborted), stop(how, killed), result(false)}, killed, false},
		"a result after a stop without details does not count": {calls{end(msg.Aborted), stop("", asked), result(false), stop(how, asked)}, asked, false},
	} {
		t.Run(name, func(t *testing.T) {
			files := memfs.New()
			s := withJob(t, open(t, files))
			for _, do := range c.do {
				do(t, s)
			}
			for range 2 {
				rec, _ := s.Job(execution)
				same(t, rec.Ending.Message, c.want)
				same(t, rec.HasResult, c.result)
				ok(t, s.Close())
				s = open(t, files)
			}
		})
	}
}

func TestHandOutToOneExecutorOnly(t *testing.T) {
	s := withJob(t, open(t, memfs.New()))
	ok(t, s.CreateExecutor(msg.ExecutorRecord{ID: "ex2"}, nil))
	if err := s.HandOut(msg.HandOut{Execution: execution, Executor: "ex2", From: noon}); err == nil {
		t.Fatal("another executor got a job that was handed out")
	}
	ok(t, s.HandOut(msg.HandOut{Execution: execution, Executor: ex1, From: noon})) // again, after a proof that it did not start
	rec, _ := s.Job(execution)
	same(t, rec.HandOuts, 2)

	ok(t, s.Add(offer("job-2")))
	if err := s.HandOut(msg.HandOut{Execution: "job-2", Executor: ex1, From: noon}); err == nil {
		t.Fatal("an executor with an open job got another")
	}
	stored(t, s, "r")
	ok(t, s.UpdateExecutor(ex1, func(r *msg.ExecutorRecord) { r.IdleSince = noon }))
	ok(t, s.HandOut(msg.HandOut{Execution: "job-2", Executor: ex1, From: noon}))
	e, _ := s.Executor(ex1)
	same(t, e, msg.ExecutorRecord{ID: ex1, Created: noon, Jobs: 2, Job: "job-2", PreviousJob: execution})
}

func TestOutputStartsAtFirstHandOut(t *testing.T) {
	disk := memfs.New()
	s := withJob(t, open(t, disk))
	ok(t, s.CreateExecutor(msg.ExecutorRecord{ID: "ex2"}, nil))
	for _, step := range []struct {
		do   func() error
		want time.Time
	}{
		{func() error { return s.NotStarted(execution, 1) }, noon},
		{func() error {
			return s.HandOut(msg.HandOut{Execution: execution, Executor: ex1, From: noon.Add(time.Minute)})
		}, noon},
		{func() error { return errors.Join(s.NotStarted(execution, 2), s.TakeBack(execution)) }, time.Time{}},
		{func() error {
			return s.HandOut(msg.HandOut{Execution: execution, Executor: "ex2", From: noon.Add(time.Hour)})
		}, noon.Add(time.Hour)},
	} {
		ok(t, step.do())
		for range 2 {
			rec, _ := s.Job(execution)
			same(t, rec.OutputFrom, step.want)
			ok(t, s.Close())
			s = open(t, disk)
		}
	}
}

func TestExecutorRecordIsRestoredFromJournals(t *testing.T) {
	files := memfs.New()
	s := withJob(t, open(t, files))
	stored(t, s, "r")
	for _, id := range []msg.ExecutionID{"job-2", "job-3"} { // without an update for the notification
		ok(t, s.Add(offer(id)))
		ok(t, s.UpdateExecutor(ex1, func(r *msg.ExecutorRecord) { r.Mask = []byte("of " + id) }))
		ok(t, s.HandOut(msg.HandOut{Execution: id, Executor: ex1, From: noon}))
		_, err := s.End(id, msg.Ending{Outcome: msg.Failed})
		ok(t, err)
	}
	before, _ := s.Executor(ex1)
	ok(t, s.Close())
	after, _ := open(t, files).Executor(ex1)
	same(t, after, before)
}

func TestIDsCannotEscapeOrCollide(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	ids := []msg.ExecutionID{"plain-1", "-dash", "", ".", "..", "../../etc", "a/b", "NUL\x00", "UPPER", "upper",
		msg.ExecutionID(strings.Repeat("x", 10_000)), msg.ExecutionID(strings.Repeat("x", 64)), "ünï"}
	for _, id := range ids {
		ok(t, s.Add(offer(id)))
		ok(t, s.Confirm(id))
	}
	if err := s.Add(offer("\xff")); err == nil {
		t.Fatal("an id that is not valid UTF-8 was accepted")
	}
	ok(t, s.Close())
	s = openDir(t, dir)
	same(t, len(s.Problems()), 0)
	for _, id := range ids {
		rec, found := s.Job(id)
		same(t, found, true)
		same(t, rec.Execution, id)
	}
	for _, id := range []msg.ExecutorID{"", "..", "a/b", "UP", msg.ExecutorID(strings.Repeat("x", 33))} {
		if s.CreateExecutor(msg.ExecutorRecord{ID: id}, nil) == nil {
			t.Fatalf("executor id %q was accepted", id)
		}
	}
	for _, name := range []string{"../x", "/x", "", ".", "sa/../../x", "executor.json"} {
		if s.CreateExecutor(msg.ExecutorRecord{ID: "good"}, map[string][]byte{name: nil}) == nil {
			t.Fatalf("file name %q was accepted", name)
		}
	}
	ok(t, s.CreateExecutor(msg.ExecutorRecord{ID: "good"}, map[string][]byte{"sa/x": nil}))
}

func TestConcurrentStoreResultStoresOne(t *testing.T) {
	files := memfs.New()
	s := open(t, files)
	var accepted atomic.Int32
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			if s.Add(offer(execution)) != nil || s.Add(offer(msg.ExecutionID(fmt.Sprint("own-", n)))) != nil {
				t.Error("a repeated offer is refused")
			}
			if done, err := s.StoreResult(execution, msg.Result{ExitCode: n}); err != nil {
				t.Error(err)
			} else if done {
				accepted.Add(1)
			}
		})
	}
	all.Wait()
	same(t, accepted.Load(), int32(1))
	recs := s.Jobs()
	same(t, len(recs), 9)
	ok(t, s.Close())
	same(t, open(t, files).Jobs(), recs)
}

func TestRemoveLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := withJob(t, openDir(t, dir))
	ok(t, s.Remove(execution))
	ok(t, s.Remove(execution))
	ok(t, s.RemoveExecutor(ex1))
	ok(t, s.RemoveExecutor(ex1))
	if err := s.Confirm(execution); !errors.Is(err, spool.ErrNoJob) {
		t.Fatalf("Confirm: %v", err)
	}
	if err := s.UpdateExecutor(ex1, nil); !errors.Is(err, spool.ErrNoExecutor) {
		t.Fatalf("UpdateExecutor: %v", err)
	}
	ok(t, s.Close())
	for _, sub := range []string{"jobs", "executors", "tmp", "corrupt", "rejected"} {
		dirEntries, err := os.ReadDir(filepath.Join(dir, sub))
		ok(t, err)
		same(t, len(dirEntries), 0)
	}
}

func TestAddRefusesRemovedJob(t *testing.T) {
	s := withJob(t, open(t, memfs.New()))
	ok(t, s.Remove(execution))
	if err := s.Add(offer(execution)); !errors.Is(err, msg.ErrAlreadyDone) {
		t.Errorf("added again: %v", err)
	}
	same(t, len(s.Jobs()), 0)
}

func TestRejectStoresAnswer(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	ok(t, os.Remove(filepath.Join(dir, "rejected"))) // as an operator may do
	for range 2 {
		ok(t, s.Add(offer(execution)))
		ok(t, s.Reject(execution, "409: no"))
		ok(t, s.Close())
		s = openDir(t, dir)
	}
	same(t, len(s.Jobs()), 0)
	for _, name := range []string{"job-1", "job-1.2"} {
		text, err := os.ReadFile(filepath.Join(dir, "rejected", name, "answer.txt"))
		ok(t, err)
		same(t, string(text), "409: no\n")
	}
}

func TestSecondOpenNamesLockHolder(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	files, err := spool.Dir(dir)
	ok(t, err)
	defer files.Close()
	_, err = spool.Open(files, spool.Options{})
	var held *spool.HeldError
	if !errors.As(err, &held) || !strings.Contains(held.Holder, "process ") {
		t.Fatalf("error %v", err)
	}
	ok(t, s.Close())
	again, err := spool.Open(files, spool.Options{})
	ok(t, err)
	same(t, len(again.Jobs()), 0)
}

func TestOpenRefusesUnknownFormat(t *testing.T) {
	dir := t.TempDir()
	ok(t, withJob(t, openDir(t, dir)).Close())
	ok(t, os.WriteFile(filepath.Join(dir, "format"), []byte(`9675d28d "runnerd spool 2"`+"\n"), 0o600))
	ok(t, os.WriteFile(filepath.Join(dir, "jobs/job-1/journal"), []byte(futureStep), 0o600))
	files, err := spool.Dir(dir)
	ok(t, err)
	defer files.Close()
	_, err = spool.Open(files, spool.Options{})
	for _, says := range []string{"runnerd spool 2", "runnerd spool 1", "start the version that wrote it"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Fatalf("error %v", err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "jobs/job-1/journal"))
	ok(t, err)
	same(t, string(text), futureStep)
}

func TestDamagedFormatFileIsRewritten(t *testing.T) {
	dir := t.TempDir()
	ok(t, withJob(t, openDir(t, dir)).Close())
	ok(t, os.WriteFile(filepath.Join(dir, "format"), []byte("runnerd spool 1"), 0o600))
	s := openDir(t, dir)
	same(t, s.Problems()[0].Quarantined, "corrupt/format")
	same(t, len(s.Jobs()), 1)
	ok(t, s.Close())
	same(t, len(openDir(t, dir).Problems()), 0)
}

func TestAddRefusesJobBelowLowWater(t *testing.T) {
	files := memfs.New()
	s, err := spool.Open(files, spool.Options{LowWater: 1000})
	ok(t, err)
	withJob(t, s)
	files.Space = 999
	for _, err := range []error{s.CheckSpace(), s.Add(offer("job-2"))} {
		if !errors.Is(err, spool.ErrLowSpace) {
			t.Fatalf("error %v", err)
		}
	}
	same(t, stored(t, s, "r"), true)
	files.Space = 1000
	ok(t, s.Add(offer("job-2")))
}

func TestExecutorFilePermissions(t *testing.T) {
	dir := t.TempDir()
	s := withJob(t, openDir(t, dir))
	same(t, s.ExecutorDir(ex1), filepath.Join(dir, "executors", "ex1"))
	for name, want := range map[string]fs.FileMode{
		"jobs": 0o700 | fs.ModeDir, "jobs/job-1": 0o700 | fs.ModeDir, "jobs/job-1/job.json": 0o600, "jobs/job-1/log": 0o600,
		"executors": 0o700 | fs.ModeDir, "executors/ex1": 0o700 | fs.ModeDir, "executors/ex1/executor.json": 0o600,
		"executors/ex1/out": 0o777 | fs.ModeDir | fs.ModeSticky, "executors/ex1/sa": 0o755 | fs.ModeDir,
		"executors/ex1/sa/token": 0o644,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		ok(t, err)
		same(t, info.Mode(), want)
	}
}

func TestSpoolIsPrivateWhateverTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := t.TempDir()
	s := openDir(t, dir)
	ok(t, identityMade(s))
	withJob(t, s)
	ok(t, s.Save(spool.Server, []byte("1")))
	ok(t, s.Add(offer("refused")))
	ok(t, s.Reject("refused", "410"))
	ok(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		if path, _ := filepath.Rel(dir, name); filepath.Dir(path) == "executors/ex1" && e.IsDir() {
			return fs.SkipDir // files for the executor, inside a private directory
		}
		info, err := e.Info()
		if perm := info.Mode().Perm(); err == nil && perm != 0o600 && !(e.IsDir() && perm == 0o700) {
			t.Errorf("%s is %v", name, info.Mode())
		}
		return err
	}))
}

func TestExecutorRecordIsCompacted(t *testing.T) {
	dir := t.TempDir()
	s := withJob(t, openDir(t, dir))
	for n := range 1000 {
		ok(t, s.UpdateExecutor(ex1, func(r *msg.ExecutorRecord) { r.Jobs = n }))
	}
	info, err := os.Stat(filepath.Join(dir, "executors/ex1/executor.json"))
	ok(t, err)
	if info.Size() > 128<<10 {
		t.Fatalf("the executor's record has %d bytes", info.Size())
	}
	ok(t, s.Close())
	rec, _ := openDir(t, dir).Executor(ex1)
	same(t, rec.Jobs, 999)
}

func TestParallelReadersFindEverything(t *testing.T) {
	files := memfs.New()
	s := filledSpool(t, files)
	for n := range 100 {
		ok(t, s.Add(offer(msg.ExecutionID(fmt.Sprint("job-", n)))))
	}
	ok(t, files.Close())
	want := reopenedState(t, files)
	for _, name := range []string{"jobs/job-7/job.json", "jobs/job-8/job.json", "jobs/ended/result"} {
		files = damaged(t, files, name, func(f spool.File) error { _, err := f.WriteAt([]byte("~"), 20); return err })
	}
	s, err := spool.Open(files, spool.Options{Readers: 8})
	ok(t, err)
	same(t, len(s.Problems()), 3)
	same(t, len(s.Jobs()), len(want.Jobs)-2)
}

func TestNotStartedIgnoresEarlierHandOut(t *testing.T) {
	s := withJob(t, open(t, memfs.New()))
	ok(t, s.NotStarted(execution, 1))
	ok(t, s.HandOut(msg.HandOut{Execution: execution, Executor: ex1, From: noon}))
	ok(t, s.NotStarted(execution, 1))
	if rec, _ := s.Job(execution); rec.Unstarted || rec.HandOuts != 2 {
		t.Errorf("unstarted: %v, after %d hand-outs", rec.Unstarted, rec.HandOuts)
	}
}
