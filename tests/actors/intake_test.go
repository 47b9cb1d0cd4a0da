package actors_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	msg "runnerd/messages"
	"runnerd/spool/memfs"
	"runnerd/tests/fakes"
)

var (
	errNoAnswer = errors.New("connection reset")
	errNoSpace  = errors.New("no space left on device")
)

func refusal(status int, after time.Duration) error {
	return &msg.Refusal{Op: "test", Status: status, RetryAfter: after}
}

func TestEmptyLongPollIsRepeatedAtOnce(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		e.advance(500*time.Second + time.Second)
		if n := len(e.server.Calls(fakes.Reserve)); n != 11 {
			t.Errorf("%d reserves in 500 s, want 11", n)
		}
	})
}

func TestRetryAfterIsHonored(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.server.Script(fakes.Reserve, fakes.Call{Err: refusal(429, 2*time.Minute)})
		e.start()
		e.advance(5 * time.Minute)
		calls := e.server.Calls(fakes.Reserve)
		if wait := calls[1].Sub(calls[0]); wait < 2*time.Minute {
			t.Errorf("the runner asked again after %v", wait)
		}
	})
}

func TestFailingServerIsRetriedWithBackoff(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		e.advance(time.Second)
		e.server.Down(errNoAnswer)
		before := len(e.server.Calls(fakes.Register))
		e.advance(24 * time.Hour)
		if n := len(e.server.Calls(fakes.Register)) - before; n < 2500 || n > 3300 {
			t.Errorf("%d registrations were tried in a day without the server, want one about every 30 s", n)
		}
		e.server.Down(nil)
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
	})
}

func TestConfirmIsRepeatedUntilAnswered(t *testing.T) {
	for name, call := range map[string]fakes.Call{
		"500":         {Err: refusal(500, 0)},
		"no answer":   {Err: errNoAnswer},
		"answer lost": {AnswerErr: errNoAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.server.Script(fakes.Confirm, call, call, call)
				e.start()
				id := e.server.Submit(fakes.Task{Image: "plugin"})
				e.awaitCompleted(id)
				if n := len(e.server.Calls(fakes.Confirm)); n != 4 {
					t.Errorf("%d confirms, want 4", n)
				}
			})
		})
	}
}

func TestForeignJobIsDroppedAndNeverRuns(t *testing.T) {
	for name, status := range map[string]int{"another runner's": 409, "aborted": 410, "unknown": 404} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.server.Script(fakes.Confirm, fakes.Call{Err: refusal(status, 0)})
				e.start()
				id := e.server.Submit(fakes.Task{Image: "plugin"})
				e.until("the job is dropped", 30*time.Second, func() bool {
					return len(e.server.Calls(fakes.Confirm)) == 1 && len(e.spool.Jobs()) == 0
				})
				if e.executorOf(id) != "" {
					t.Error("the job ran")
				}
				e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
			})
		})
	}
}

// The job does not run under the execution id of the expired offer.
func TestOfferWithExpiredLeaseRunsOnlyOnce(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		e.server.Script(fakes.Confirm, fakes.Call{Delay: 90 * time.Second, Err: errNoAnswer})
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin"})
		e.awaitCompleted(id)
		e.until("the old offer is dropped", 5*time.Minute, func() bool { return len(e.spool.Jobs()) == 0 })
		if n := len(e.pluginHost.Runs()); n != 1 {
			t.Errorf("the job ran %d times", n)
		}
	})
}

func TestUnknownRunnerRegistersAgain(t *testing.T) {
	for _, op := range []string{fakes.Reserve, fakes.Heartbeat, fakes.Confirm, fakes.Log, fakes.Finish} {
		t.Run(op, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.start()
				e.advance(time.Second)
				e.server.Script(op, fakes.Call{Err: refusal(401, 0)})
				id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Lines: []string{"line"}, Duration: 20 * time.Second}})
				e.awaitCompleted(id)
				e.awaitCleanup()
				e.until("the runner has registered again", 2*time.Minute, func() bool { return len(e.server.Calls(fakes.Register)) == 2 })
				e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
			})
		})
	}
}

func TestRegistrationIsRetriedUntilItSucceeds(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.server.Script(fakes.Register, fakes.Call{Err: refusal(403, 0)}, fakes.Call{Err: errNoAnswer})
		e.start()
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
		if n := len(e.server.Calls(fakes.Register)); n != 3 {
			t.Errorf("%d registrations, want 3", n)
		}
	})
}

func TestDisabledRunnerTakesNoJobs(t *testing.T) {
	config := daemonMode(1)
	config.Enabled = false
	withEnv(t, config, func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin"})
		e.advance(10 * time.Minute)
		if n := len(e.server.Calls(fakes.Reserve)); n != 0 {
			t.Errorf("%d reserves", n)
		}
		config.Enabled = true
		e.configure(config)
		e.awaitCompleted(id)
	})
}

func TestLowDiskSpaceStopsReserving(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.lowWater = 1000
		e.disk.Space = 999
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin"})
		e.advance(5 * time.Minute)
		if n := len(e.server.Calls(fakes.Reserve)); n > 0 {
			t.Errorf("%d reserves", n)
		}
		e.stop()
		e.disk.Space = 1 << 20
		e.start()
		e.awaitCompleted(id)
	})
}

func TestLargeInputIsFetchedBeforeConfirm(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.server.Script(fakes.Fetch, fakes.Call{Err: errNoAnswer})
		e.start()
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin", InputByURL: true}))
		if log := e.log.text(); !strings.Contains(log, "fetch the input") || strings.Contains(log, "cannot be stored") {
			t.Errorf("the log does not name the failed fetch:\n%s", log)
		}
	})
}

// duplicatingServer is a server that sends every offer twice.
type duplicatingServer struct{ *fakes.Server }

