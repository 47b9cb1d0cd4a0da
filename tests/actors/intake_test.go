package actors_test

import (
	"context"
	"errors"
	"strings"
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

func TestAnEmptyLongPollIsRepeatedAtOnceAndNeverTwiceAtATime(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		w.passes(500*time.Second + time.Second)
		if n := len(w.server.Calls(fakes.Reserve)); n != 11 {
			t.Errorf("%d reserves in 500 s, want 11", n)
		}
	})
}

func TestRetryAfterIsObeyed(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.server.Script(fakes.Reserve, fakes.Call{Fails: refusal(429, 2*time.Minute)})
		w.start()
		w.passes(5 * time.Minute)
		calls := w.server.Calls(fakes.Reserve)
		if wait := calls[1].Sub(calls[0]); wait < 2*time.Minute {
			t.Errorf("it asked again after %v", wait)
		}
	})
}

func TestAServerThatFailsIsAskedEverMoreSlowly(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.start()
		w.passes(time.Second)
		w.server.Down(errNoAnswer)
		before := len(w.server.Calls(fakes.Register))
		w.passes(24 * time.Hour)
		if n := len(w.server.Calls(fakes.Register)) - before; n < 2500 || n > 3300 {
			t.Errorf("%d registrations were tried in a day without the server, want one about every 30 s", n)
		}
		w.server.Down(nil)
		w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
	})
}

func TestAConfirmIsRepeatedUntilTheServerAnswers(t *testing.T) {
	for name, call := range map[string]fakes.Call{
		"500":             {Fails: refusal(500, 0)},
		"no answer":       {Fails: errNoAnswer},
		"the answer lost": {AnswerLost: errNoAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.server.Script(fakes.Confirm, call, call, call)
				w.start()
				id := w.server.Submit(fakes.Task{Image: "plugin"})
				w.completes(id)
				if n := len(w.server.Calls(fakes.Confirm)); n != 4 {
					t.Errorf("%d confirms, want 4", n)
				}
			})
		})
	}
}

func TestAJobThatIsNotOursIsDroppedAndNeverRuns(t *testing.T) {
	for name, status := range map[string]int{"somebody else's": 409, "aborted": 410, "unknown": 404} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.server.Script(fakes.Confirm, fakes.Call{Fails: refusal(status, 0)})
				w.start()
				id := w.server.Submit(fakes.Task{Image: "plugin"})
				w.until("it is dropped", 30*time.Second, func() bool {
					return len(w.server.Calls(fakes.Confirm)) == 1 && len(w.spool.Jobs()) == 0
				})
				if w.ranIn(id) != "" {
					t.Error("it ran")
				}
				w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
			})
		})
	}
}

func TestAnOfferWhoseLeaseRanOutIsNotRunUnderItsOldName(t *testing.T) {
	inWorld(t, daemonMode(2), func(w *world) {
		w.server.Script(fakes.Confirm, fakes.Call{Takes: 90 * time.Second, Fails: errNoAnswer})
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin"})
		w.completes(id)
		w.until("the old offer is dropped", 5*time.Minute, func() bool { return len(w.spool.Jobs()) == 0 })
		if n := len(w.site.Runs()); n != 1 {
			t.Errorf("it ran %d times", n)
		}
	})
}

func TestARunnerThatTheServerDoesNotKnowRegistersAgain(t *testing.T) {
	for _, op := range []string{fakes.Reserve, fakes.Heartbeat, fakes.Confirm, fakes.Log, fakes.Finish} {
		t.Run(op, func(t *testing.T) {
			inWorld(t, daemonMode(1), func(w *world) {
				w.start()
				w.passes(time.Second)
				w.server.Script(op, fakes.Call{Fails: refusal(401, 0)})
				id := w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Prints: []string{"line"}, Works: 20 * time.Second}})
				w.completes(id)
				w.nothingIsLeft()
				w.until("it has registered again", 2*time.Minute, func() bool { return len(w.server.Calls(fakes.Register)) == 2 })
				w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
			})
		})
	}
}

func TestARegistrationIsTriedUntilItSucceeds(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.server.Script(fakes.Register, fakes.Call{Fails: refusal(403, 0)}, fakes.Call{Fails: errNoAnswer})
		w.start()
		w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
		if n := len(w.server.Calls(fakes.Register)); n != 3 {
			t.Errorf("%d registrations", n)
		}
	})
}

