package actors_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"runnerd/infra/seal"
	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/tests/fakes"
)

// owes makes so many jobs that have ended, with results that the server has not got, oldest first.
func (w *world) owes(into *spool.Spool, n int) (ids []msg.JobID) {
	w.t.Helper()
	must := func(err error) {
		if err != nil {
			w.t.Fatal(err)
		}
	}
	for range n {
		ids = append(ids, w.server.Submit(fakes.Task{Image: "plugin"}))
	}
	offers, err := w.server.Reserve(context.Background(), n, 0)
	must(err)
	for n, o := range offers {
		must(into.Add(o))
		must(w.server.Confirm(context.Background(), o.ID, o.Execution))
		must(into.Confirm(o.Execution))
		key, err := w.identity.OpenKey(o.SessionKey)
		must(err)
		must(into.AppendLog(o.Execution, fmt.Appendf(nil, "job %d\n", n), msg.Position{Time: time.Now(), Count: 1}))
		_, err = into.StoreResult(o.Execution, msg.Result{Body: []byte(seal.Encrypt(key, fmt.Appendf(nil, `{"exitCode":%d}`, n)))})
		must(err)
		must(into.EndLog(o.Execution))
		time.Sleep(time.Millisecond)
		if n%100 == 0 { // as a kernel does from time to time
			must(w.disk.SyncAll())
		}
	}
	return ids
}

// strict takes nothing from a runner that has not registered.
type strict struct {
	*fakes.Server
	registered atomic.Bool
}

func (s *strict) Register(ctx context.Context) (msg.Registration, error) {
	r, err := s.Server.Register(ctx)
	if err == nil {
		s.registered.Store(true)
	}
	return r, err
}

func (s *strict) Finish(ctx context.Context, of msg.Job, ending msg.Ending, result []byte) error {
	if !s.registered.Load() {
		return refusal(401, 0)
	}
	return s.Server.Finish(ctx, of, ending, result)
}

func (s *strict) AppendLog(ctx context.Context, job msg.JobID, offset int64, text []byte, total int64) (int64, error) {
	if !s.registered.Load() {
		return 0, refusal(401, 0)
	}
	return s.Server.AppendLog(ctx, job, offset, text, total)
}

// picky does not take the finish of one job.
type picky struct {
	*fakes.Server
	fails error

	mu    sync.Mutex // guards what follows
	not   msg.JobID
	tries int
}

func (p *picky) Finish(ctx context.Context, of msg.Job, ending msg.Ending, result []byte) error {
	p.mu.Lock()
	not := of.ID == p.not
	if not {
		p.tries++
	}
	p.mu.Unlock()
	if not {
		return p.fails
	}
	return p.Server.Finish(ctx, of, ending, result)
}

// relents returns how often it was tried.
func (p *picky) relents() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.not = ""
	return p.tries
}

func TestAJobThatTheServerFailsAtKeepsNoOtherWaitingAndIsTriedForEver(t *testing.T) {
	for name, c := range map[string]struct {
		fails  error
		most   int           // tries in twelve minutes
		others time.Duration // until they are there
	}{
		"it answers 500":             {refusal(500, 0), 40, 3 * time.Second},
		"it answers 503":             {refusal(503, 0), 1000, 3 * time.Second}, // once a second, as when it is away: it may be
		"it hangs up":                {errNoAnswer, 1000, 3 * time.Second},
		"it says when to come again": {refusal(503, 2*time.Minute), 7, 2*time.Minute + 3*time.Second}, // it may mean all
	} {
		t.Run(name, func(t *testing.T) {
			config := daemonMode(1)
			config.Enabled = false
			inWorld(t, config, func(w *world) {
				before, err := spool.Open(w.disk, spool.Options{})
				if err != nil {
					t.Fatal(err)
				}
				ids := w.owes(before, 100)
				if err := before.Close(); err != nil {
					t.Fatal(err)
				}
				server := &picky{Server: w.server, not: ids[0], fails: c.fails}
				w.release = server
				w.start()
				w.until("the server has the others", c.others, func() bool { return len(w.server.Unfinished()) == 1 })
				w.passes(10 * time.Minute)
				if n := server.relents(); n < 4 || n > c.most {
					t.Errorf("it was tried %d times", n)
				}
				w.until("the server has all", time.Minute+c.others, func() bool { return len(w.server.Unfinished()) == 0 })
				w.nothingIsLeft()
			})
		})
	}
}

// since are the calls from a time on.
func since(calls []time.Time, from time.Time) (late []time.Time) {
	for _, at := range calls {
		if !at.Before(from) {
			late = append(late, at)
		}
	}
	return late
}

// raced says that the race detector is on. With it the test below has a fiftieth of the results; `go tool task test` runs it
// without the race detector too.
var raced bool

