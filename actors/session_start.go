package actors

import (
	"time"

	msg "runnerd/messages"
)

// How a session begins: new, or restored from the spool.

// newSession returns the session of a new executor.
func newSession(rec msg.ExecutorRecord, limits msg.ExecutorLimits, diskLimit int64) session {
	return session{id: rec.ID, mode: rec.Mode, image: rec.Key.Image, sdk: rec.SDK, limits: limits, diskLimit: diskLimit, inspected: true}
}

// spoolState is what the spool has about an executor that an earlier actor ran.
type spoolState struct {
	record          msg.ExecutorRecord
	job             msg.JobRecord // its newest job; empty if the spool no longer has it
	runnerRestarted bool          // the runner has restarted since
	now             time.Time
}

// restoredSession returns the session of an executor that an earlier actor ran. Its plugin is served while its container is inspected.
func restoredSession(k spoolState, limits msg.ExecutorLimits, diskLimit int64) session {
	s := newSession(k.record, limits, diskLimit)
	s.inspected, s.attached, s.runnerRestarted = false, true, k.runnerRestarted
	s.jobs, s.last, s.previous, s.retireReason = k.record.Jobs, k.record.Job, k.record.PreviousJob, k.record.Retired
	s.polled = !k.record.IdleSince.IsZero()
	s.notification.version, s.notification.sent, s.notification.due = k.record.Version, k.record.Notified, true
	ours := k.job.Execution != "" && k.job.Executor == k.record.ID
	switch {
	case ours && k.job.Stage == msg.HandedOut:
		s.state, s.job = running, restoredJob(k.job)
		s.job.remainingRun = remainingRunTime(runLimit(limits, k.job.Job), k.job.HandedOutAt, k.now)
		s.job.abortReason = k.job.Abort
		s.notification.due = k.job.Unstarted
	case ours && k.job.Stopping():
		s.state, s.job = stopping, restoredJob(k.job)
		s.job.ending, s.job.stop = &k.job.Ending, &stopSequence{resumes: true, elapsed: max(0, k.now.Sub(k.job.EndedAt))}
		if s.retireReason == "" {
			s.retireReason = "its job was " + string(k.job.Ending.Outcome)
		}
	case s.jobs == 0:
		s.state = starting
	default:
		s.state = finishing
		if s.retireReason == "" {
			s.retireReason = retirementReason(k)
		}
	}
	return s
}

func restoredJob(rec msg.JobRecord) openJob {
	return openJob{Job: rec.Job, handOut: handedOut, delivered: rec.Delivered, unstarted: rec.Unstarted, handOuts: rec.HandOuts}
}

// retirementReason says why a restored executor takes no more jobs, or "" if it may take more.
func retirementReason(k spoolState) string {
	switch {
	case k.record.Mode != msg.Daemon:
		return "executor was started for one job only"
	case k.job.Stage >= msg.Ended && k.job.Ending.Outcome != msg.Completed:
		return "its job was " + string(k.job.Ending.Outcome)
	}
	return ""
}

// reconnectGrace is how long plugins may take after a restart of the runner to ask by themselves, before an event makes them ask (rule 7;
// the Go SDK asks within 11 s). repollGrace is the same after a restart of only the actor, during which the gateway stayed up.
const (
	reconnectGrace = 12 * time.Second
	repollGrace    = 2 * time.Second
)

// begin returns the session and the effects with which it starts.
func begin(s session, hasFile bool) (session, []effect) {
	t := &transition{session: s}
	if !t.attached {
		t.enter(pulling)
		return t.session, t.effects
	}
	t.do(listen{})
	t.do(findContainer{})
	t.limit(t.limitOf(t.state))
	runnerRestarted := t.runnerRestarted
	t.runnerRestarted = runnerRestarted && t.job.handOut == handedOut // the file of a later job says nothing about this restart
	switch {
	case t.job.handOut == handedOut:
		t.readResultFile()
	case runnerRestarted && hasFile: // the plugin gave up its GET
	case runnerRestarted:
		t.delayNotify(reconnectGrace)
	default:
		t.delayNotify(repollGrace)
	}
	t.notify()
	if t.state == finishing {
		t.expectPoll()
	}
	return t.session, t.effects
}
