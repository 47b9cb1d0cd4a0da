package actors

import (
	"time"

	msg "runnerd/messages"
)

// How a session begins: new, or as the spool knows it.

// newSession is an executor that never was.
func newSession(rec msg.ExecutorRecord, limits msg.ExecutorLimits, diskLimit int64) session {
	return session{id: rec.ID, mode: rec.Mode, image: rec.Key.Image, limits: limits, diskLimit: diskLimit, found: true}
}

// spoolState is what the spool knows of an executor that has lived before.
type spoolState struct {
	record   msg.ExecutorRecord
	job      msg.JobRecord // its newest; none: the spool has it no more
	returned bool          // the runner was away since
	now      time.Time
}

// restoredSession is an executor that has lived before. What the engine has of it is found out while it is served already.
func restoredSession(k spoolState, limits msg.ExecutorLimits, diskLimit int64) session {
	s := newSession(k.record, limits, diskLimit)
	s.found, s.attached, s.returned = false, true, k.returned
	s.jobs, s.last, s.before, s.retire = k.record.Jobs, k.record.Job, k.record.Before, k.record.Retired
	s.polled = !k.record.IdleSince.IsZero()
	s.notification.version, s.notification.sent, s.notification.due = k.record.Version, k.record.Notified, true
	ours := k.job.Execution != "" && k.job.Executor == k.record.ID
	switch {
	case ours && k.job.Stage == msg.HandedOut:
		s.state, s.job = running, restoredJob(k.job)
		s.job.runLeft = remainingRunTime(runLimit(limits, k.job.Job), k.job.HandedOutAt, k.now)
		s.job.abort = k.job.Abort
		s.notification.due = k.job.Unstarted
	case ours && k.job.Stopping():
		s.state, s.job = stopping, restoredJob(k.job)
		s.job.ending, s.job.stop = &k.job.Ending, &stopSequence{resumes: true, elapsed: max(0, k.now.Sub(k.job.EndedAt))}
		if s.retire == "" {
			s.retire = "its job was " + string(k.job.Ending.Outcome)
		}
	case s.jobs == 0:
		s.state = starting
	default:
		s.state = finishing
		if s.retire == "" {
			s.retire = retirementReason(k)
		}
	}
	return s
}

func restoredJob(rec msg.JobRecord) openJob {
	return openJob{Job: rec.Job, stage: handedOut, delivered: rec.Delivered, unstarted: rec.Unstarted, handOuts: rec.HandOuts}
}

// retirementReason says why an executor that was found again takes no more jobs.
func retirementReason(k spoolState) string {
	switch {
	case k.record.Mode != msg.Daemon:
		return "it runs one job only, and that is over"
	case k.job.Stage >= msg.Ended && k.job.Ending.Outcome != msg.Completed:
		return "its job was " + string(k.job.Ending.Outcome)
	}
	return ""
}

// How long executors may come back by themselves before an event makes them: after a return of the runner (rule 7: Go within 11 s), and
// after a restart of the actor, while the gateway went on.
const (
	reconnectGrace = 12 * time.Second
	repollGrace    = 2 * time.Second
)

// begin is what is to be done first.
func begin(s session, hasFile bool) (session, []effect) {
	t := &transition{session: s}
	if !t.attached {
		t.enter(pulling)
		return t.session, t.effects
	}
	t.do(listen{})
	t.do(findContainer{})
	t.limit(t.limitOf(t.state))
	returned := t.returned
	t.returned = returned && t.job.stage == handedOut // the file of a later job says nothing about this return
	switch {
	case t.job.stage == handedOut:
		t.readResultFile()
	case returned && hasFile: // it proves that the plugin gave up
	case returned:
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
