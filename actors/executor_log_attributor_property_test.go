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

// archive is a logbook on a disk that fails and a machine that loses power, and an engine's log that is read in pieces.
type archive struct {
	t       *rapid.T
	disk    *memfs.FS
	spool   *spool.Spool
	logs    *logAttributor
	secrets []msg.Secret
	entries []printed
	from    map[msg.ExecutionID]time.Time // the jobs are handed out
	failIn  int                           // disk operations until one fails; zero: none does
	opened  int                           // so many of them are known
	came    int                           // so many entries have come in this reading
}

// printed is an entry, and whose.
type printed struct {
	msg.LogEntry
	job msg.ExecutionID // none: its plugin goes for the next job
}

// jobs are the jobs of the executor; the guest it never gets.
var jobs = []msg.ExecutionID{"one", "two", "three"}

const guest msg.ExecutionID = "guest"

func (a *archive) open() {
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

// text is what a plugin prints: secrets among other words, in pieces that part them anywhere.
func text() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"hunter2", "swordfish", "hunter", "sword", "a", " ", "\n", "line\n"}), 0, 6).Draw(t, "words"), "")
	})
}

// drawEntries lets the jobs print one after another. The engine may be late: it stamps some of it when the next job has been
// handed out.
func drawEntries(t *rapid.T) (entries []printed, from map[msg.ExecutionID]time.Time) {
	now := time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) // not in the past of the clock
	stamp := now
	say := func(job msg.ExecutionID, text string) {
		if at := now.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "lag"))); at.After(stamp) {
			stamp = at
		}
		entries = append(entries, printed{msg.LogEntry{Time: stamp, Text: []byte(text)}, job})
	}
	from = map[msg.ExecutionID]time.Time{}
	for i, job := range jobs {
		if i > 0 {
			say("", idleMarker+"\n")
			now = now.Add(1)
			from[job] = now
		}
		say(job, "its version\n") // the SDKs print something for every job
		for _, piece := range rapid.SliceOfN(text(), 0, 6).Draw(t, string(job)) {
			now = now.Add(time.Duration(rapid.IntRange(0, 1).Draw(t, "ns")))
			cut := rapid.IntRange(0, len(piece)).Draw(t, "cut")
			for _, p := range []string{piece[:cut], piece[cut:]} {
				if p != "" {
					say(job, p)
				}
			}
		}
	}
	return entries, from
}

func TestALogHasEveryByteOnceMaskedWhateverFailsOnTheWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := &archive{t: t, disk: memfs.New(), secrets: []msg.Secret{"hunter2", "swordfish", "ge\nxy"}} // the last may begin in idleMarker
		a.entries, a.from = drawEntries(t)
		a.open()
		for _, id := range append(jobs, guest) {
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

// handOut hands out the next job: the one before is over then, and its log may have ended.
func (a *archive) handOut() {
	if a.opened > 0 {
		before := jobs[a.opened-1]
		a.end(before)
		goesOn := slices.ContainsFunc(a.entries[a.came:], func(e printed) bool { return e.job == before })
		if !goesOn && rapid.Bool().Draw(a.t, "it was quiet for long") {
			_, _ = a.logs.closeThrough(before)
		}
	}
	id := jobs[a.opened]
	a.logs.open(id, a.from[id], a.secrets)
	a.opened++
}

func (a *archive) end(id msg.ExecutionID) {
	fails := a.failIn
	a.failIn = 0
	if _, err := a.spool.End(id, msg.Ending{Outcome: msg.Failed}); err != nil {
		a.t.Fatal(err)
	}
	a.failIn = fails
}

func (a *archive) restart() {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(a.t, "what survives"), 0))
	a.disk = a.disk.Crash(func() bool { return rng.IntN(2) == 0 })
	a.failIn = 0
	a.open()
	for _, id := range jobs[:a.opened] {
		if rec, _ := a.spool.Job(id); !rec.Log.Ended {
			a.logs.open(id, a.from[id], a.secrets)
		}
	}
}

// read reads on from where the spool is, in batches, until something fails or n entries have come.
func (a *archive) read(n int) {
	from := a.logs.rewind()
	a.came = 0
	cursor := driver.From(from)
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
		for a.opened < len(jobs) && (!entry.Time.Before(a.from[jobs[a.opened]]) || a.isEarly()) {
			if !a.invite(deliver) { // what was printed before is read before or after
				return
			}
			a.handOut()
		}
		if entry.job == "" { // the plugin goes for its next job
			a.end(a.entries[i-1].job)
		}
		if rest, ok := cursor.Next(entry.LogEntry); ok {
			batch = append(batch, rest)
		}
		a.came = i + 1
		if (i == n-1 || rapid.Bool().Draw(a.t, "batch ends")) && !deliver() {
			return
		}
	}
}

// invite hands out the guest instead of the next job, maybe, which fails; meanwhile something is read.
func (a *archive) invite(deliver func() bool) bool {
	if rapid.IntRange(0, 3).Draw(a.t, "a hand-out fails") > 0 {
		return deliver()
	}
	a.end(jobs[a.opened-1])
	a.logs.open(guest, a.from[jobs[a.opened]], a.secrets)
	defer a.logs.withdraw(guest)
	return deliver()
}

// isEarly decides whether a job is handed out before what the job before has printed is read.
func (a *archive) isEarly() bool {
	return rapid.IntRange(0, 3).Draw(a.t, "handed out before it is read") == 0
}

// close closes the oldest log of which the book says that nothing more comes.
func (a *archive) close() error {
	for _, id := range jobs[:a.opened] {
		if rec, _ := a.spool.Job(id); rec.Stage >= msg.Ended && !rec.Log.Ended && a.logs.isComplete(id) {
			_, err := a.logs.closeThrough(id)
			return err
		}
	}
	return nil
}

func (a *archive) check() {
	if text, err := a.spool.ReadLog(guest, 0, 1<<20); err != nil || goesForTheNext.ReplaceAllString(string(text), "") != "" {
		a.t.Fatalf("job guest, which has not run: %q, error %v", text, err)
	}
	for _, id := range jobs[:a.opened] {
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
		if got := goesForTheNext.ReplaceAllString(string(got), ""); err != nil || got != want || !rec.Log.Ended {
			a.t.Fatalf("job %s: %q, ended: %v, error %v; want %q", id, got, rec.Log.Ended, err, want)
		}
	}
}

// goesForTheNext may be in the log of either job: it is nobody's. So is what a filter holds of it.
var goesForTheNext = regexp.MustCompile(`(\d{4}-[-0-9T:.]+Z )?` + idleMarker[:len(idleMarker)-len("ge")] + "(ge\n)?")
