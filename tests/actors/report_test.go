package actors_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

func TestFinishFollowsLogUpToResult(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.server.Script(fakes.Log, fakes.Call{}, fakes.Call{Delay: 10 * time.Second})
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"10:00:00 one", "10:00:01 two"}, Duration: time.Second}})
		f := e.awaitCompleted(id)
		if f.LogBytes != len("10:00:00 one\n10:00:01 two\n") {
			t.Errorf("the server had %d bytes of log at the finish", f.LogBytes)
		}
	})
}

func TestFinishWaitsAtMostThirtySecondsForLog(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		for range 20 {
			e.server.Script(fakes.Log, fakes.Call{Err: refusal(500, 0)})
		}
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one"}, Duration: time.Second}})
		f := e.awaitCompleted(id)
		if elapsed := f.At.Sub(startTime(e)); f.LogBytes > 0 || elapsed < 30*time.Second || elapsed > 70*time.Second {
			t.Errorf("the job was finished after %v with %d bytes of log", elapsed, f.LogBytes)
		}
		e.awaitCleanup()
		if log, ended := e.logOf(id); log != "one\n" || !ended {
			t.Errorf("the log is %q, ended: %v", log, ended)
		}
	})
}

func TestLogReachesServerExactlyOnce(t *testing.T) {
	for name, calls := range map[string][]fakes.Call{
		"every second answer lost":  {{AnswerErr: errNoAnswer}, {}, {AnswerErr: errNoAnswer}, {}, {AnswerErr: errNoAnswer}},
		"every second request lost": {{Err: errNoAnswer}, {}, {Err: errNoAnswer}, {}, {Err: errNoAnswer}},
		"server overloaded":         {{Err: refusal(429, 7*time.Second)}, {Err: refusal(500, 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.server.Script(fakes.Log, calls...)
				var lines []string
				for n := range 300 {
					lines = append(lines, fmt.Sprintf("line %d %s", n, strings.Repeat("x", n*10)))
				}
				e.start()
				id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: lines, TrailingLines: lines}})
				e.awaitCompleted(id)
				e.awaitCleanup()
				want := strings.Join(append(lines, lines...), "\n") + "\n"
				if log, ended := e.logOf(id); log != want || !ended {
					t.Errorf("the log has %d bytes, want %d; ended: %v", len(log), len(want), ended)
				}
			})
		})
	}
}

func TestLogsOfConsecutiveJobsDoNotMix(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		var ids []msg.JobID
		for n := range 5 {
			ids = append(ids, e.server.Submit(fakes.Task{Image: "plugin", Secret: fmt.Sprintf("secret-%d", n), Behavior: fakes.Behavior{
				Lines: []string{fmt.Sprintf("job %d begins", n)}, TrailingLines: []string{fmt.Sprintf("job %d ends and still knows secret-0", n)}}}))
		}
		for _, id := range ids {
			e.awaitCompleted(id)
		}
		e.awaitCleanup()
		for n, id := range ids {
			log, _ := e.logOf(id)
			if want := fmt.Sprintf("job %d begins\njob %d ends and still knows ", n, n); !strings.HasPrefix(log, want) || strings.Contains(log, "secret-0") || strings.Count(log, "\n") != 2 {
				t.Errorf("the log of job %d is %q", n, log)
			}
		}
	})
}

func TestFinishIsRepeatedUntilAccepted(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.server.Script(fakes.Finish, fakes.Call{Err: refusal(500, 0)}, fakes.Call{AnswerErr: errNoAnswer}, fakes.Call{Stalls: false, Err: errNoAnswer})
		e.start()
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
		e.awaitCleanup()
	})
}

func TestRejectedFinishDoesNotBlockOthers(t *testing.T) {
	for _, status := range []int{400, 404, 409, 410, 413} {
		withEnv(t, daemonMode(1), func(e *env) {
			e.server.Script(fakes.Finish, fakes.Call{Err: &msg.Refusal{Op: "finish", Status: status}})
			e.start()
			refused := e.server.Submit(fakes.Task{Image: "plugin"})
			e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
			if rejected, err := e.disk.ReadDir("rejected"); err != nil || len(rejected) != 1 {
				t.Errorf("rejected/ has %v, error %v; want one job", rejected, err)
			}
			if _, finished := e.server.FinishOf(refused); finished {
				t.Error("the refused job is finished")
			}
			e.until("the spool is empty", time.Minute, func() bool { return len(e.spool.Jobs()) == 0 })
		})
	}
}

func TestRejectedLogDoesNotDelayFinish(t *testing.T) {
	for _, status := range []int{400, 404, 410, 413} {
		withEnv(t, daemonMode(1), func(e *env) {
			e.server.Script(fakes.Log, fakes.Call{Err: &msg.Refusal{Op: "log", Status: status}})
			e.start()
			e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one"}}}))
			e.until("the spool is empty", time.Minute, func() bool { return len(e.spool.Jobs()) == 0 })
		})
	}
}

