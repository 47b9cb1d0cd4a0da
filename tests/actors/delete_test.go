package actors_test

import (
	"sync/atomic"
	"testing"
	"time"

	msg "runnerd/messages"
	"runnerd/spool/memfs"
	"runnerd/tests/fakes"
)

// The server deletes the runner.

func TestDeletedRunnerAbortsJobsAndUnregisters(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		e.start()
		jobs := []msg.JobID{
			e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Hangs: true}}),
			e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Hangs: true}}),
		}
		for _, id := range jobs {
			e.awaitRun(id)
		}
		e.server.SendEvent(msg.Delete{})
		for _, id := range jobs {
			e.awaitOutcome(id, msg.Aborted, "the server has deleted the runner")
		}
		e.until("the runner is deleted", time.Minute, e.deleted.Load)
		if n := len(e.server.Calls(fakes.Unregister)); n != 1 {
			t.Errorf("unregister was called %d times", n)
		}
		if len(e.alive()) > 0 || len(e.spool.Executors()) > 0 {
			t.Errorf("remaining executors: %v", e.alive())
		}
		e.advance(time.Hour)
		if n := len(e.server.Calls(fakes.Register)); n != 1 {
			t.Errorf("the runner has registered %d times", n)
		}
	})
}

func TestDeletedRunnerUnregistersOnlyOnce(t *testing.T) {
	for name, c := range map[string]struct {
		call         fakes.Call
		unregistered bool
	}{
		"accepted":       {unregistered: true},
		"status 503":     {call: fakes.Call{Err: refusal(503, 0)}},
		"no answer":      {call: fakes.Call{Delay: 10 * time.Second, Err: errNoAnswer}},
		"unknown runner": {call: fakes.Call{Err: refusal(401, 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.start()
				e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
				e.server.Script(fakes.Unregister, c.call)
				e.server.SendEvent(msg.Delete{})
				e.until("the runner is deleted", time.Minute, e.deleted.Load)
				if n := len(e.server.Calls(fakes.Unregister)); n != 1 || e.server.IsUnregistered() != c.unregistered {
					t.Errorf("unregister was called %d times", n)
				}
			})
		})
	}
}

func TestDeletedRunnerReportsWaitingJobsDespiteDiskFailure(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		var full atomic.Bool
		e.disk.Before = func(memfs.Op) error {
			if full.Load() {
				return errNoSpace
			}
			return nil
		}
		e.server.Script(fakes.Confirm, fakes.Call{Delay: 10 * time.Second})
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin"})
		e.until("the job is being confirmed", time.Minute, func() bool { return len(e.server.Calls(fakes.Confirm)) == 1 })
		e.configure(daemonMode(0))
		e.until("the job waits", time.Minute, func() bool { return len(e.pool().Waiting) == 1 })
		full.Store(true)
		e.server.SendEvent(msg.Delete{})
		e.advance(10 * time.Second)
		if e.deleted.Load() {
			t.Error("the runner was deleted before its job was reported")
		}
		full.Store(false)
		e.awaitOutcome(id, msg.Aborted, "the server has deleted the runner")
		e.until("the runner is deleted", time.Minute, e.deleted.Load)
	})
}

func TestDeletionContinuesAfterRestart(t *testing.T) {
	withEnv(t, daemonMode(2), func(e *env) {
		job := e.deleteDuringJob()
		e.stop()
		e.restartDeleted()
		if len(e.alive()) > 0 || len(e.spool.Executors()) > 0 {
			t.Errorf("remaining executors: %v", e.alive())
		}
		for _, rec := range e.spool.Jobs() {
			if rec.ID != job || rec.Ending.Outcome != msg.Aborted {
				t.Errorf("remaining job: %+v", rec)
			}
		}
	})
}

func TestDeletionAbortsExecutorsFoundLater(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		id := e.server.Submit(fakes.Task{Image: "plugin", Behavior: fakes.Behavior{Hangs: true}})
		e.awaitRun(id)
		e.stop()
		e.engine.Down(errNoAnswer)
		e.start()
		e.advance(time.Second)
		e.server.SendEvent(msg.Delete{})
		e.advance(time.Second)
		e.engine.Down(nil)
		e.awaitOutcome(id, msg.Aborted, "the server has deleted the runner")
		e.until("the runner is deleted", time.Minute, e.deleted.Load)
	})
}

func TestUnregisterWaitsUntilDeletionIsRecorded(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.start()
		e.advance(time.Second)
		e.config.setFailing(true)
		e.server.SendEvent(msg.Delete{})
		e.advance(5 * time.Minute)
		if e.deleted.Load() || e.server.IsUnregistered() {
			t.Error("the runner unregistered although a restart would register it again")
		}
		e.config.setFailing(false)
		e.until("the runner is deleted", time.Minute, e.deleted.Load)
	})
}

func TestDeletedRunnerNeverRegistersAtStart(t *testing.T) {
	for name, call := range map[string]fakes.Call{
		"killed after unregister":          {},
		"answer lost":                      {AnswerErr: errNoAnswer},
		"killed before unregister arrives": {Stalls: true},
	} {
		t.Run(name, func(t *testing.T) {
			withEnv(t, daemonMode(1), func(e *env) {
				e.server.Script(fakes.Unregister, call)
				e.start()
				e.awaitCompleted(e.server.Submit(fakes.Task{Image: "plugin"}))
				e.server.SendEvent(msg.Delete{})
				e.until("the runner unregisters", time.Minute, func() bool { return len(e.server.Calls(fakes.Unregister)) > 0 })
				e.stop()
				e.restartDeleted()
			})
		})
	}
}

func TestDeletedRunnerDoesNotRegisterAgain(t *testing.T) {
	withEnv(t, daemonMode(1), func(e *env) {
		e.deleteDuringJob()
		e.server.Script(fakes.Heartbeat, fakes.Call{Err: refusal(401, 0)})
		e.until("the runner is deleted", time.Minute, e.deleted.Load)
		if len(e.server.Calls(fakes.Register)) != 1 || len(e.server.Calls(fakes.Unregister)) > 0 || len(e.alive()) > 0 {
			t.Errorf("%d registrations; remaining executors: %v", len(e.server.Calls(fakes.Register)), e.alive())
		}
	})
}

// deleteDuringJob starts a job that does not end by itself, lets the server delete the runner, and waits until the deletion is recorded.
func (e *env) deleteDuringJob() (job msg.JobID) {
	e.t.Helper()
	e.image("stubborn", fakes.Plugin{IgnoresAbort: true, IgnoresTerm: true})
	e.start()
	job = e.server.Submit(fakes.Task{Image: "stubborn", Behavior: fakes.Behavior{Hangs: true}})
	e.awaitRun(job)
	e.server.SendEvent(msg.Delete{})
	e.until("the deletion is recorded", time.Second, e.config.isDeleted)
	return job
}

// restartDeleted starts a deleted runner again and waits until it has ended. The runner must neither register nor unregister.
func (e *env) restartDeleted() {
	e.t.Helper()
	e.deleted.Store(false)
	calls := func() int { return len(e.server.Calls(fakes.Register)) + len(e.server.Calls(fakes.Unregister)) }
	before := calls()
	e.start()
	e.until("the runner is deleted", time.Minute, e.deleted.Load)
	e.advance(time.Hour)
	if n := calls() - before; n > 0 {
		e.t.Errorf("the runner has registered or unregistered %d times", n)
	}
}
