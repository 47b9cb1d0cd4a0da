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

// addUnreportedJobs adds n finished jobs whose results the server does not have to the spool, and returns their ids, oldest first.
func (e *env) addUnreportedJobs(into *spool.Spool, n int) (ids []msg.JobID) {
	e.t.Helper()
	must := func(err error) {
		if err != nil {
			e.t.Fatal(err)
		}
	}
	for range n {
		ids = append(ids, e.server.Submit(fakes.Task{Image: "plugin"}))
	}
	offers, err := e.server.Reserve(context.Background(), n, 0)
	must(err)
	for n, o := range offers {
		must(into.Add(o))
		must(e.server.Confirm(context.Background(), o.ID, o.Execution))
		must(into.Confirm(o.Execution))
		key, err := e.identity.OpenKey(o.SessionKey)
		must(err)
		must(into.AppendLog(o.Execution, fmt.Appendf(nil, "job %d\n", n), msg.Position{Time: time.Now(), Count: 1}))
		_, err = into.StoreResult(o.Execution, msg.Result{Body: []byte(seal.Encrypt(key, fmt.Appendf(nil, `{"exitCode":%d}`, n)))})
		must(err)
		must(into.CloseLog(o.Execution))
		time.Sleep(time.Millisecond)
		if n%100 == 0 { // as a kernel does periodically
			must(e.disk.SyncAll())
		}
	}
	return ids
}

// registeredOnlyServer rejects reports of a runner that has not registered.
type registeredOnlyServer struct {
	*fakes.Server
	registered atomic.Bool
}

func (s *registeredOnlyServer) Register(ctx context.Context) (msg.Registration, error) {
	r, err := s.Server.Register(ctx)
	if err == nil {
		s.registered.Store(true)
	}
	return r, err
}

func (s *registeredOnlyServer) Finish(ctx context.Context, of msg.Job, ending msg.Ending, result []byte) error {
	if !s.registered.Load() {
		return refusal(401, 0)
	}
	return s.Server.Finish(ctx, of, ending, result)
}

func (s *registeredOnlyServer) AppendLog(ctx context.Context, job msg.JobID, offset int64, text []byte, total int64) (int64, error) {
	if !s.registered.Load() {
		return 0, refusal(401, 0)
	}
	return s.Server.AppendLog(ctx, job, offset, text, total)
}

// rejectingServer rejects the finish of one job with an error.
type rejectingServer struct {
	*fakes.Server
	err error

	mu       sync.Mutex // guards the fields below
	rejected msg.JobID
	tries    int
}

func (p *rejectingServer) Finish(ctx context.Context, of msg.Job, ending msg.Ending, result []byte) error {
	p.mu.Lock()
	reject := of.ID == p.rejected
	if reject {
		p.tries++
	}
	p.mu.Unlock()
	if reject {
		return p.err
	}
	return p.Server.Finish(ctx, of, ending, result)
}

// stopRejecting accepts the finish from now on. It returns how often the finish was tried so far.
func (p *rejectingServer) stopRejecting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rejected = ""
	return p.tries
}

func TestFailingFinishIsRetriedWithoutBlockingOthers(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		most   int           // maximum number of tries within about ten minutes
		others time.Duration // until the server has the other results
	}{
		"status 500":  {refusal(500, 0), 40, 3 * time.Second},
		"status 503":  {refusal(503, 0), 1000, 3 * time.Second}, // once a second, as in an outage, because it may be one
		"no answer":   {errNoAnswer, 1000, 3 * time.Second},
		"Retry-After": {refusal(503, 2*time.Minute), 7, 2*time.Minute + 3*time.Second}, // Retry-After may apply to all requests
	} {
		t.Run(name, func(t *testing.T) {
			config := daemonMode(1)
			config.Enabled = false
			withEnv(t, config, func(e *env) {
				before, err := spool.Open(e.disk, spool.Options{})
				if err != nil {
					t.Fatal(err)
				}
				ids := e.addUnreportedJobs(before, 100)
				if err := before.Close(); err != nil {
					t.Fatal(err)
				}
				server := &rejectingServer{Server: e.server, rejected: ids[0], err: c.err}
				e.release = server
				e.start()
				e.until("the server has the other results", c.others, func() bool { return len(e.server.UnfinishedJobs()) == 1 })
				e.advance(10 * time.Minute)
				if n := server.stopRejecting(); n < 4 || n > c.most {
					t.Errorf("the finish was tried %d times, want 4 to %d", n, c.most)
				}
				e.until("the server has all results", time.Minute+c.others, func() bool { return len(e.server.UnfinishedJobs()) == 0 })
				e.awaitCleanup()
			})
		})
	}
}

// callsSince returns the calls at or after a time.
func callsSince(calls []time.Time, from time.Time) (late []time.Time) {
	for _, at := range calls {
		if !at.Before(from) {
			late = append(late, at)
		}
	}
	return late
}

// raceEnabled reports whether the race detector is enabled. With it, the test below uses a fiftieth of the results; `go tool task test`
// also runs it without the race detector.
var raceEnabled bool

