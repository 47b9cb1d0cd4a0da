package actors

import (
	"slices"
	"strings"
	"testing"
	"time"

	"runnerd/infra/driver"
	"runnerd/infra/masking"
	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
)

// logSpool is the part of a spool that a logAttributor uses.
type logSpool struct {
	Spool
	logs    map[msg.ExecutionID]string
	running msg.ExecutionID // the others have ended
}

func (s *logSpool) Job(id msg.ExecutionID) (msg.JobRecord, bool) {
	if id == s.running {
		return msg.JobRecord{Stage: msg.HandedOut}, true
	}
	return msg.JobRecord{Stage: msg.Ended}, true
}
func (s *logSpool) CloseLog(msg.ExecutionID) error { return nil }
func (s *logSpool) AppendLog(id msg.ExecutionID, text []byte, _ msg.Position) error {
	s.logs[id] += string(text)
	return nil
}

// passThrough is a filter that neither masks nor holds anything back.
type passThrough struct{}

func (passThrough) Write(p []byte, _ time.Time) []byte { return p }
func (passThrough) SetSecrets([]msg.Secret) []byte     { return nil }
func (passThrough) Flush() []byte                      { return nil }
func (passThrough) Held() int                          { return 0 }

func TestLateOutputIsAttributedToItsJob(t *testing.T) {
	const mark = "I1 watcher.go:64] " + idleMarker
	type event struct {
		at       time.Duration
		open     msg.ExecutionID // a job is handed out
		first    bool            // it is the executor's first, so it gets earlier output too
		withdraw msg.ExecutionID // its hand-out failed
		close    msg.ExecutionID // its log is closed
		running  msg.ExecutionID // this job has not ended
		ended    bool            // the running job has ended
		prints   string          // an entry with the stamp at is read
	}
	for _, row := range []struct {
		when            string
		events          []event
		one, two, three string
	}{
		{
			when:   "the engine keeps up",
			events: []event{{open: "one"}, {at: 1, prints: "a"}, {at: 2, prints: mark}, {at: 3, open: "two"}, {at: 4, prints: "b"}},
			one:    "a " + mark, two: "b",
		},
		{
			when:   "the engine is behind by a job",
			events: []event{{open: "one"}, {at: 3, open: "two"}, {at: 4, prints: "a"}, {at: 4, prints: mark}, {at: 5, prints: "b"}},
			one:    "a", two: mark + " b",
		},
		{
			when: "the engine is behind by two jobs",
			events: []event{{open: "one"}, {at: 3, open: "two"}, {at: 5, open: "three"}, {at: 6, prints: "a"}, {at: 6, prints: mark},
				{at: 6, prints: "b"}, {at: 6, prints: mark}, {at: 7, prints: "c"}},
			one: "a", two: mark + " b", three: mark + " c",
		},
		{
			when:   "only the reader is behind",
			events: []event{{open: "one"}, {at: 3, open: "two"}, {at: 1, prints: "a"}, {at: 2, prints: mark}, {at: 4, prints: "b"}},
			one:    "a " + mark, two: "b",
		},
		{
			when: "the engine is seconds behind",
			events: []event{{open: "one"}, {at: 3, open: "two"}, {at: 5 * time.Second, prints: "a"}, {at: 5 * time.Second, prints: mark},
				{at: 6 * time.Second, prints: "b"}},
			one: "a", two: mark + " b",
		},
		{
			when: "a hand-out fails and is retried",
			events: []event{{open: "one"}, {at: 2, prints: "a"}, {at: 2, prints: mark}, {at: 3, open: "two"}, {withdraw: "two"},
				{at: 4, open: "three"}, {at: 5, prints: "c"}},
			one: "a " + mark, three: "c",
		},
		{
			when:   "the previous job has ended and its log is closed",
			events: []event{{open: "one"}, {at: 1, prints: "a"}, {close: "one"}, {at: 3, open: "two"}, {at: 4, prints: "b"}},
			one:    "a", two: "b",
		},
		{
			when: "the previous log is closed after the hand-out",
			events: []event{{open: "one"}, {at: 1, prints: "a"}, {at: 3, open: "two"}, {close: "one"}, {at: 4, prints: "b"},
				{at: 5, prints: mark}, {at: 6, open: "three"}, {at: 7, prints: "c"}},
			one: "a", two: "b " + mark, three: "c",
		},
		{
			when: "the engine is late with a first marker",
			events: []event{{open: "one"}, {at: 1, prints: "a"}, {close: "one"}, {at: 3, open: "two"}, {at: 4, prints: mark}, {at: 5, prints: "b"},
				{at: 6, open: "three"}, {at: 7, prints: "end of b"}, {at: 7, prints: mark}, {at: 8, prints: "c"}},
			one: "a", two: mark + " b end of b", three: mark + " c",
		},
		{
			when: "the plugin was made to ask twice",
			events: []event{{open: "one"}, {at: 1, prints: "a"}, {at: 2, prints: mark}, {at: 3, open: "two"}, {at: 4, prints: mark}, {at: 5, prints: "b"},
				{at: 6, open: "three"}, {at: 7, prints: "end of b"}, {at: 7, prints: mark}, {at: 8, prints: "c"}},
			one: "a " + mark, two: mark + " b end of b", three: mark + " c",
		},
		{
			when: "the plugin failed to fetch and asked again",
			events: []event{{open: "one"}, {at: 1, prints: "a"}, {at: 2, prints: mark}, {at: 3, open: "two"}, {running: "two"}, {at: 4, prints: "cannot fetch it"},
				{at: 5, prints: mark}, {at: 6, prints: "b"}, {ended: true}, {at: 7, open: "three"}, {at: 8, prints: "end of b"}, {at: 8, prints: mark}, {at: 9, prints: "c"}},
			one: "a " + mark, two: "cannot fetch it " + mark + " b end of b", three: mark + " c",
		},
		{
			when: "the plugin does not print the marker",
			events: []event{{open: "one"}, {at: 1, prints: "a"}, {at: 2, open: "two"}, {at: 3 + maxStampDelay, prints: "b"}, {at: 4 + maxStampDelay, open: "three"},
				{at: 5 + maxStampDelay, prints: "c"}},
			one: "a", two: "b", three: "c",
		},
		{
			when: "three jobs before the marker counts as missing",
			events: []event{{open: "one"}, {at: 1, prints: "a"}, {at: 2, open: "two"}, {at: 3, prints: "b"}, {at: time.Second, open: "three"},
				{at: 3 + maxStampDelay, prints: "c"}},
			one: "a b", three: "c",
		},
		{
			when: "a late engine makes the marker seem missing",
			events: []event{{open: "one"}, {at: 2, open: "two"}, {running: "two"}, {at: 3 + maxStampDelay, prints: "a"}, {at: 3 + maxStampDelay, prints: mark}, {at: 4 + maxStampDelay, prints: "b"},
				{ended: true}, {at: 5 + maxStampDelay, open: "three"}, {at: 6 + maxStampDelay, prints: "end of b"}, {at: 6 + maxStampDelay, prints: mark}, {at: 7 + maxStampDelay, prints: "c"}},
			two: "a " + mark + " b end of b", three: mark + " c",
		},
		{
			when: "the first hand-out fails and is retried",
			events: []event{{open: "one", first: true}, {at: 1, prints: "hello"}, {at: 2, open: "one"}, {withdraw: "one"}, {at: 3, prints: "waiting"},
				{at: 4, open: "one"}, {at: 5, prints: "a"}},
			one: "hello waiting a",
		},
		{
			when:   "the clock is set back",
			events: []event{{open: "one"}, {at: 1, prints: "a"}, {at: 2, prints: mark}, {at: -time.Hour, open: "two"}, {at: 2, prints: "b"}},
			one:    "a " + mark, two: "b",
		},
	} {
		t.Run(row.when, func(t *testing.T) {
			store := &logSpool{logs: map[msg.ExecutionID]string{}}
			logs := &logAttributor{spool: store, newFilter: func([]msg.Secret, bool) Filter { return passThrough{} }}
			began := time.Now()
			for _, e := range row.events {
				switch {
				case e.first:
					logs.open(e.open, time.Time{}, nil)
				case e.open != "":
					logs.open(e.open, began.Add(e.at), nil)
				case e.running != "" || e.ended:
					store.running = e.running
				case e.withdraw != "":
					logs.withdraw(e.withdraw)
				case e.close != "":
					if err := logs.close(e.close); err != nil {
						t.Fatal(err)
					}
				default:
					entry := msg.LogEntry{Time: began.Add(e.at), Text: []byte(e.prints + " ")}
					if _, late, err := logs.write([]msg.LogEntry{entry}); err != nil || late > 0 {
						t.Fatalf("%q: %d bytes are late, %v", e.prints, late, err)
					}
				}
			}
			for job, want := range map[msg.ExecutionID]string{"one": row.one, "two": row.two, "three": row.three} {
				if got := strings.TrimSpace(store.logs[job]); got != want {
					t.Errorf("the log of job %s is %q, want %q", job, got, want)
				}
			}
		})
	}
}

