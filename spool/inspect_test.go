package spool_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	msg "runnerd/messages"
	"runnerd/spool"
)

// content returns the content of every file below a directory, by path.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	ok(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		all[name] = string(text)
		return err
	}))
	return all
}

func inspect(t *testing.T, dir string) []spool.Entry {
	t.Helper()
	files, err := spool.Dir(dir)
	ok(t, err)
	t.Cleanup(func() { ok(t, files.Close()) })
	found, err := spool.Inspect(files)
	ok(t, err)
	return found
}

func locations(found []spool.Entry) (all []string) {
	for _, f := range found {
		all = append(all, f.Location)
	}
	return all
}

// addRejected adds a job to rejected/, whose result the server refused.
func addRejected(t *testing.T, s *spool.Spool) {
	t.Helper()
	withJob(t, s)
	ok(t, s.AppendLog(execution, []byte("said\n"), msg.Position{Time: noon, Count: 1}))
	same(t, stored(t, s, "result"), true)
	ok(t, s.Reject(execution, "finish: server answered 410: gone"))
}

func TestInspectChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s := withJob(t, openDir(t, dir))
	ok(t, s.Add(offer("waiting")))
	ok(t, s.AppendLog(execution, []byte("one\ntwo\n"), msg.Position{Time: noon, Count: 2}))
	ok(t, s.AckLog(execution, 4))
	ok(t, s.Abort(execution, "enough"))
	_, err := s.End(execution, msg.Ending{Outcome: msg.Aborted, Message: "aborted: enough"})
	ok(t, err)
	_, err = s.Stopped(execution, "The plugin was killed (SIGKILL) after 40.2s")
	ok(t, err)
	change(t, dir, "jobs/job-1/log", add("torn"))
	change(t, dir, "jobs/job-1/journal", add("torn"))
	before := content(t, dir)

	found := inspect(t, dir)
	var jobs []msg.JobRecord
	for _, f := range found {
		ok(t, f.Damage)
		jobs = append(jobs, f.Job)
	}
	same(t, jobs, s.Jobs())
	same(t, found[0].Steps, []spool.Step{
		{At: noon, Text: "confirmed by the server"},
		{At: noon, Text: "handed out to executor ex1"},
		{At: noon, Text: "abort requested: enough"},
		{At: noon, Text: "ended as aborted: enough"},
		{At: noon, Text: "The plugin was killed (SIGKILL) after 40.2s"},
		{At: noon, Text: "received from the server"},
	})
	same(t, content(t, dir), before)
}

func TestInspectReportsUnreadableEntries(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	addRejected(t, s)
	ok(t, s.Add(offer("torn")))
	ok(t, s.Add(offer("fine")))
	ok(t, s.Close())
	change(t, dir, "jobs/torn/job.json", flip(20))
	s = openDir(t, dir)
	found := inspect(t, dir)
	same(t, locations(found), []string{"jobs/fine", "rejected/job-1", "corrupt/job-torn"})
	same(t, found[1].Answer, "finish: server answered 410: gone")
	same(t, found[1].Result, int64(len("result")))
	if !errors.Is(found[2].Damage, spool.ErrCorrupt) {
		t.Errorf("the damage is %v", found[2].Damage)
	}
	r, c, err := s.CountRejectedAndCorrupt()
	ok(t, err)
	same(t, []int{r, c}, []int{1, 1})
}

func TestInspectEntryFindsDamagedResult(t *testing.T) {
	dir := t.TempDir()
	s := withJob(t, openDir(t, dir))
	same(t, stored(t, s, "result"), true)
	change(t, dir, "jobs/job-1/result", flip(-2))
	f := inspect(t, dir)[0]
	ok(t, f.Damage)
	files, err := spool.Dir(dir)
	ok(t, err)
	defer files.Close()
	if f = spool.InspectEntry(files, f.Location); !errors.Is(f.Damage, spool.ErrCorrupt) || f.Job.Execution != execution {
		t.Errorf("the entry is shown as %v with the damage %v", f.Job.Execution, f.Damage)
	}
}