func TestARunnerThatIsDisabledTakesNoJobs(t *testing.T) {
	config := daemonMode(1)
	config.Enabled = false
	inWorld(t, config, func(w *world) {
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin"})
		w.passes(10 * time.Minute)
		if n := len(w.server.Calls(fakes.Reserve)); n != 0 {
			t.Errorf("%d reserves", n)
		}
		config.Enabled = true
		w.configure(config)
		w.completes(id)
	})
}

func TestBelowTheLowWaterMarkNoJobIsReserved(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.lowWater = 1000
		w.disk.Space = 999
		w.start()
		id := w.server.Submit(fakes.Task{Image: "plugin"})
		w.passes(5 * time.Minute)
		if n := len(w.server.Calls(fakes.Reserve)); n > 0 {
			t.Errorf("%d reserves", n)
		}
		w.stop()
		w.disk.Space = 1 << 20
		w.start()
		w.completes(id)
	})
}

func TestALargeInputIsFetchedBeforeTheJobIsConfirmed(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.server.Script(fakes.Fetch, fakes.Call{Fails: errNoAnswer})
		w.start()
		w.completes(w.server.Submit(fakes.Task{Image: "plugin", Fetched: true}))
		if log := w.log.text(); !strings.Contains(log, "fetch the input") || strings.Contains(log, "cannot be stored") {
			t.Errorf("it does not say that the input could not be fetched:\n%s", log)
		}
	})
}

// insistent is a server that says everything twice.
type insistent struct{ *fakes.Server }

func (s insistent) Reserve(ctx context.Context, most int, wait time.Duration) ([]msg.Offer, error) {
	offers, err := s.Server.Reserve(ctx, most, wait)
	return append(offers, offers...), err
}

func TestAJobThatIsOfferedTwiceIsNotDroppedWithTheSecondOffer(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		w.release = insistent{w.server}
		w.server.Script(fakes.Confirm, fakes.Call{}, fakes.Call{Takes: 5 * time.Second, Fails: refusal(410, 0)})
		w.start()
		w.completes(w.server.Submit(fakes.Task{Image: "plugin", Errand: fakes.Errand{Works: 10 * time.Second}}))
	})
}

func TestAnOfferOfATaskThatIsOverIsNoErrorOfTheRunners(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		late := &belated{Server: w.server}
		w.release = late
		w.start()
		w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
		w.nothingIsLeft()
		w.completes(w.server.Submit(fakes.Task{Image: "plugin"}))
		if log := w.log.text(); !strings.Contains(log, "offer of a job that is over") || strings.Contains(log, "is not taken") {
			t.Error("it is not passed over")
		}
		if n := len(w.site.Runs()); n != 2 {
			t.Errorf("%d runs of two tasks", n)
		}
	})
}

// belated is a server that offers with each job those before it once more.
type belated struct {
	*fakes.Server
	before []msg.Offer
}

func (s *belated) Reserve(ctx context.Context, most int, wait time.Duration) ([]msg.Offer, error) {
	offers, err := s.Server.Reserve(ctx, most, wait)
	if len(offers) > 0 {
		s.before = append(s.before, offers...)
		offers = s.before
	}
	return offers, err
}

func TestAJobThatIsNotOursLeavesTheSpoolThoughTheDiskFailsAtFirst(t *testing.T) {
	inWorld(t, daemonMode(1), func(w *world) {
		failed := false
		w.disk.Before = func(op memfs.Op) error {
			if op.Verb == "rename" && op.Name == "jobs/job1-1" && !failed {
				failed = true
				return errNoSpace
			}
			return nil
		}
		w.server.Script(fakes.Confirm, fakes.Call{Fails: refusal(409, 0)}, fakes.Call{Fails: refusal(409, 0)})
		w.start()
		w.server.Submit(fakes.Task{Image: "plugin"})
		w.until("the disk has failed", time.Minute, func() bool { return failed })
		w.until("the spool has nothing of it", time.Minute, func() bool {
			_, there := w.spool.Job("job1-1")
			return !there
		})
	})
}