func TestJobsEndedDuringOutageAreReported(t *testing.T) {
	withEnv(t, daemonMode(4), func(e *env) {
		e.start()
		var ids []msg.JobID
		for range 4 {
			ids = append(ids, e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one"}, Duration: time.Minute}}))
		}
		for _, id := range ids {
			e.awaitRun(id)
		}
		e.server.Down(errNoAnswer)
		e.advance(10 * time.Minute)
		e.server.Down(nil)
		for _, id := range ids {
			e.awaitCompleted(id)
		}
		e.awaitCleanup()
	})
}

// drain drains the runner and waits until it is done.
func (e *env) drain(within time.Duration) {
	e.t.Helper()
	done := make(chan struct{}, 2)
	asked := e.root
	e.root.Tell(msg.Drain{Done: func() { done <- struct{}{} }})
	e.until("the runner is drained", within, func() bool {
		if e.root != asked { // the runner was restarted meanwhile
			asked = e.root
			e.root.Tell(msg.Drain{Done: func() { done <- struct{}{} }})
		}
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
}

func TestDrainFinishesRunningJobsAndLeavesNothing(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		e.start()
		idle := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(idle)
		e.image("other", fakes.Plugin{})
		running := e.server.Submit(fakes.Task{Image: "other", Behavior: fakes.Behavior{Duration: 2 * time.Minute}})
		e.awaitRun(running)
		e.drain(3 * time.Minute)
		late := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(running)
		e.advance(time.Minute)
		if len(e.alive()) > 0 || len(e.spool.Executors()) > 0 || len(e.spool.Jobs()) > 0 {
			t.Errorf("remaining containers %v, executors %v, jobs %v", e.alive(), e.spool.Executors(), e.spool.Jobs())
		}
		if e.server.IsJobConfirmed(late) {
			t.Error("a job was taken while draining")
		}
	})
}

func TestDrainDoesNotWaitForUnreachableServer(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: time.Minute}})
		e.awaitRun(id)
		e.server.Down(errNoAnswer)
		e.drain(2 * time.Minute)
		e.server.Down(nil)
		e.restart()
		e.awaitCompleted(id)
	})
}

func TestDrainDoesNotWaitForUnconfirmedJob(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		s := newFaultInjector(point{})
		s.poison = crashOn[msg.ConfirmDone](1)
		e.scheduler = s
		for range 100 {
			e.server.Script(fakes.Confirm, fakes.Call{Err: errNoAnswer})
		}
		e.start()
		e.server.Submit(fakes.Task{Image: "plugin"})
		e.until("an actor has crashed", time.Minute, func() bool {
			jobs := e.spool.Jobs()
			return len(jobs) == 1 && jobs[0].Crashes == 1
		})
		e.drain(5 * time.Second)
	})
}

func TestDrainEndsOnceDespiteActorCrash(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		s := newFaultInjector(point{})
		e.scheduler = s
		e.start()
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
		var ended atomic.Int32
		e.root.Tell(msg.Drain{Done: func() { ended.Add(1) }})
		e.until("the runner is drained", time.Minute, func() bool { return ended.Load() > 0 })
		s.crashNext("poller")
		e.root.Tell(msg.Recovered{}) // is forwarded to the poller
		e.advance(time.Minute)
		crashed := strings.Contains(e.log.text(), "injected crash")
		if n := ended.Load(); n != 1 || !crashed {
			t.Errorf("the drain ended %d times; crashed: %v", n, crashed)
		}
	})
}

func TestDrainEndsWithLastReport(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.server.Script(fakes.Finish, fakes.Call{Delay: 17*time.Second + 37*time.Millisecond})
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin"})
		e.until("the job is being reported", time.Minute, func() bool { return len(e.server.Calls(fakes.Finish)) > 0 })
		var ended atomic.Pointer[time.Time]
		e.root.Tell(msg.Drain{Done: func() { now := time.Now(); ended.Store(&now) }})
		e.until("the runner is drained", time.Minute, func() bool { return ended.Load() != nil })
		if late := ended.Load().Sub(e.awaitFinish(id).At); late != 0 { // on the bubble's clock, computation takes no time
			t.Errorf("the drain ended %v after the last report", late)
		}
	})
}

func TestDrainEndsOnceDespiteDeletion(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		var ended atomic.Int32
		e.root.Tell(msg.Drain{Done: func() { ended.Add(1) }})
		e.until("the runner is drained", time.Minute, func() bool { return ended.Load() > 0 })
		e.server.SendEvent(msg.Delete{})
		e.until("the runner unregisters", time.Minute, func() bool { return len(e.server.Calls(fakes.Unregister)) > 0 })
		e.advance(time.Second)
		if n := ended.Load(); n != 1 {
			t.Errorf("the drain ended %d times", n)
		}
	})
}

