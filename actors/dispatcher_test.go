package actors

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/spool/memfs"
)

// seeded is a dispatcher that starts with an idle executor.
type seeded struct {
	*dispatcher
	executor actorrt.Ref[msg.ToExecutor]
}

func (s seeded) Start(c *actorrt.Ctx[msg.ToDispatcher]) {
	s.dispatcher.Start(c)
	s.adoptionDone = true
	s.members["x"] = &member{slot: slot{id: "x", state: slotIdle}, ref: s.executor, seq: 2}
}

// recordingExecutor records the messages to an executor.
type recordingExecutor struct{ received chan msg.ToExecutor }

func (l recordingExecutor) Start(*actorrt.Ctx[msg.ToExecutor])                       {}
func (l recordingExecutor) Receive(_ *actorrt.Ctx[msg.ToExecutor], m msg.ToExecutor) { l.received <- m }

// withSeeded runs a test with a dispatcher that has the idle executor x, and with the messages that x receives.
func withSeeded(t *testing.T, test func(d actorrt.Ref[msg.ToDispatcher], store *spool.Spool, received chan msg.ToExecutor)) {
	synctest.Test(t, func(t *testing.T) {
		store, err := spool.Open(memfs.New(), spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		sys := actorrt.NewSystem(actorrt.Options{Log: zerolog.Nop()})
		defer func() { _ = sys.Stop(context.Background()) }()
		received := make(chan msg.ToExecutor, 10)
		x, err := actorrt.SpawnRoot(sys, actorrt.Spec[msg.ToExecutor]{Name: "x", New: func() actorrt.Behavior[msg.ToExecutor] { return recordingExecutor{received} }})
		if err != nil {
			t.Fatal(err)
		}
		d, err := actorrt.SpawnRoot(sys, actorrt.Spec[msg.ToDispatcher]{Name: "dispatcher", New: func() actorrt.Behavior[msg.ToDispatcher] {
			return seeded{&dispatcher{ExecutorDeps: ExecutorDeps{Spool: store}, config: msg.Config{Capacity: 1}, reporter: make(inbox[msg.ToReporter], 10)}, x}
		}})
		if err != nil {
			t.Fatal(err)
		}
		test(d, store, received)
	})
}

func TestStaleEvictionTimerIsIgnored(t *testing.T) {
	withSeeded(t, func(d actorrt.Ref[msg.ToDispatcher], _ *spool.Spool, received chan msg.ToExecutor) {
		d.Tell(msg.EvictionDue{Executor: "x", Seq: 1})
		synctest.Wait()
		if len(received) > 0 {
			t.Errorf("the executor received %#v", <-received)
		}
		d.Tell(msg.EvictionDue{Executor: "x", Seq: 2})
		synctest.Wait()
		if len(received) != 1 {
			t.Fatal("the timer of its newest assignment was ignored too")
		}
		if m, ok := (<-received).(msg.Retire); !ok {
			t.Errorf("the executor received %#v", m)
		}
	})
}

func TestOldestPendingAbortIsForgotten(t *testing.T) {
	id := func(n int) msg.ExecutionID { return msg.ExecutionID(fmt.Sprint("job-", n)) }
	withSeeded(t, func(d actorrt.Ref[msg.ToDispatcher], store *spool.Spool, _ chan msg.ToExecutor) {
		d.Tell(msg.Configured{}) // no capacity: jobs wait
		for n := range maxPendingAborts + 1 {
			d.Tell(msg.Abort{Execution: id(n)})
		}
		for _, n := range []int{0, 1, maxPendingAborts} {
			job := msg.Job{Execution: id(n)}
			if err := store.Add(msg.Offer{Job: job}); err != nil {
				t.Fatal(err)
			}
			d.Tell(msg.JobConfirmed{Job: job})
		}
		synctest.Wait()
		for n, aborted := range map[int]bool{0: false, 1: true, maxPendingAborts: true} {
			if rec, _ := store.Job(id(n)); (rec.Ending.Outcome == msg.Aborted) != aborted {
				t.Errorf("job of abort %d of %d ended as %q, want aborted: %v", n+1, maxPendingAborts+1, rec.Ending.Outcome, aborted)
			}
		}
	})
}

func TestLeastRecentlyCountedImageIsForgotten(t *testing.T) {
	withSeeded(t, func(d actorrt.Ref[msg.ToDispatcher], _ *spool.Spool, received chan msg.ToExecutor) {
		count := func(image, processes int) {
			d.Tell(msg.ImageFound{Executor: "x", ImageID: msg.ImageID(fmt.Sprint("sha256:", image))})
			d.Tell(msg.ProcessesCounted{Executor: "x", Seq: 2, Processes: processes})
		}
		for image := range maxBaselines {
			count(image, 1)
		}
		count(0, 1) // image 1 is the least recently counted now
		count(maxBaselines, 1)
		count(1, 2)
		synctest.Wait()
		if len(received) > 0 {
			t.Errorf("the forgotten image has a baseline: %#v", <-received)
		}
		count(0, 2)
		synctest.Wait()
		if len(received) != 1 {
			t.Error("a recently counted image was forgotten")
		}
	})
}

// Three crashes fail a job, so each must count against the right one.
func TestCrashCountsAgainstItsJob(t *testing.T) {
	innocent, culprit := msg.Job{Execution: "innocent"}, msg.Job{Execution: "culprit"}
	for _, row := range []struct {
		when     string
		messages []msg.ToDispatcher
		against  string
	}{
		{"an executor for a job cannot be started", []msg.ToDispatcher{
			msg.JobConfirmed{Job: culprit},
			msg.Configured{Config: msg.Config{Capacity: 1}},
		}, "culprit"},
		{"handling the end of a job fails", []msg.ToDispatcher{
			msg.JobConfirmed{Job: innocent},
			msg.DrainDispatch{Done: func() { panic("the drain fails") }},
			msg.Abort{Execution: "innocent"},
		}, ""},
	} {
		t.Run(row.when, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				crash := crashOf(t, append([]msg.ToDispatcher{msg.AdoptionEnded{}}, row.messages...), innocent, culprit)
				if crash.Subject != row.against {
					t.Errorf("%v counts against %q, want %q", crash, crash.Subject, row.against)
				}
			})
		})
	}
}

// crashOf returns the crash of a dispatcher that can start no executor.
func crashOf(t *testing.T, messages []msg.ToDispatcher, jobs ...msg.Job) *actorrt.Crash {
	store, err := spool.Open(memfs.New(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, job := range jobs {
		if err := store.Add(msg.Offer{Job: job}); err != nil {
			t.Fatal(err)
		}
	}
	sys := actorrt.NewSystem(actorrt.Options{Log: zerolog.Nop()})
	defer func() { _ = sys.Stop(context.Background()) }()
	d, err := actorrt.SpawnRoot(sys, actorrt.Spec[msg.ToDispatcher]{Name: "dispatcher", New: func() actorrt.Behavior[msg.ToDispatcher] {
		return &dispatcher{
			ExecutorDeps: ExecutorDeps{Spool: store, NewID: func() msg.ExecutorID { panic("no id") }},
			reporter:     make(inbox[msg.ToReporter], 10),
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		d.Tell(m)
	}
	synctest.Wait()
	select {
	case err := <-sys.Fatal():
		crash, _ := errors.AsType[*actorrt.Crash](err)
		return crash
	default:
		t.Fatal("nothing crashed")
		return nil
	}
}