func TestTenThousandResultsOutliveADayWithoutTheServerAndAreDeliveredOnceEachTheFirstWithinASecond(t *testing.T) {
	for name, c := range map[string]struct {
		results int
		begin   func(w *world, results int) []msg.JobID
	}{
		"the runner was there all the time": {2_000, func(w *world, results int) []msg.JobID { // 5,760 heartbeats tell of them
			w.start()
			w.passes(time.Second)
			ids := w.owes(w.spool, results)
			w.server.Down(errNoAnswer)
			for _, job := range w.spool.Jobs() {
				w.root.Tell(msg.SpoolChanged{Execution: job.Execution})
			}
			return ids
		}},
		"the runner was started meanwhile": {10_000, func(w *world, results int) []msg.JobID {
			before, err := spool.Open(w.disk, spool.Options{})
			if err != nil {
				w.t.Fatal(err)
			}
			ids := w.owes(before, results)
			if err := before.Close(); err != nil {
				w.t.Fatal(err)
			}
			w.server.Down(errNoAnswer)
			w.release = &strict{Server: w.server}
			w.start()
			return ids
		}},
	} {
		t.Run(name, func(t *testing.T) {
			config := daemonMode(1)
			config.Enabled = false // the server has nothing else for this runner
			inWorld(t, config, func(w *world) {
				results, outage := c.results, 24*time.Hour
				if raced {
					results, outage = results/50, time.Hour
				}
				ids := c.begin(w, results)
				gone := time.Now()
				time.Sleep(outage)
				back := time.Now()
				w.server.Script(fakes.Finish, slices.Repeat([]fakes.Call{{Takes: 5 * time.Millisecond}}, results)...)
				w.server.Down(nil)
				time.Sleep(time.Second)
				synctest.Wait()
				if f, ok := w.server.FinishOf(ids[0]); !ok {
					t.Errorf("a second after the server's return its oldest result is not there; %d are", len(since(w.server.Calls(fakes.Finish), back)))
				} else if f.Result != `{"exitCode":0}` {
					t.Errorf("the result is %q", f.Result)
				}
				for len(w.spool.Jobs()) > 0 && time.Since(back) < time.Minute {
					time.Sleep(100 * time.Millisecond)
					if err := w.disk.SyncAll(); err != nil {
						t.Fatal(err)
					}
				}
				w.nothingIsLeft()
				for n, id := range ids {
					f, ok := w.server.FinishOf(id)
					if want := fmt.Sprintf(`{"exitCode":%d}`, n); !ok || f.Result != want || f.Outcome != msg.Completed {
						t.Fatalf("%s has ended as %+v, want %s", id, f, want)
					}
					if log, ended := w.logOf(id); log != fmt.Sprintf("job %d\n", n) || !ended {
						t.Fatalf("the log of %s is %q, ended: %v", id, log, ended)
					}
				}
				finishes := since(w.server.Calls(fakes.Finish), back)
				if n := len(finishes); n != results {
					t.Errorf("%d finishes for %d results", n, results)
				}
				if n := len(since(finishes, back)) - len(since(finishes, back.Add(time.Second))); n > 16*200 {
					t.Errorf("%d finishes in the first second: the server is flooded", n)
				}
				var knocks int
				for _, op := range []string{fakes.Log, fakes.Finish, fakes.Register} {
					knocks += len(since(w.server.Calls(op), gone)) - len(since(w.server.Calls(op), back))
				}
				if perHour := knocks / 24; perHour > 3*3600 {
					t.Errorf("%d requests an hour were made of a server that was away", perHour)
				}
			})
		})
	}
}

func TestARunnerThatDrainsRegistersAgainToReportWhatItHas(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		server := &strict{Server: w.server}
		w.release = server
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: 10 * time.Minute}})
		w.begins(id)
		done := make(chan struct{}, 1)
		w.root.Tell(msg.Drain{Done: func() { done <- struct{}{} }})
		w.passes(time.Minute)
		w.server.Down(refusal(401, 0)) // it is started again, and knows nobody
		server.registered.Store(false)
		w.passes(20 * time.Second)
		w.server.Down(nil)
		w.completes(id)
		w.until("it is drained", time.Minute, func() bool { return len(done) == 1 })
	})
}

func TestWhatAScriptSaysEndsNoOutageAndWaitsForNone(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		before, err := spool.Open(w.disk, spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		w.owes(before, 100)
		if err := before.Close(); err != nil {
			t.Fatal(err)
		}
		for _, op := range []string{fakes.Log, fakes.Finish} {
			w.server.Script(op, slices.Repeat([]fakes.Call{{Fails: errNoAnswer}}, 300)...)
		}
		w.start()
		var lines []string
		for n := range 40 {
			lines = append(lines, fmt.Sprintf("line %d", n))
		}
		script := w.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script, Errand: fakes.Errand{Prints: lines, Every: 3 * time.Second}})
		w.begins(script)
		w.passes(time.Second)
		began, known := time.Now(), len(w.log.text())
		for _, line := range lines {
			if !strings.Contains(w.log.text(), fmt.Sprintf(`"%s"`, line)) {
				t.Errorf("%v after the first line the runner's log has no %q", time.Since(began), line)
			}
			w.passes(3 * time.Second)
		}
		if n := strings.Count(w.log.text()[known:], "the server answers again"); n > 0 {
			t.Errorf("a server that is away is said to answer again, %d times", n)
		}
		if n := len(since(slices.Concat(w.server.Calls(fakes.Log), w.server.Calls(fakes.Finish)), began)); n > 2*120 {
			t.Errorf("it is asked %d times in two minutes", n)
		}
		w.completes(script)
		w.nothingIsLeft()
	})
}
