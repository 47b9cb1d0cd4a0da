package spool_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
)

// change edits a file of a closed spool.
func change(t *testing.T, dir, name string, edit func([]byte) []byte) {
	t.Helper()
	name = filepath.Join(dir, name)
	content, err := os.ReadFile(name)
	ok(t, err)
	ok(t, os.WriteFile(name, edit(content), 0o600))
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		if at < 0 {
			at += len(b)
		}
		b[at] ^= 0x20
		return b
	}
}

func cut(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)-n] } }

func add(text string) func([]byte) []byte {
	return func(b []byte) []byte { return append(b, text...) }
}

func TestOpenRepairsDamagedFiles(t *testing.T) {
	log := msg.LogState{Size: 8, Acked: 4, Resume: msg.Position{Time: noon, Count: 2}}
	complete := func(rec *msg.JobRecord) {
		rec.Stage, rec.Executor, rec.HandOuts, rec.HandedOutAt, rec.OutputFrom, rec.Crashes = msg.Ended, ex1, 1, noon, noon, 1
		rec.HasResult, rec.Ending, rec.Log = true, msg.Ending{Outcome: msg.Completed, ExitCode: 7}, log
	}
	noResult := func(rec *msg.JobRecord) {
		complete(rec)
		rec.Stage, rec.HasResult, rec.Ending = msg.HandedOut, false, msg.Ending{}
	}
	shorterLog := func(rec *msg.JobRecord) {
		complete(rec)
		rec.Log = msg.LogState{Size: 4, Acked: 4, Resume: msg.Position{Time: noon, Count: 1}}
	}
	const deleted = "deleted"
	for name, c := range map[string]struct {
		file    string
		edit    func([]byte) []byte
		want    func(*msg.JobRecord) // nil: the job is in corrupt/
		problem string
	}{
		"unchanged":                             {"journal", add(""), complete, ""},
		"journal: a torn line follows":          {"journal", add("0badf00d {\"st"), complete, "journal"},
		"journal: a torn line with its newline": {"journal", add("0badf00d {}\n"), complete, "journal"},
		"journal: the last line is cut": {"journal", cut(5), func(rec *msg.JobRecord) {
			complete(rec)
			rec.Crashes = 0
		}, "journal"},
		"journal: a flipped byte in the middle":  {"journal", flip(20), nil, "job"},
		"journal: a step of a newer runnerd":     {"journal", func([]byte) []byte { return []byte(futureStep) }, nil, "job"},
		"job.json: a flipped byte in the head":   {"job.json", flip(20), nil, "job"},
		"job.json: a flipped byte in the input":  {"job.json", flip(-1), nil, "job"},
		"job.json: too short":                    {"job.json", cut(1), nil, "job"},
		"job.json: deleted":                      {"job.json", cut(0), nil, deleted},
		"result: not written to the end":         {"result", cut(1), noResult, "result"},
		"result: a flipped byte":                 {"result", flip(-1), noResult, "result"},
		"result: emptied":                        {"result", func([]byte) []byte { return nil }, noResult, ""},
		"log: longer than its checkpoint":        {"log", add("never announced"), complete, ""},
		"log: the newest text is damaged":        {"log", flip(5), shorterLog, ""},
		"log: the newest text is cut":            {"log", cut(1), shorterLog, ""},
		"log.pos: the newest checkpoint is torn": {"log.pos", flip(30), shorterLog, ""},
		"log.acked: no number":                   {"log.acked", func([]byte) []byte { return []byte("x") }, func(rec *msg.JobRecord) { complete(rec); rec.Log.Acked = 0 }, ""},
		"log.acked: more than the log has":       {"log.acked", func([]byte) []byte { return []byte("9\n") }, func(rec *msg.JobRecord) { complete(rec); rec.Log.Acked = 8 }, "log"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := withJob(t, openDir(t, dir))
			ok(t, s.Add(offer("bystander")))
			ok(t, s.AppendLog(execution, []byte("one\n"), msg.Position{Time: noon, Count: 1}))
			ok(t, s.AppendLog(execution, []byte("two\n"), msg.Position{Time: noon, Count: 2}))
			ok(t, s.AckLog(execution, 4))
			_, err := s.Crash(execution, "executor")
			ok(t, err)
			stored(t, s, "result")
			ok(t, s.Close())

			file := filepath.Join("jobs/job-1", c.file)
			change(t, dir, file, c.edit)
			if c.problem == deleted {
				ok(t, os.Remove(filepath.Join(dir, file)))
				c.problem = "job"
			}

			s = openDir(t, dir)
			var problems []string
			for _, p := range s.Problems() {
				problems = append(problems, p.What)
				if c.file != "job.json" { // the only file with the job's id
					same(t, p.Job, execution)
				}
			}
			same(t, strings.Join(problems, " "), c.problem)
			if _, found := s.Job("bystander"); !found {
				t.Fatal("another job is lost too")
			}
			rec, found := s.Job(execution)
			same(t, found, c.want != nil)
			if !found {
				_, err := os.Stat(filepath.Join(dir, "corrupt/job-job-1/journal"))
				ok(t, err)
				return
			}
			want := msg.JobRecord{Job: offer(execution).Job, SealedKey: []byte("sealed"), Added: noon}
			c.want(&want)
			same(t, rec, want)

			// The job is usable from there on.
			ok(t, s.AppendLog(execution, []byte("three\n"), msg.Position{Time: noon, Count: 3}))
			ok(t, s.AckLog(execution, rec.Log.Acked))
			_, err = s.Crash(execution, "executor")
			ok(t, err)
			before, _ := s.Job(execution)
			ok(t, s.Close())
			s = openDir(t, dir)
			same(t, len(s.Problems()), 0)
			after, _ := s.Job(execution)
			same(t, after, before)
		})
	}
}