func TestStatusExplainsMissingReadiness(t *testing.T) {
	status := func(e *env) msg.Status {
		s, err := actorrt.Ask(context.Background(), e.root, func(reply func(msg.Status)) msg.ToRunner { return msg.StatusRequested{Reply: reply} })
		if err != nil {
			t.Fatal(err)
		}
		if reported := *e.notReady.Load(); !slices.Equal(reported, s.NotReady) {
			t.Errorf("ReadyChanged got %q, the status has %q", reported, s.NotReady)
		}
		return s
	}
	withEnv(t, daemonMode(1), func(e *env) {
		e.server.Script(fakes.Register, fakes.Call{Err: refusal(403, 0)})
		e.engine.Down(errNoAnswer)
		e.start()
		e.advance(100 * time.Millisecond)
		s := status(e)
		if s.State != "recovering" || len(s.NotReady) != 2 || !strings.Contains(s.NotReady[0], "connection reset") || !strings.Contains(s.NotReady[1], "403") {
			t.Errorf("status: %+v", s)
		}
		e.engine.Down(nil)
		e.advance(10 * time.Second)
		if s := status(e); s.State != "online" || len(s.NotReady) > 0 {
			t.Errorf("status: %+v", s)
		}
		e.server.Script(fakes.Heartbeat, fakes.Call{Err: refusal(500, 0)})
		e.advance(15 * time.Second)
		if s := status(e); len(s.NotReady) != 1 || !strings.Contains(s.NotReady[0], "500") {
			t.Errorf("status without a heartbeat: %+v", s)
		}
		e.advance(15 * time.Second)
		if s := status(e); len(s.NotReady) > 0 {
			t.Errorf("status after the next heartbeat: %+v", s)
		}
	})
}

func TestConfirmAnsweredAfterDrainStartsNothing(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.server.Script(fakes.Confirm, fakes.Call{Delay: 5 * time.Second})
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin"})
		e.advance(time.Second)
		e.drain(time.Minute)
		e.advance(time.Minute)
		if n := e.createdCount(); n > 0 {
			t.Errorf("%d executors were created after the drain", n)
		}
		e.restart()
		e.awaitCompleted(id)
	})
}

func TestLineTimesSurviveRestart(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one", "two"}, Duration: time.Minute, TrailingLines: []string{"three"}}})
		e.awaitRun(id)
		e.advance(10 * time.Second)
		e.restart()
		e.awaitCompleted(id)
		e.awaitCleanup()
		log, _ := e.server.LogOf(id)
		if output, timed := fakes.JobOutput(log); !timed || output != "one\ntwo\nthree\n" {
			t.Errorf("the log is %q", log)
		}
		if !strings.Contains(log, ":00:00.001Z one\n") || !strings.Contains(log, ":01:00.0") {
			t.Errorf("wrong timestamps in %q", log)
		}
	})
}

func TestLogTruncationNoticeSurvivesRestart(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.logLimit = 100
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{
			Lines: append(slices.Repeat([]string{"01:23:45.6"}, 10), "left out"), Duration: time.Minute, TrailingLines: []string{"left out too"}}})
		e.awaitRun(id)
		e.advance(10 * time.Second)
		e.restart()
		e.awaitCompleted(id)
		e.awaitCleanup()
		want := strings.Repeat("01:23:45.6\n", 10)[:100] + "\n… log truncated: the limit is 100 bytes, see --max-log\n"
		if log, ended := e.logOf(id); log != want || !ended {
			t.Errorf("the log is %q, want %q", log, want)
		}
		next := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"10:00:00 the next one"}}})
		e.awaitCompleted(next)
		e.awaitCleanup()
		if log, _ := e.logOf(next); log != "10:00:00 the next one\n" {
			t.Errorf("the log of the next job is %q", log)
		}
	})
}

// stuckLogServer does not store the next log chunks, as many as remaining says, and answers them with answers().
type stuckLogServer struct {
	*fakes.Server
	answers   func() (int64, error)
	remaining atomic.Int64
}

func (s *stuckLogServer) AppendLog(ctx context.Context, job msg.JobID, offset int64, text []byte, total int64) (int64, error) {
	if len(text) > 0 && s.remaining.Add(-1) >= 0 {
		return s.answers()
	}
	return s.Server.AppendLog(ctx, job, offset, text, total)
}

func TestServerRejectingLogIsNotFlooded(t *testing.T) {
	second := false
	for name, answers := range map[string]func() (int64, error){
		"success with offset 0": func() (int64, error) { return 0, nil },
		"alternating offsets": func() (int64, error) {
			second = !second
			if second {
				return 0, &msg.Refusal{Op: fakes.Log, Status: 409, Offset: 3}
			}
			return 0, &msg.Refusal{Op: fakes.Log, Status: 409, Offset: 0}
		},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				server := &stuckLogServer{Server: e.server, answers: answers}
				const most = 1000
				server.remaining.Store(most)
				e.release = server
				e.start()
				id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"one", "two"}}})
				e.awaitCompleted(id)
				e.advance(10 * time.Second)
				if n := most - server.remaining.Load(); n < 2 || n > 300 {
					t.Errorf("the log was sent %d times", n)
				}
				server.remaining.Store(0)
				e.awaitCleanup()
				if log, ended := e.logOf(id); log != "one\ntwo\n" || !ended {
					t.Errorf("the log is %q, ended: %v", log, ended)
				}
			})
		})
	}
}