func TestRestartAttributesOutputToItsJob(t *testing.T) {
	const mark = "I1 watcher.go:64] " + idleMarker
	type line struct {
		at     time.Duration
		prints string
	}
	handedOut := map[msg.ExecutionID]time.Duration{"one": 0, "two": 3, "three": 6}
	for _, row := range []struct {
		when            string
		limit           int64
		before, after   []line
		one, two, three string
	}{
		{
			when:   "the engine is behind",
			before: []line{{1, "a"}}, after: []line{{4, "end of a"}, {4, mark}, {5, "b"}},
			one: "a end of a", two: mark + " b",
		},
		{
			when:   "the engine keeps up",
			before: []line{{1, "a"}, {2, mark}}, after: []line{{4, "b"}},
			one: "a " + mark, two: "b",
		},
		{
			when:   "the next job has begun",
			before: []line{{1, "a"}, {4, mark}, {4, "b"}}, after: []line{{5, "more of b"}},
			one: "a", two: mark + " b more of b",
		},
		{
			when:   "the engine was also late before",
			before: []line{{1, mark}, {1, "a"}}, after: []line{{4, "end of a"}, {4, mark}, {5, "b"}},
			one: mark + " a end of a", two: mark + " b",
		},
		{
			when:   "an older log is still open",
			before: []line{{1, "a"}, {4, mark}, {4, "b"}}, after: []line{{7, "end of b"}, {7, mark}, {8, "c"}},
			one: "a", two: mark + " b end of b", three: mark + " c",
		},
		{
			when:   "an older log is open and the plugin was made to ask twice",
			before: []line{{1, "a"}, {4, mark}, {4, mark}, {4, "b"}}, after: []line{{7, "end of b"}, {7, mark}, {8, "c"}},
			one: "a", two: mark + " " + mark + " b end of b", three: mark + " c",
		},
		{
			when: "the log of the previous job was full", limit: 4,
			before: []line{{1, "aa"}, {2, mark}}, after: []line{{4, "b"}},
			one: "aa I … log truncated: the limit is 4 bytes, see --max-log", two: "b",
		},
	} {
		t.Run(row.when, func(t *testing.T) {
			began := time.Now()
			store, err := spool.Open(memfs.New(), spool.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var printed []line
			for n, lines := range [][]line{row.before, row.after} {
				logs := &logAttributor{spool: store, limit: row.limit, newFilter: func([]msg.Secret, bool) Filter { return passThrough{} }}
				for i, id := range []msg.ExecutionID{"one", "two", "three"}[:2+n] { // all but the newest have ended
					if err := store.Add(msg.Offer{Job: msg.Job{ID: msg.JobID(id), Execution: id}}); err != nil {
						t.Fatal(err)
					}
					if i <= n {
						if _, err := store.End(id, msg.Ending{Outcome: msg.Failed}); err != nil {
							t.Fatal(err)
						}
					}
					logs.open(id, began.Add(handedOut[id]), nil)
				}
				position := logs.rewind()
				cursor := driver.NewCursor(position)
				printed = append(printed, lines...)
				for _, l := range printed {
					entry, ok := cursor.Next(msg.LogEntry{Time: began.Add(l.at), Text: []byte(l.prints + "\n")})
					if !ok {
						continue
					}
					if _, late, err := logs.write([]msg.LogEntry{entry}); err != nil || late > 0 {
						t.Fatalf("%q: %d bytes are late, %v", l.prints, late, err)
					}
				}
			}
			for job, want := range map[msg.ExecutionID]string{"one": row.one, "two": row.two, "three": row.three} {
				text, err := store.ReadLog(job, 0, 1<<10)
				if got := strings.Join(strings.Split(strings.TrimSpace(string(text)), "\n"), " "); err != nil || got != want {
					t.Errorf("the log of job %s is %q, want %q (%v)", job, got, want, err)
				}
			}
		})
	}
}

// After a restart the last output of a closed log must not be attributed to the next job.
func TestClosedLogsPositionIsCarriedToNextJob(t *testing.T) {
	const mark = idleMarker + "\n"
	for _, row := range []struct {
		when string
		one  string
		does func(*spool.Spool) error
	}{
		{"the next log has output of another executor", "last words\nof one\n", func(s *spool.Spool) error {
			return s.AppendLog("two", nil, msg.Position{Time: time.Now().Add(-time.Minute), Count: 1})
		}},
		{"the job was rejected", "", func(s *spool.Spool) error { return s.Remove("one") }},
	} {
		t.Run(row.when, func(t *testing.T) {
			store, err := spool.Open(memfs.New(), spool.Options{})
			if err != nil {
				t.Fatal(err)
			}
			logs := &logAttributor{spool: store, newFilter: func([]msg.Secret, bool) Filter { return passThrough{} }}
			began := time.Now()
			for n, id := range []msg.ExecutionID{"one", "two"} {
				if err := store.Add(msg.Offer{Job: msg.Job{ID: msg.JobID(id), Execution: id}}); err != nil {
					t.Fatal(err)
				}
				if _, err := store.End("one", msg.Ending{Outcome: msg.Failed}); err != nil {
					t.Fatal(err)
				}
				logs.open(id, began.Add(time.Duration(n)), nil)
			}
			if err := row.does(store); err != nil {
				t.Fatal(err)
			}
			logs.rewind()
			for _, text := range []string{"last words\n", "of one\n", mark, "b\n"} {
				if _, _, err := logs.write([]msg.LogEntry{{Time: began.Add(2), Text: []byte(text)}}); err != nil {
					t.Fatal(err)
				}
			}
			for id, want := range map[msg.ExecutionID]string{"one": row.one, "two": mark + "b\n"} {
				if text, _ := store.ReadLog(id, 0, 1<<10); string(text) != want {
					t.Errorf("the log of job %s is %q, want %q", id, text, want)
				}
			}
		})
	}
}

func TestLogsAreClosedInJobOrder(t *testing.T) {
	store, err := spool.Open(memfs.New(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	logs := &logAttributor{spool: store, newFilter: func([]msg.Secret, bool) Filter { return passThrough{} }}
	began := time.Now()
	for n, id := range []msg.ExecutionID{"one", "two", "three"} {
		if err := store.Add(msg.Offer{Job: msg.Job{ID: msg.JobID(id), Execution: id}}); err != nil {
			t.Fatal(err)
		}
		logs.open(id, began.Add(time.Duration(n)), nil)
	}
	if closed, err := logs.closeThrough("two"); err != nil || !slices.Equal(closed, []msg.ExecutionID{"one", "two"}) {
		t.Fatal(closed, err)
	}
	for id, want := range map[msg.ExecutionID]bool{"one": true, "two": true, "three": false} {
		if rec, _ := store.Job(id); rec.Log.Closed != want {
			t.Errorf("log of job %s closed: %v, want %v", id, rec.Log.Closed, want)
		}
	}
}

// The first output of a job may be attributed to the previous job. Its secrets must be masked there too.
func TestLateOutputMasksSecretsOfNextJob(t *testing.T) {
	store := &logSpool{logs: map[msg.ExecutionID]string{}}
	logs := &logAttributor{spool: store, newFilter: func(s []msg.Secret, midline bool) Filter { return masking.NewFilter(s, midline) }}
	began := time.Now()
	say := func(at time.Duration, text string) {
		if _, _, err := logs.write([]msg.LogEntry{{Time: began.Add(at), Text: []byte(text)}}); err != nil {
			t.Fatal(err)
		}
	}
	logs.open("one", began, []msg.Secret{"hunter2"})
	say(1, "12:00:00 an old one is hunt")
	logs.open("two", began.Add(2), []msg.Secret{"swordfish"})
	say(3, "er2, a new one swordfish\n")
	logs.open("three", began.Add(4), []msg.Secret{"open sesame"})
	say(5, "12:00:01 "+idleMarker+"\n")
	say(6, "12:00:02 a newer one open sesame\n")
	if got, want := store.logs["two"], "12:00:01 "+idleMarker+"\n12:00:02 a newer one ********\n"; got != want {
		t.Errorf("log of the next job %q, want %q", got, want)
	}
	if got, want := store.logs["one"], "12:00:00 an old one is ********, a new one ********\n"; got != want {
		t.Errorf("log of the previous job %q, want %q", got, want)
	}
}

// The engine may discard an entry of which only the first part was stored. The next line must not lose its beginning.
func TestLineAfterLostPartialLineIsComplete(t *testing.T) {
	store, err := spool.Open(memfs.New(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Add(msg.Offer{Job: msg.Job{ID: "one", Execution: "one"}}); err != nil {
		t.Fatal(err)
	}
	logs := &logAttributor{spool: store, newFilter: func(s []msg.Secret, midline bool) Filter { return masking.NewFilter(s, midline) }}
	logs.open("one", time.Time{}, []msg.Secret{"hunter2"})
	began, long := time.Now(), "12:00:00 "+strings.Repeat("long ", 100)
	for n, engine := range [][]string{{long + "one hunt"}, {long + "two hunt"}, {long + "two hunt", "er2\n"}} {
		position := logs.rewind()
		if n > 0 && position.Skip == 0 {
			t.Fatalf("reading resumes at %v, want a position inside an entry", position)
		}
		cursor := driver.NewCursor(position)
		for i, text := range engine {
			entry, ok := cursor.Next(msg.LogEntry{Time: began.Add(time.Duration(min(n, 1) + i)), Text: []byte(text)})
			if _, _, err := logs.write([]msg.LogEntry{entry}); err != nil || !ok {
				t.Fatal(ok, err)
			}
		}
	}
	if err := logs.close("one"); err != nil {
		t.Fatal(err)
	}
	text, err := store.ReadLog("one", 0, 1<<20)
	if got := strings.ReplaceAll(string(text), "long ", ""); err != nil || got != "12:00:00 one 12:00:00 two ********\n" {
		t.Errorf("the log is %q (%v)", got, err)
	}
}

func TestMovedJobReadsNewExecutorsLogFromStart(t *testing.T) {
	store, err := spool.Open(memfs.New(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Add(msg.Offer{Job: msg.Job{ID: "one", Execution: "one"}}); err != nil {
		t.Fatal(err)
	}
	logOf := func(id msg.ExecutorID) *logAttributor {
		log := &logAttributor{spool: store, executor: id, newFilter: func([]msg.Secret, bool) Filter { return passThrough{} }}
		log.open("one", time.Time{}, nil)
		return log
	}
	first := logOf("a")
	if _, _, err := first.write([]msg.LogEntry{{Time: time.Now(), Text: []byte("I cannot start\n")}}); err != nil {
		t.Fatal(err)
	}
	if again := logOf("a").rewind(); again.Count != 1 {
		t.Errorf("the same executor resumes at %+v, want after the entry", again)
	}
	if begin := logOf("b").rewind(); begin != (msg.Position{}) {
		t.Errorf("the next executor resumes at %+v, want the start", begin)
	}
}
