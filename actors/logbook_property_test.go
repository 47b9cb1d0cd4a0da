package actors

import (
	"errors"
	"math/rand/v2"
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
	book    *logbook
	secrets []msg.Secret
	entries []msg.LogEntry
	second  time.Time // job two is handed out
	failIn  int       // disk operations until one fails; zero: none does
	opened  bool      // job two is known
}

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
	a.book = &logbook{spool: a.spool, newFilter: func(s []msg.Secret, midline bool) Filter { return masking.NewFilter(s, midline) }}
}

// text is what a plugin prints: secrets among other words, in pieces that part them anywhere.
func text() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"hunter2", "swordfish", "hunter", "sword", "a", " ", "\n", "line\n"}), 0, 6).Draw(t, "words"), "")
	})
}

func drawEntries(t *rapid.T) (entries []msg.LogEntry, second time.Time) {
	now := time.Unix(100, 0).UTC()
	part := func(job string) {
		whole := rapid.SliceOfN(text(), 0, 6).Draw(t, job)
		for _, piece := range whole {
			now = now.Add(time.Duration(rapid.IntRange(0, 1).Draw(t, "ns")))
			cut := rapid.IntRange(0, len(piece)).Draw(t, "cut")
			for _, p := range []string{piece[:cut], piece[cut:]} {
				if p != "" {
					entries = append(entries, msg.LogEntry{Time: now, Text: []byte(p)})
				}
			}
		}
	}
	part("one")
	entries = append(entries, msg.LogEntry{Time: now, Text: []byte(pickUp + "\n")})
	now = now.Add(1)
	second = now
	part("two")
	return entries, second
}

func TestALogHasEveryByteOnceMaskedWhateverFailsOnTheWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := &archive{t: t, disk: memfs.New(), secrets: []msg.Secret{"hunter2", "swordfish"}}
		a.entries, a.second = drawEntries(t)
		a.open()
		for _, id := range []msg.ExecutionID{"one", "two"} {
			if err := a.spool.Add(msg.Offer{Job: msg.Job{ID: msg.JobID(id), Execution: id}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := a.spool.End("one", msg.Ending{Outcome: msg.Failed}); err != nil { // before its plugin goes for job two
			t.Fatal(err)
		}
		a.book.open("one", time.Time{}, a.secrets)
		for range rapid.IntRange(0, 5).Draw(t, "attempts") {
			if rapid.Bool().Draw(t, "power fails") {
				a.restart()
			}
			a.failIn = rapid.IntRange(0, 12).Draw(t, "disk fails in")
			a.read(rapid.IntRange(0, len(a.entries)).Draw(t, "reads"))
		}
		a.failIn = 0
		a.read(len(a.entries))
		if _, err := a.spool.End("two", msg.Ending{Outcome: msg.Failed}); err != nil {
			t.Fatal(err)
		}
		a.failIn = rapid.IntRange(0, 6).Draw(t, "closing fails in")
		for range 3 {
			if _, err := a.book.closeAll(); err == nil {
				break
			}
		}
		a.check()
	})
}

func (a *archive) restart() {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(a.t, "what survives"), 0))
	a.disk = a.disk.Crash(func() bool { return rng.IntN(2) == 0 })
	a.failIn = 0
	a.open()
	a.book.open("one", time.Time{}, a.secrets)
	if a.opened {
		a.book.open("two", a.second, a.secrets)
	}
}

// read reads on from where the spool is, in batches, until something fails or n entries have come.
func (a *archive) read(n int) {
	from := a.book.rewind()
	cursor, skip := driver.From(from), from.Skip
	var batch []msg.LogEntry
	deliver := func() bool {
		_, _, err := a.book.write(batch, &skip)
		batch = nil
		return err == nil
	}
	for i, entry := range a.entries[:n] {
		early := !a.opened && rapid.IntRange(0, 3).Draw(a.t, "handed out before it is read") == 0
		if !a.opened && (early || !entry.Time.Before(a.second)) {
			if !deliver() { // what was printed before is read before or after
				return
			}
			a.book.open("two", a.second, a.secrets)
			a.opened = true
		}
		if rest, ok := cursor.Next(entry); ok {
			batch = append(batch, rest)
		}
		if (i == n-1 || rapid.Bool().Draw(a.t, "batch ends")) && !deliver() {
			return
		}
	}
}

func (a *archive) check() {
	for _, id := range []msg.ExecutionID{"one", "two"} {
		var raw strings.Builder
		for _, e := range a.entries {
			if e.Time.Before(a.second) == (id == "one") {
				raw.Write(e.Text)
			}
		}
		filter := masking.NewFilter(a.secrets, false)
		want := string(slices.Concat(filter.Write([]byte(raw.String()), a.entries[0].Time), filter.Flush()))
		rec, _ := a.spool.Job(id)
		got, err := a.spool.ReadLog(id, 0, 1<<20)
		if err != nil || string(got) != want || (id == "one" || a.opened) != rec.Log.Ended {
			a.t.Fatalf("job %s: %q, ended: %v, error %v; want %q", id, got, rec.Log.Ended, err, want)
		}
	}
}