func TestInspectLogReturnsOnlyValidText(t *testing.T) {
	dir := t.TempDir()
	s := withJob(t, openDir(t, dir))
	ok(t, s.AppendLog(execution, []byte("one\ntwo\n"), msg.Position{Time: noon, Count: 2}))
	change(t, dir, "jobs/job-1/log", add("torn"))
	files, err := spool.Dir(dir)
	ok(t, err)
	defer files.Close()
	text, err := spool.InspectLog(files, inspect(t, dir)[0], 4)
	ok(t, err)
	same(t, string(text), "two\n")
}

func TestExportOmitsKey(t *testing.T) {
	dir := t.TempDir()
	addRejected(t, openDir(t, dir))
	files, err := spool.Dir(dir)
	ok(t, err)
	defer files.Close()
	var archive bytes.Buffer
	ok(t, spool.Export(files, inspect(t, dir)[0], &archive))
	if key := "c2VhbGVk"; !strings.Contains(fmt.Sprint(content(t, dir)), key) || bytes.Contains(archive.Bytes(), []byte(key)) {
		t.Error("the sealed key is in the export or not in the spool")
	}
	exported := map[string]string{}
	for in := tar.NewReader(&archive); ; {
		head, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		ok(t, err)
		text, err := io.ReadAll(in)
		ok(t, err)
		exported[head.Name] = string(text)
	}
	for name, want := range map[string]string{
		"job-1/job.json": `"image": "plugin:1"`, "job-1/input": "aW5wdXQ=", "job-1/log": "said\n", "job-1/journal": "handed-out",
		"job-1/result": "result", "job-1/answer.txt": "410",
	} {
		if !strings.Contains(exported[name], want) {
			t.Errorf("%s is %q", name, exported[name])
		}
	}
}

func TestResendKeepsResultAndLog(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	addRejected(t, s)
	id, err := s.Resend("rejected/job-1")
	ok(t, err)
	same(t, id, execution)
	check := func(s *spool.Spool) {
		rec, there := s.Job(execution)
		same(t, there, true)
		same(t, []any{rec.Stage, rec.HasResult, rec.Log.Size, rec.Log.Closed}, []any{msg.Ended, true, int64(5), true})
		body, err := s.Result(execution)
		ok(t, err)
		same(t, string(body), "result")
	}
	check(s)
	ok(t, s.Finish(execution)) // it can be written to
	ok(t, s.Close())
	s = openDir(t, dir)
	rec, _ := s.Job(execution)
	same(t, []any{rec.HasResult, rec.Log.Closed}, []any{true, true})
	same(t, locations(inspect(t, dir)), []string{"jobs/job-1"})
}

func TestResendAcceptsOnlyRejectedJobs(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	addRejected(t, s)
	ok(t, s.Add(offer("waiting")))
	for location, want := range map[string]string{
		"jobs/waiting": "not a rejected job", "rejected/nobody": "no such entry", "rejected/..": "no such entry",
		"rejected/../jobs/waiting": "not a location", "": "not a location",
	} {
		if _, err := s.Resend(location); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", location, err)
		}
	}
	ok(t, s.Close())
	s = openDir(t, dir)
	ok(t, s.Add(offer(execution)))
	if _, err := s.Resend("rejected/job-1"); err == nil || !strings.Contains(err.Error(), "is in the spool") {
		t.Errorf("resend of a job in the spool: %v", err)
	}
}

func TestDiscardRefusesUnfinishedJobs(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	addRejected(t, s)
	ok(t, s.Add(offer("waits")))
	ok(t, s.Add(offer("runs")))
	ok(t, s.HandOut(msg.HandOut{Execution: "runs", Executor: ex1, From: noon}))
	ok(t, s.Add(offer("over")))
	_, err := s.End("over", msg.Ending{Outcome: msg.Failed})
	ok(t, err)
	ok(t, os.WriteFile(filepath.Join(dir, "corrupt/result-x"), nil, 0o600))
	for _, location := range []string{"jobs/over", "rejected/job-1", "corrupt/result-x"} {
		_, err := s.Discard(location)
		ok(t, err)
	}
	for location, want := range map[string]string{
		"jobs/waits": "the job has not ended (it is reserved)", "jobs/runs": "the job has not ended (it is handed out)", "jobs/over": "no such entry",
		"corrupt/..": "no such entry", "rejected/": "no such entry", "executors/ex1": "not a location",
	} {
		if _, err := s.Discard(location); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", location, err)
		}
	}
	found := locations(inspect(t, dir))
	slices.Sort(found)
	same(t, found, []string{"jobs/runs", "jobs/waits"})
}
