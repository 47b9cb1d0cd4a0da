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

// shelf is the part of a spool that a logbook uses.
type shelf struct {
	Spool
	logs    map[msg.ExecutionID]string
	running msg.ExecutionID // the others are over
}

func (s *shelf) Job(id msg.ExecutionID) (msg.JobRecord, bool) {
	if id == s.running {
		return msg.JobRecord{Stage: msg.HandedOut}, true
	}
	return msg.JobRecord{Stage: msg.Ended}, true
}
func (s *shelf) EndLog(msg.ExecutionID) error { return nil }
func (s *shelf) AppendLog(id msg.ExecutionID, text []byte, _ msg.Position) error {
	s.logs[id] += string(text)
	return nil
}

// clear is a filter that masks nothing and holds nothing back.
type clear struct{}

func (clear) Write(p []byte, _ time.Time) []byte { return p }
func (clear) Learn([]msg.Secret) []byte          { return nil }
func (clear) Flush() []byte                      { return nil }
func (clear) Held() int                          { return 0 }

func TestOutputBelongsToTheJobThatWroteItHoweverLateTheEngineStampsIt(t *testing.T) {
	const mark = "I1 watcher.go:64] " + idleMarker
	type event struct {
		at       time.Duration
		open     msg.ExecutionID // a job is handed out
		first    bool            // it is the executor's first, and has what is printed before
		withdraw msg.ExecutionID // it was not, after all
		close    msg.ExecutionID // its log is complete
		runs     msg.ExecutionID // it is not over
		over     bool            // it is
		says     string          // an entry with that stamp is read
	}
	for _, row := range []struct {
		when            string
		events          []event
		one, two, three string
	}{
		{
			when:   "the engine keeps up",
			events: []event{{open: "one"}, {at: 1, says: "a"}, {at: 2, says: mark}, {at: 3, open: "two"}, {at: 4, says: "b"}},
			one:    "a " + mark, two: "b",
		},
		{
			when:   "the engine is behind by a job",
			events: []event{{open: "one"}, {at: 3, open: "two"}, {at: 4, says: "a"}, {at: 4, says: mark}, {at: 5, says: "b"}},
			one:    "a", two: mark + " b",
		},
		{
			when: "the engine is behind by two jobs",
			events: []event{{open: "one"}, {at: 3, open: "two"}, {at: 5, open: "three"}, {at: 6, says: "a"}, {at: 6, says: mark},
				{at: 6, says: "b"}, {at: 6, says: mark}, {at: 7, says: "c"}},
			one: "a", two: mark + " b", three: mark + " c",
		},
		{
			when:   "only the reader is behind",
			events: []event{{open: "one"}, {at: 3, open: "two"}, {at: 1, says: "a"}, {at: 2, says: mark}, {at: 4, says: "b"}},
			one:    "a " + mark, two: "b",
		},
		{
			when: "the engine is seconds behind",
			events: []event{{open: "one"}, {at: 3, open: "two"}, {at: 5 * time.Second, says: "a"}, {at: 5 * time.Second, says: mark},
				{at: 6 * time.Second, says: "b"}},
			one: "a", two: mark + " b",
		},
		{
			when: "a hand-out fails and is repeated",
			events: []event{{open: "one"}, {at: 2, says: "a"}, {at: 2, says: mark}, {at: 3, open: "two"}, {withdraw: "two"},
				{at: 4, open: "three"}, {at: 5, says: "c"}},
			one: "a " + mark, three: "c",
		},
		{
			when:   "the job before is over and done with",
			events: []event{{open: "one"}, {at: 1, says: "a"}, {close: "one"}, {at: 3, open: "two"}, {at: 4, says: "b"}},
			one:    "a", two: "b",
		},
		{
			when: "the job before is over when the next has been handed out",
			events: []event{{open: "one"}, {at: 1, says: "a"}, {at: 3, open: "two"}, {close: "one"}, {at: 4, says: "b"},
				{at: 5, says: mark}, {at: 6, open: "three"}, {at: 7, says: "c"}},
			one: "a", two: "b " + mark, three: "c",
		},
		{
			when: "the engine is late also with the pick-up of a job that nobody is before",
			events: []event{{open: "one"}, {at: 1, says: "a"}, {close: "one"}, {at: 3, open: "two"}, {at: 4, says: mark}, {at: 5, says: "b"},
				{at: 6, open: "three"}, {at: 7, says: "last words of b"}, {at: 7, says: mark}, {at: 8, says: "c"}},
			one: "a", two: mark + " b last words of b", three: mark + " c",
		},
		{
			when: "the plugin was asked to come once more",
			events: []event{{open: "one"}, {at: 1, says: "a"}, {at: 2, says: mark}, {at: 3, open: "two"}, {at: 4, says: mark}, {at: 5, says: "b"},
				{at: 6, open: "three"}, {at: 7, says: "last words of b"}, {at: 7, says: mark}, {at: 8, says: "c"}},
			one: "a " + mark, two: mark + " b last words of b", three: mark + " c",
		},
		{
			when: "the plugin could not get its job and came once more",
			events: []event{{open: "one"}, {at: 1, says: "a"}, {at: 2, says: mark}, {at: 3, open: "two"}, {runs: "two"}, {at: 4, says: "cannot fetch it"},
				{at: 5, says: mark}, {at: 6, says: "b"}, {over: true}, {at: 7, open: "three"}, {at: 8, says: "last words of b"}, {at: 8, says: mark}, {at: 9, says: "c"}},
			one: "a " + mark, two: "cannot fetch it " + mark + " b last words of b", three: mark + " c",
		},
		{
			when: "the plugin does not say that it goes for its next job",
			events: []event{{open: "one"}, {at: 1, says: "a"}, {at: 2, open: "two"}, {at: 3 + maxStampDelay, says: "b"}, {at: 4 + maxStampDelay, open: "three"},
				{at: 5 + maxStampDelay, says: "c"}},
			one: "a", two: "b", three: "c",
		},
		{
			when: "a plugin that does not say so has had three jobs before that is clear",
			events: []event{{open: "one"}, {at: 1, says: "a"}, {at: 2, open: "two"}, {at: 3, says: "b"}, {at: time.Second, open: "three"},
				{at: 3 + maxStampDelay, says: "c"}},
			one: "a b", three: "c",
		},
		{
			when: "the engine was once so late that the plugin seemed not to say so",
			events: []event{{open: "one"}, {at: 2, open: "two"}, {runs: "two"}, {at: 3 + maxStampDelay, says: "a"}, {at: 3 + maxStampDelay, says: mark}, {at: 4 + maxStampDelay, says: "b"},
				{over: true}, {at: 5 + maxStampDelay, open: "three"}, {at: 6 + maxStampDelay, says: "last words of b"}, {at: 6 + maxStampDelay, says: mark}, {at: 7 + maxStampDelay, says: "c"}},
			two: "a " + mark + " b last words of b", three: mark + " c",
		},
		{
			when: "the first hand-out fails, and is repeated",
			events: []event{{open: "one", first: true}, {at: 1, says: "good day"}, {at: 2, open: "one"}, {withdraw: "one"}, {at: 3, says: "I wait"},
				{at: 4, open: "one"}, {at: 5, says: "a"}},
			one: "good day I wait a",
		},
		{
			when:   "the clock is set back",
			events: []event{{open: "one"}, {at: 1, says: "a"}, {at: 2, says: mark}, {at: -time.Hour, open: "two"}, {at: 2, says: "b"}},
			one:    "a " + mark, two: "b",
		},
	} {
		t.Run(row.when, func(t *testing.T) {
			store := &shelf{logs: map[msg.ExecutionID]string{}}
			logs := &logAttributor{spool: store, newFilter: func([]msg.Secret, bool) Filter { return clear{} }}
			begun := time.Now()
			for _, e := range row.events {
				switch {
				case e.first:
					logs.open(e.open, time.Time{}, nil)
				case e.open != "":
					logs.open(e.open, begun.Add(e.at), nil)
				case e.runs != "" || e.over:
					store.running = e.runs
				case e.withdraw != "":
					logs.withdraw(e.withdraw)
				case e.close != "":
					if err := logs.close(e.close); err != nil {
						t.Fatal(err)
					}
				default:
					entry := msg.LogEntry{Time: begun.Add(e.at), Text: []byte(e.says + " ")}
					if _, late, err := logs.write([]msg.LogEntry{entry}); err != nil || late > 0 {
						t.Fatalf("%q: %d bytes are late, %v", e.says, late, err)
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

func TestOutputBelongsToTheJobThatWroteItOverARestartToo(t *testing.T) {
	const mark = "I1 watcher.go:64] " + idleMarker
	type line struct {
		at   time.Duration
		says string
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
			before: []line{{1, "a"}}, after: []line{{4, "last words of a"}, {4, mark}, {5, "b"}},
			one: "a last words of a", two: mark + " b",
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
			when:   "the engine was behind with the job before, too",
			before: []line{{1, mark}, {1, "a"}}, after: []line{{4, "last words of a"}, {4, mark}, {5, "b"}},
			one: mark + " a last words of a", two: mark + " b",
		},
		{
			when:   "the log of the one before the last is still open",
			before: []line{{1, "a"}, {4, mark}, {4, "b"}}, after: []line{{7, "last words of b"}, {7, mark}, {8, "c"}},
			one: "a", two: mark + " b last words of b", three: mark + " c",
		},
		{
			when:   "and the plugin was asked to come once more",
			before: []line{{1, "a"}, {4, mark}, {4, mark}, {4, "b"}}, after: []line{{7, "last words of b"}, {7, mark}, {8, "c"}},
			one: "a", two: mark + " " + mark + " b last words of b", three: mark + " c",
		},
		{
			when: "the log of the job before was full", limit: 4,
			before: []line{{1, "aa"}, {2, mark}}, after: []line{{4, "b"}},
			one: "aa I … the log ends here: of a job's log this runner keeps 4 bytes", two: "b",
		},
	} {
		t.Run(row.when, func(t *testing.T) {
			begun := time.Now()
			store, err := spool.Open(memfs.New(), spool.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var said []line
			for n, life := range [][]line{row.before, row.after} {
				logs := &logAttributor{spool: store, limit: row.limit, newFilter: func([]msg.Secret, bool) Filter { return clear{} }}
				for i, id := range []msg.ExecutionID{"one", "two", "three"}[:2+n] { // all but the newest are over
					if err := store.Add(msg.Offer{Job: msg.Job{ID: msg.JobID(id), Execution: id}}); err != nil {
						t.Fatal(err)
					}
					if i <= n {
						if _, err := store.End(id, msg.Ending{Outcome: msg.Failed}); err != nil {
							t.Fatal(err)
						}
					}
					logs.open(id, begun.Add(handedOut[id]), nil)
				}
				position := logs.rewind()
				cursor := driver.From(position)
				said = append(said, life...)
				for _, l := range said {
					entry, ok := cursor.Next(msg.LogEntry{Time: begun.Add(l.at), Text: []byte(l.says + "\n")})
					if !ok {
						continue
					}
					if _, late, err := logs.write([]msg.LogEntry{entry}); err != nil || late > 0 {
						t.Fatalf("%q: %d bytes are late, %v", l.says, late, err)
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

func TestTheLastWordsOfAJobAreNotTheNextOnesWhen(t *testing.T) {
	const mark = idleMarker + "\n"
	for _, row := range []struct {
		when string
		one  string
		does func(*spool.Spool) error
	}{
		{"the next one has words of another executor in its log", "last words\nof one\n", func(s *spool.Spool) error {
			return s.AppendLog("two", nil, msg.Position{Time: time.Now().Add(-time.Minute), Count: 1})
		}},
		{"it was put away", "", func(s *spool.Spool) error { return s.Remove("one") }},
	} {
		t.Run(row.when, func(t *testing.T) {
			store, err := spool.Open(memfs.New(), spool.Options{})
			if err != nil {
				t.Fatal(err)
			}
			logs := &logAttributor{spool: store, newFilter: func([]msg.Secret, bool) Filter { return clear{} }}
			begun := time.Now()
			for n, id := range []msg.ExecutionID{"one", "two"} {
				if err := store.Add(msg.Offer{Job: msg.Job{ID: msg.JobID(id), Execution: id}}); err != nil {
					t.Fatal(err)
				}
				if _, err := store.End("one", msg.Ending{Outcome: msg.Failed}); err != nil {
					t.Fatal(err)
				}
				logs.open(id, begun.Add(time.Duration(n)), nil)
			}
			if err := row.does(store); err != nil {
				t.Fatal(err)
			}
			logs.rewind()
			for _, text := range []string{"last words\n", "of one\n", mark, "b\n"} {
				if _, _, err := logs.write([]msg.LogEntry{{Time: begun.Add(2), Text: []byte(text)}}); err != nil {
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

func TestNoLogEndsBeforeThatOfTheJobBefore(t *testing.T) {
	store, err := spool.Open(memfs.New(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	logs := &logAttributor{spool: store, newFilter: func([]msg.Secret, bool) Filter { return clear{} }}
	begun := time.Now()
	for n, id := range []msg.ExecutionID{"one", "two", "three"} {
		if err := store.Add(msg.Offer{Job: msg.Job{ID: msg.JobID(id), Execution: id}}); err != nil {
			t.Fatal(err)
		}
		logs.open(id, begun.Add(time.Duration(n)), nil)
	}
	if closed, err := logs.closeThrough("two"); err != nil || !slices.Equal(closed, []msg.ExecutionID{"one", "two"}) {
		t.Fatal(closed, err)
	}
	for id, want := range map[msg.ExecutionID]bool{"one": true, "two": true, "three": false} {
		if rec, _ := store.Job(id); rec.Log.Ended != want {
			t.Errorf("the log of job %s has ended: %v", id, rec.Log.Ended)
		}
	}
}

func TestASecretIsMaskedAlsoInOutputThatIsTakenForThatOfTheJobBefore(t *testing.T) {
	store := &shelf{logs: map[msg.ExecutionID]string{}}
	logs := &logAttributor{spool: store, newFilter: func(s []msg.Secret, midline bool) Filter { return masking.NewFilter(s, midline) }}
	begun := time.Now()
	say := func(at time.Duration, text string) {
		if _, _, err := logs.write([]msg.LogEntry{{Time: begun.Add(at), Text: []byte(text)}}); err != nil {
			t.Fatal(err)
		}
	}
	logs.open("one", begun, []msg.Secret{"hunter2"})
	say(1, "12:00:00 an old one is hunt")
	logs.open("two", begun.Add(2), []msg.Secret{"swordfish"})
	say(3, "er2, a new one swordfish\n")
	logs.open("three", begun.Add(4), []msg.Secret{"open sesame"})
	say(5, "12:00:01 "+idleMarker+"\n")
	say(6, "12:00:02 a newer one open sesame\n")
	if got, want := store.logs["two"], "12:00:01 "+idleMarker+"\n12:00:02 a newer one ********\n"; got != want {
		t.Errorf("the log of the job that comes next is %q, want %q", got, want)
	}
	if got, want := store.logs["one"], "12:00:00 an old one is ********, a new one ********\n"; got != want {
		t.Errorf("the log of the job before is %q, want %q", got, want)
	}
}

func TestALineIsWholeThoughTheEngineHasThrownAwayTheOneBeforeThatWasHalfKept(t *testing.T) {
	store, err := spool.Open(memfs.New(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Add(msg.Offer{Job: msg.Job{ID: "one", Execution: "one"}}); err != nil {
		t.Fatal(err)
	}
	logs := &logAttributor{spool: store, newFilter: func(s []msg.Secret, midline bool) Filter { return masking.NewFilter(s, midline) }}
	logs.open("one", time.Time{}, []msg.Secret{"hunter2"})
	begun, long := time.Now(), "12:00:00 "+strings.Repeat("long ", 100)
	for n, engine := range [][]string{{long + "one hunt"}, {long + "two hunt"}, {long + "two hunt", "er2\n"}} {
		position := logs.rewind()
		if n > 0 && position.Skip == 0 {
			t.Fatalf("reading goes on at %v: nothing is proven", position)
		}
		cursor := driver.From(position)
		for i, text := range engine {
			entry, ok := cursor.Next(msg.LogEntry{Time: begun.Add(time.Duration(min(n, 1) + i)), Text: []byte(text)})
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

func TestAJobsLogIsReadFromTheBeginningOfTheExecutorThatItMovedTo(t *testing.T) {
	store, err := spool.Open(memfs.New(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Add(msg.Offer{Job: msg.Job{ID: "one", Execution: "one"}}); err != nil {
		t.Fatal(err)
	}
	logOf := func(id msg.ExecutorID) *logAttributor {
		log := &logAttributor{spool: store, executor: id, newFilter: func([]msg.Secret, bool) Filter { return clear{} }}
		log.open("one", time.Time{}, nil)
		return log
	}
	first := logOf("a")
	if _, _, err := first.write([]msg.LogEntry{{Time: time.Now(), Text: []byte("I cannot start\n")}}); err != nil {
		t.Fatal(err)
	}
	if again := logOf("a").rewind(); again.Count != 1 {
		t.Errorf("the same executor's log is read again from %+v", again)
	}
	if begin := logOf("b").rewind(); begin != (msg.Position{}) {
		t.Errorf("the next executor's log is read from %+v, a place in that of the one before", begin)
	}
}