func TestOpenQuarantinesNothingWithoutDescriptors(t *testing.T) {
	for at := 1; ; at++ {
		files := memfs.New()
		filledSpool(t, files)
		ok(t, files.Close())
		reads := 0
		files.BeforeRead = func(op memfs.Op) error {
			if reads++; reads == at {
				return syscall.EMFILE
			}
			return nil
		}
		s, err := reopen(files)
		if reads < at {
			return
		}
		if err == nil {
			t.Fatalf("operation %d: opened, with problems %v", at, s.Problems())
		}
		if !errors.Is(err, syscall.EMFILE) {
			t.Fatalf("operation %d: %v", at, err)
		}
		files.BeforeRead = nil
		if quarantined, err := files.ReadDir("corrupt"); err == nil && len(quarantined) > 0 {
			t.Fatalf("operation %d: %s is quarantined", at, quarantined[0].Name())
		}
	}
}

// futureStep is a line with a valid checksum and an unknown step.
const futureStep = "8e86f28d [{\"step\":\"from-the-future\",\"at\":\"2030-01-01T00:00:00Z\"}]\n"

func TestDamagedExecutorAffectsOnlyItself(t *testing.T) {
	dir := t.TempDir()
	s := withJob(t, openDir(t, dir))
	ok(t, s.CreateExecutor(msg.ExecutorRecord{ID: "ex2", Created: noon}, nil))
	ok(t, s.Close())
	change(t, dir, "executors/ex2/executor.json", flip(20))
	// The newest line of the other executor's record, the hand-out, is lost, but the job's journal has it.
	change(t, dir, "executors/ex1/executor.json", cut(1))
	s = openDir(t, dir)
	same(t, s.Executors(), []msg.ExecutorRecord{{ID: ex1, Created: noon, Jobs: 1, Job: execution, JobKey: []byte("sealed"), Mask: []byte("sealed")}})
	same(t, s.Problems()[0].Quarantined, "corrupt/executor-ex2")
}

func TestIdentityIsRepairedFromCopy(t *testing.T) {
	const first, second = "identity.json", "identity.copy.json"
	remove := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { ok(t, os.Remove(filepath.Join(dir, name))) }
	}
	damage := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { change(t, dir, name, flip(-4)) }
	}
	for name, c := range map[string]struct {
		damage  []func(*testing.T, string)
		jobs    bool
		want    string // empty: an error
		repairs int
	}{
		"both intact":                        {nil, true, `"old"`, 0},
		"the first is lost":                  {[]func(*testing.T, string){remove(first)}, true, `"old"`, 1},
		"the first is damaged":               {[]func(*testing.T, string){damage(first)}, true, `"old"`, 1},
		"the copy is lost":                   {[]func(*testing.T, string){remove(second)}, true, `"old"`, 1},
		"the copy is damaged":                {[]func(*testing.T, string){damage(second)}, true, `"old"`, 1},
		"both are lost while there are jobs": {[]func(*testing.T, string){remove(first), damage(second)}, true, "", 0},
		"both are damaged without jobs":      {[]func(*testing.T, string){damage(first), damage(second)}, false, `"new"`, 2},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openDir(t, dir)
			_, err := s.LoadIdentity(func() ([]byte, error) { return []byte(`"old"`), nil })
			ok(t, err)
			if c.jobs {
				ok(t, s.Add(offer(execution)))
			}
			ok(t, s.Close())
			for _, damageFile := range c.damage {
				damageFile(t, dir)
			}
			s = openDir(t, dir)
			got, err := s.LoadIdentity(func() ([]byte, error) { return []byte(`"new"`), nil })
			same(t, string(got), c.want)
			same(t, len(s.Problems()), c.repairs)
			if c.want == "" {
				if err == nil || !strings.Contains(err.Error(), "backup") {
					t.Fatalf("the error has no instructions: %v", err)
				}
				return
			}
			ok(t, err)
			a, err := os.ReadFile(filepath.Join(dir, first))
			ok(t, err)
			b, err := os.ReadFile(filepath.Join(dir, second))
			ok(t, err)
			same(t, bytes.Equal(a, b), true)
		})
	}
}

func TestLoadIgnoresDamagedSetting(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	ok(t, s.Save(spool.Server, []byte(`{"capacity":1}`)))
	change(t, dir, "server.json", flip(-4))
	if _, found := s.Load(spool.Server); found {
		t.Fatal("a damaged setting was loaded")
	}
}
