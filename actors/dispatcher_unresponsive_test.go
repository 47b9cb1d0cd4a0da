package actors

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
	"runnerd/spool"
)

func TestExecutorIsReportedWhenPluginStopsPolling(t *testing.T) {
	idleBefore := msg.ExecutorRecord{ID: "x", Mode: msg.Daemon, Job: "before", Jobs: 1, IdleSince: time.Unix(1, 0)}
	adopted := func(rec msg.ExecutorRecord) session {
		s, effects := begin(restoredSession(spoolState{record: rec, runnerRestarted: true}, msg.ExecutorLimits{}, 0), false)
		if !slices.Contains(effects, effect(startTimer{pollTimer, pollTimeout, msg.PollDue{}})) {
			t.Fatalf("no poll timer is started: %v", effects)
		}
		s, _ = step(s, msg.Found{Container: &msg.Container{ID: "x", State: msg.ContainerRunning}})
		return s
	}
	polls := func(s session) session {
		s, _ = step(s, msg.SecretRequested{Request: 1})
		s, _ = step(s, msg.ResultsCleared{})
		return s
	}
	neverIdle := idleBefore
	neverIdle.IdleSince = time.Time{}
	stoppedPolling, _ := step(polls(adopted(idleBefore)), msg.RequestEnded{Request: 1})
	assigned, _ := step(adopted(idleBefore), msg.Assign{Job: msg.Job{Execution: "next"}})
	for _, row := range []struct {
		when string
		in   session
		want bool
	}{
		{"idle before a restart of the runner", adopted(idleBefore), true},
		{"idle, its GET has ended", stoppedPolling, true},
		{"a job was assigned", assigned, true},
		{"its GET waits", polls(adopted(idleBefore)), false},
		{"plugin may be busy with the previous job", adopted(neverIdle), false},
	} {
		after, effects := step(row.in, msg.PollDue{})
		if got := slices.Contains(effects, effect(tellNotPolling{})); got != row.want || after.job.handOut != noJob {
			t.Errorf("%s: reported: %v, want %v: %v", row.when, got, row.want, effects)
		}
	}
}

func TestUnresponsiveExecutorIsEvictedUntilIdleAgain(t *testing.T) {
	for _, row := range []struct {
		when  string
		sends []msg.ToDispatcher
		want  msg.ToExecutor
	}{
		{"it stopped polling", []msg.ToDispatcher{msg.NotPolling{Executor: "x", Seq: 2}}, msg.Retire{Reason: "a waiting job that cannot use it needs its slot"}},
		{"it stopped polling before its newest job", []msg.ToDispatcher{msg.NotPolling{Executor: "x", Seq: 1}}, nil},
		{"it polls again", []msg.ToDispatcher{msg.NotPolling{Executor: "x", Seq: 2}, msg.Idle{Executor: "x", Seq: 2, Since: time.Now()}}, msg.Assign{Job: msg.Job{Execution: "job"}, Seq: 3}},
	} {
		t.Run(row.when, func(t *testing.T) {
			withSeeded(t, func(d actorrt.Ref[msg.ToDispatcher], store *spool.Spool, received chan msg.ToExecutor) {
				job := msg.Job{Execution: "job"}
				if err := store.Add(msg.Offer{Job: job}); err != nil {
					t.Fatal(err)
				}
				d.Tell(msg.NotIdle{Executor: "x", Seq: 2}) // so that Configured does not start its eviction timer
				d.Tell(msg.Configured{Config: msg.Config{Capacity: 1, Eviction: time.Hour}})
				for _, m := range row.sends {
					d.Tell(m)
				}
				d.Tell(msg.JobConfirmed{Job: job})
				synctest.Wait()
				var got msg.ToExecutor
				if len(received) > 0 {
					got = <-received
				}
				if got != row.want {
					t.Errorf("the executor received %#v, want %#v", got, row.want)
				}
			})
		})
	}
}
