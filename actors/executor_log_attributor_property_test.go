package actors

import (
	"errors"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"runnerd/infra/driver"
	"runnerd/infra/masking"
	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
)

// logFixture is a logAttributor on a failing disk and a machine that loses power, with an engine's log that is read in batches.
type logFixture struct {
	t           *rapid.T
	disk        *memfs.FS
	spool       *spool.Spool
	logs        *logAttributor
	secrets     []msg.Secret
	entries     []printedEntry
	from        map[msg.ExecutionID]time.Time // hand-out times
	failIn      int                           // disk operations until one fails; zero: none fails
	jobsOpened  int                           // number of jobs opened
	entriesRead int                           // number of entries read since the last rewind
}

// printedEntry is an entry and its job.
type printedEntry struct {
	msg.LogEntry
	job msg.ExecutionID // empty: idleMarker
}

// jobs are the jobs of the executor. notHandedOutJob is one whose hand-outs fail.
var jobs = []msg.ExecutionID{"one", "two", "three"}

const notHandedOutJob msg.ExecutionID = "other"

func (a *logFixture) open() {
	a.disk.Before = func(memfs.Op) error {
		if a.failIn--; a.failIn == 0 {
			return errors.New("disk error")
		}
		return nil
	}
	var err error
	if a.spool, err = spool.Open(a.disk, spool.Options{}); err != nil {
		a.t.Fatal(err)
	}
	a.logs = &logAttributor{spool: a.spool, newFilter: func(s []msg.Secret, midline bool) Filter { return masking.NewFilter(s, midline) }}
}

// text generates a plugin's output, with secrets among other words. Entries may split them anywhere.
func text() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"hunter2", "swordfish", "hunter", "sword", "a", " ", "\n", "line\n"}), 0, 6).Draw(t, "words"), "")
	})
}

// drawEntries draws the output of the jobs, one after another. The engine may be late, and stamp some of it after the next job was handed
// out.
func drawEntries(t *rapid.T) (entries []printedEntry, from map[msg.ExecutionID]time.Time) {
	now := time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) // later than the real clock
	stamp := now
	emit := func(job msg.ExecutionID, text string) {
		if at := now.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "lag"))); at.After(stamp) {
			stamp = at
		}
		entries = append(entries, printedEntry{msg.LogEntry{Time: stamp, Text: []byte(text)}, job})
	}
	from = map[msg.ExecutionID]time.Time{}
	for i, job := range jobs {
		if i > 0 {
			emit("", idleMarker+"\n")
			now = now.Add(1)
			from[job] = now
		}
		emit(job, "its version\n") // the SDKs print something for every job
		for _, words := range rapid.SliceOfN(text(), 0, 6).Draw(t, string(job)) {
			now = now.Add(time.Duration(rapid.IntRange(0, 1).Draw(t, "ns")))
			cut := rapid.IntRange(0, len(words)).Draw(t, "cut")
			for _, p := range []string{words[:cut], words[cut:]} {
				if p != "" {
					emit(job, p)
				}
			}
		}
	}
	return entries, from
}

func TestLogHasEveryByteOnceDespiteFailures(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := &logFixture{t: t, disk: memfs.New(), secrets: []msg.Secret{"hunter2", "swordfish", "ge\nxy"}} // the last may begin within idleMarker
		a.entries, a.from = drawEntries(t)
		a.open()
		for _, id := range append(jobs, notHandedOutJob) {
			if err := a.spool.Add(msg.Offer{Job: msg.Job{ID: msg.JobID(id), Execution: id}}); err != nil {
				t.Fatal(err)
			}
		}
		a.handOut()
		for range rapid.IntRange(0, 5).Draw(t, "attempts") {
			if rapid.Bool().Draw(t, "power fails") {
				a.restart()
			}
			a.failIn = rapid.IntRange(0, 12).Draw(t, "disk fails in")
			a.read(rapid.IntRange(0, len(a.entries)).Draw(t, "reads"))
		}
		a.failIn = 0
		a.read(len(a.entries))
		a.end("three")
		a.failIn = rapid.IntRange(0, 6).Draw(t, "closing fails in")
		for range 3 {
			if _, err := a.logs.closeAll(); err == nil {
				break
			}
		}
		a.check()
	})
}

// handOut hands out the next job. The previous one has ended then, and its log may be closed.
func (a *logFixture) handOut() {
	if a.jobsOpened > 0 {
		before := jobs[a.jobsOpened-1]
		a.end(before)
		more := slices.ContainsFunc(a.entries[a.entriesRead:], func(e printedEntry) bool { return e.job == before })
		if !more && rapid.Bool().Draw(a.t, "it was quiet for long") {
			_, _ = a.logs.closeThrough(before)
		}
	}
	id := jobs[a.jobsOpened]
	a.logs.open(id, a.from[id], a.secrets)
	a.jobsOpened++
}