func (s duplicatingServer) Reserve(ctx context.Context, most int, wait time.Duration) ([]msg.Offer, error) {
	offers, err := s.Server.Reserve(ctx, most, wait)
	return append(offers, offers...), err
}

func TestDuplicateOfferDoesNotDropJob(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.release = duplicatingServer{e.server}
		e.server.Script(fakes.Confirm, fakes.Call{}, fakes.Call{Delay: 5 * time.Second, Err: refusal(410, 0)})
		e.start()
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Duration: 10 * time.Second}}))
	})
}

func TestOfferOfFinishedTaskIsIgnored(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.release = &repeatingServer{Server: e.server}
		e.start()
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
		e.awaitCleanup()
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
		if log := e.log.text(); !strings.Contains(log, "ignoring offer of a job that is already done") || strings.Contains(log, "could not store an offered job") {
			t.Error("the offer was not ignored")
		}
		if n := len(e.pluginHost.Runs()); n != 2 {
			t.Errorf("%d runs of two tasks", n)
		}
	})
}

// repeatingServer is a server that repeats all earlier offers with each new one.
type repeatingServer struct {
	*fakes.Server
	earlier []msg.Offer
}

func (s *repeatingServer) Reserve(ctx context.Context, most int, wait time.Duration) ([]msg.Offer, error) {
	offers, err := s.Server.Reserve(ctx, most, wait)
	if len(offers) > 0 {
		s.earlier = append(s.earlier, offers...)
		offers = s.earlier
	}
	return offers, err
}

func TestForeignJobIsDroppedDespiteDiskFailure(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		failed := false
		e.disk.Before = func(op memfs.Op) error {
			if op.Kind == "rename" && op.Name == "jobs/job1-1" && !failed {
				failed = true
				return errNoSpace
			}
			return nil
		}
		e.server.Script(fakes.Confirm, fakes.Call{Err: refusal(409, 0)}, fakes.Call{Err: refusal(409, 0)})
		e.start()
		e.server.Submit(fakes.Task{Image: "plugin"})
		e.until("the disk has failed", time.Minute, func() bool { return failed })
		e.until("the spool no longer has the job", time.Minute, func() bool {
			_, there := e.spool.Job("job1-1")
			return !there
		})
	})
}

// drippingServer is a server whose first input arrives one byte every five seconds, without end.
type drippingServer struct {
	*fakes.Server
	fetches atomic.Int32
	gaveUp  atomic.Pointer[time.Time]
}

func (s *drippingServer) FetchInput(ctx context.Context, url string) (io.ReadCloser, error) {
	if s.fetches.Add(1) > 1 {
		return s.Server.FetchInput(ctx, url)
	}
	return io.NopCloser(readerFunc(func(p []byte) (int, error) {
		select {
		case <-time.After(5 * time.Second):
			p[0] = 'a'
			return 1, nil
		case <-ctx.Done():
			s.gaveUp.Store(new(time.Now()))
			return 0, context.Cause(ctx)
		}
	})), nil
}

type readerFunc func([]byte) (int, error)

func (r readerFunc) Read(p []byte) (int, error) { return r(p) }

func TestSlowInputIsGivenUpWithinLease(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		server := &drippingServer{Server: e.server}
		e.release = server
		e.start()
		began := time.Now()
		slow := e.server.Submit(fakes.Task{Image: "plugin", InputByURL: true})
		e.until("the fetch is given up", time.Minute, func() bool { return server.gaveUp.Load() != nil })
		if took := server.gaveUp.Load().Sub(began); took > 50*time.Second {
			t.Errorf("the fetch was given up after %v", took)
		}
		e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
		e.awaitCompleted(slow)
		if log := e.log.text(); !strings.Contains(log, "fetch the input: it did not arrive within 45s") {
			t.Errorf("the log does not say why:\n%s", log)
		}
	})
}

func TestUnstorableJobsMakeRunnerBackOff(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		e.start()
		e.advance(time.Second)
		full := true
		e.disk.Before = func(op memfs.Op) error {
			if full && op.Kind == "write" && strings.HasPrefix(op.Name, "jobs/.preallocated-") {
				return errNoSpace
			}
			return nil
		}
		var ids []msg.JobID
		for range 500 {
			ids = append(ids, e.server.Submit(fakes.Task{Image: "plugin"}))
		}
		e.advance(time.Minute)
		e.checkNotReady("could not store a job: ")
		offered := 0
		for _, job := range e.server.Jobs() {
			if job.Execution != "" {
				offered++
			}
		}
		if offered > 20 { // two for each reserve
			t.Errorf("%d jobs were reserved within a minute and none was stored", offered)
		}
		full = false
		for _, id := range ids[:5] {
			e.awaitCompleted(id)
		}
		if why := e.status().NotReady; len(why) > 0 {
			t.Errorf("not ready: %q", why)
		}
		for _, id := range ids {
			e.awaitCompleted(id)
		}
	})
}

func TestMissingSpaceIsReasonForNotReady(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.disk.NoInodes = true
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin"})
		e.advance(5 * time.Minute)
		if n := len(e.server.Calls(fakes.Reserve)); n > 0 {
			t.Errorf("%d reserves", n)
		}
		e.checkNotReady("0 inodes free")
		e.disk.SetNoInodes(false)
		e.awaitCompleted(id)
		e.until("the runner is ready", time.Second, func() bool { return len(e.status().NotReady) == 0 })
		e.disk.SetNoInodes(true)
		e.until("the runner is not ready", 2*time.Minute, func() bool { return len(e.status().NotReady) > 0 })
		e.disk.SetNoInodes(false) // and no job arrives
		e.until("the runner is ready", time.Minute, func() bool { return len(e.status().NotReady) == 0 })
	})
}