// Ten thousand results survive a day without the server. Each is delivered exactly once, the first within 1 s of the server's return.
func TestTenThousandResultsSurviveDayLongOutage(t *testing.T) {
	for name, c := range map[string]struct {
		results int
		begin   func(e *env, results int) []msg.JobID
	}{
		"runner keeps running": {2_000, func(e *env, results int) []msg.JobID { // 5,760 heartbeats mention them
			e.start()
			e.advance(time.Second)
			ids := e.addUnreportedJobs(e.spool, results)
			e.server.Down(errNoAnswer)
			for _, job := range e.spool.Jobs() {
				e.root.Tell(msg.SpoolChanged{Execution: job.Execution})
			}
			return ids
		}},
		"runner starts during the outage": {10_000, func(e *env, results int) []msg.JobID {
			before, err := spool.Open(e.disk, spool.Options{})
			if err != nil {
				e.t.Fatal(err)
			}
			ids := e.addUnreportedJobs(before, results)
			if err := before.Close(); err != nil {
				e.t.Fatal(err)
			}
			e.server.Down(errNoAnswer)
			e.release = &registeredOnlyServer{Server: e.server}
			e.start()
			return ids
		}},
	} {
		t.Run(name, func(t *testing.T) {
			config := daemonMode(1)
			config.Enabled = false // no other jobs for this runner
			withEnv(t, config, func(e *env) {
				results, outage := c.results, 24*time.Hour
				if raceEnabled {
					results, outage = results/50, time.Hour
				}
				ids := c.begin(e, results)
				wentDown := time.Now()
				time.Sleep(outage)
				cameBack := time.Now()
				e.server.Script(fakes.Finish, slices.Repeat([]fakes.Call{{Delay: 5 * time.Millisecond}}, results)...)
				e.server.Down(nil)
				time.Sleep(time.Second)
				synctest.Wait()
				if f, ok := e.server.FinishOf(ids[0]); !ok {
					t.Errorf("1 s after the server's return the oldest result is missing; %d others arrived", len(callsSince(e.server.Calls(fakes.Finish), cameBack)))
				} else if f.Result != `{"exitCode":0}` {
					t.Errorf("the result is %q", f.Result)
				}
				for len(e.spool.Jobs()) > 0 && time.Since(cameBack) < time.Minute {
					time.Sleep(100 * time.Millisecond)
					if err := e.disk.SyncAll(); err != nil {
						t.Fatal(err)
					}
				}
				e.awaitCleanup()
				for n, id := range ids {
					f, ok := e.server.FinishOf(id)
					if want := fmt.Sprintf(`{"exitCode":%d}`, n); !ok || f.Result != want || f.Outcome != msg.Completed {
						t.Fatalf("finish of %s: %+v, want result %s", id, f, want)
					}
					if log, ended := e.logOf(id); log != fmt.Sprintf("job %d\n", n) || !ended {
						t.Fatalf("the log of %s is %q, ended: %v", id, log, ended)
					}
				}
				finishes := callsSince(e.server.Calls(fakes.Finish), cameBack)
				if n := len(finishes); n != results {
					t.Errorf("%d finishes for %d results", n, results)
				}
				if n := len(callsSince(finishes, cameBack)) - len(callsSince(finishes, cameBack.Add(time.Second))); n > 16*200 {
					t.Errorf("%d finishes in the first second: the server is flooded", n)
				}
				var requests int
				for _, op := range []string{fakes.Log, fakes.Finish, fakes.Register} {
					requests += len(callsSince(e.server.Calls(op), wentDown)) - len(callsSince(e.server.Calls(op), cameBack))
				}
				if perHour := requests / int(outage.Hours()); perHour > 3*3600 {
					t.Errorf("%d requests per hour during the outage", perHour)
				}
			})
		})
	}
}

func TestDrainingRunnerRegistersAgainToReport(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		server := &registeredOnlyServer{Server: e.server}
		e.release = server
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: 10 * time.Minute}})
		e.awaitRun(id)
		done := make(chan struct{}, 1)
		e.root.Tell(msg.Drain{Done: func() { done <- struct{}{} }})
		e.advance(time.Minute)
		e.server.Down(refusal(401, 0)) // the server restarts and knows no runner
		server.registered.Store(false)
		e.advance(20 * time.Second)
		e.server.Down(nil)
		e.awaitCompleted(id)
		e.until("the runner is drained", time.Minute, func() bool { return len(done) == 1 })
	})
}

// During an outage, the output of a script appears in the runner's log at once and does not count as an answer of the server.
func TestScriptOutputIsIndependentOfOutage(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		before, err := spool.Open(e.disk, spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		e.addUnreportedJobs(before, 100)
		if err := before.Close(); err != nil {
			t.Fatal(err)
		}
		for _, op := range []string{fakes.Log, fakes.Finish} {
			e.server.Script(op, slices.Repeat([]fakes.Call{{Err: errNoAnswer}}, 300)...)
		}
		e.start()
		var lines []string
		for n := range 40 {
			lines = append(lines, fmt.Sprintf("line %d", n))
		}
		script := e.server.Submit(fakes.Task{Image: "plugin", Kind: msg.Script, Behavior: fakes.Behavior{Lines: lines, LineInterval: 3 * time.Second}})
		e.awaitRun(script)
		e.advance(time.Second)
		began, known := time.Now(), len(e.log.text())
		for _, line := range lines {
			if !strings.Contains(e.log.text(), fmt.Sprintf(`"%s"`, line)) {
				t.Errorf("%v after the first line the runner's log has no %q", time.Since(began), line)
			}
			e.advance(3 * time.Second)
		}
		if n := strings.Count(e.log.text()[known:], "server available again"); n > 0 {
			t.Errorf("the end of the outage was logged %d times during it", n)
		}
		if n := len(callsSince(slices.Concat(e.server.Calls(fakes.Log), e.server.Calls(fakes.Finish)), began)); n > 2*120 {
			t.Errorf("%d requests in 2 min", n)
		}
		e.awaitCompleted(script)
		e.awaitCleanup()
	})
}