func (a *logFixture) end(id msg.ExecutionID) {
	fails := a.failIn
	a.failIn = 0
	if _, err := a.spool.End(id, msg.Ending{Outcome: msg.Failed}); err != nil {
		a.t.Fatal(err)
	}
	a.failIn = fails
}

func (a *logFixture) restart() {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(a.t, "what survives"), 0))
	a.disk = a.disk.Crash(func() bool { return rng.IntN(2) == 0 })
	a.failIn = 0
	a.open()
	for _, id := range jobs[:a.jobsOpened] {
		if rec, _ := a.spool.Job(id); !rec.Log.Closed {
			a.logs.open(id, a.from[id], a.secrets)
		}
	}
}

// read resumes reading, in batches, until something fails or n entries were read.
func (a *logFixture) read(n int) {
	from := a.logs.rewind()
	a.entriesRead = 0
	cursor := driver.NewCursor(from)
	var batch []msg.LogEntry
	deliver := func() bool {
		_, _, err := a.logs.write(batch)
		batch = nil
		if err == nil && rapid.Bool().Draw(a.t, "a log is closed") {
			err = a.close()
		}
		return err == nil
	}
	for i, entry := range a.entries[:n] {
		for a.jobsOpened < len(jobs) && (!entry.Time.Before(a.from[jobs[a.jobsOpened]]) || a.isEarly()) {
			if !a.failHandOut(deliver) { // earlier output is read before or after the hand-out
				return
			}
			a.handOut()
		}
		if entry.job == "" { // the plugin asks for its next job
			a.end(a.entries[i-1].job)
		}
		if rest, ok := cursor.Next(entry.LogEntry); ok {
			batch = append(batch, rest)
		}
		a.entriesRead = i + 1
		if (i == n-1 || rapid.Bool().Draw(a.t, "batch ends")) && !deliver() {
			return
		}
	}
}

// failHandOut delivers the batch, in some cases during a hand-out that fails. It reports whether the delivery succeeded.
func (a *logFixture) failHandOut(deliver func() bool) bool {
	if rapid.IntRange(0, 3).Draw(a.t, "a hand-out fails") > 0 {
		return deliver()
	}
	a.end(jobs[a.jobsOpened-1])
	a.logs.open(notHandedOutJob, a.from[jobs[a.jobsOpened]], a.secrets)
	defer a.logs.withdraw(notHandedOutJob)
	return deliver()
}

// isEarly decides whether a job is handed out before the output of the previous job is read.
func (a *logFixture) isEarly() bool {
	return rapid.IntRange(0, 3).Draw(a.t, "handed out before it is read") == 0
}

// close closes the oldest log that is known to be complete.
func (a *logFixture) close() error {
	for _, id := range jobs[:a.jobsOpened] {
		if rec, _ := a.spool.Job(id); rec.Stage >= msg.Ended && !rec.Log.Closed && a.logs.isComplete(id) {
			_, err := a.logs.closeThrough(id)
			return err
		}
	}
	return nil
}

func (a *logFixture) check() {
	if text, err := a.spool.ReadLog(notHandedOutJob, 0, 1<<20); err != nil || markerText.ReplaceAllString(string(text), "") != "" {
		a.t.Fatalf("log of the job that was not handed out: %q, error %v", text, err)
	}
	for _, id := range jobs[:a.jobsOpened] {
		var raw strings.Builder
		for _, e := range a.entries {
			if e.job == id {
				raw.Write(e.Text)
			}
		}
		filter := masking.NewFilter(a.secrets, false)
		want := string(slices.Concat(filter.Write([]byte(raw.String()), a.entries[0].Time), filter.Flush()))
		rec, _ := a.spool.Job(id)
		got, err := a.spool.ReadLog(id, 0, 1<<20)
		if got := markerText.ReplaceAllString(string(got), ""); err != nil || got != want || !rec.Log.Closed {
			a.t.Fatalf("job %s: %q, closed: %v, error %v; want %q", id, got, rec.Log.Closed, err, want)
		}
	}
}

// markerText matches idleMarker, with or without the end that a filter may hold back. The marker may be in the log of the job
// before it or after it.
var markerText = regexp.MustCompile(`(\d{4}-[-0-9T:.]+Z )?` + idleMarker[:len(idleMarker)-len("ge")] + "(ge\n)?")
