package spool

import (
	"errors"
	"fmt"
	"slices"

	msg "runnerd/messages"
)

// Confirm records that the server confirmed the job. Not durable: after a loss the runner confirms again.
func (s *Spool) Confirm(id msg.ExecutionID) error {
	_, err := s.recordStep(id, func(rec msg.JobRecord) (*step, error) {
		if rec.Stage >= msg.Confirmed {
			return nil, nil
		}
		return &step{Kind: confirmed}, nil
	})
	return err
}

// Abort records that the job is to end, and why. It does nothing if there is a reason already or the job has ended.
func (s *Spool) Abort(id msg.ExecutionID, reason string) error {
	if reason == "" {
		reason = "no reason given"
	}
	_, err := s.recordStep(id, func(rec msg.JobRecord) (*step, error) {
		if rec.Abort != "" || rec.Stage >= msg.Ended {
			return nil, nil
		}
		return &step{Kind: aborted, Reason: reason}, nil
	})
	return err
}

// Crash records that an actor panicked while it handled the job, and returns the number of such panics.
func (s *Spool) Crash(id msg.ExecutionID, actor string) (int, error) {
	rec, err := s.recordStep(id, func(msg.JobRecord) (*step, error) {
		return &step{Kind: crashed, Actor: actor}, nil
	})
	return rec.Crashes, err
}

// End records how the job ended and returns the ending. If the job has ended already, it returns the first ending unchanged. Only
// StoreResult can complete a job.
func (s *Spool) End(id msg.ExecutionID, ending msg.Ending) (msg.Ending, error) {
	rec, err := s.recordStep(id, func(rec msg.JobRecord) (*step, error) {
		if rec.Stage >= msg.Ended {
			return nil, nil
		}
		if ending.Outcome == msg.Completed {
			return nil, errors.New("cannot be completed without a result")
		}
		return &step{Kind: ended, Ending: &ending}, nil
	})
	return rec.Ending, err
}

// Stopped records how an aborted or timed out job was stopped, and adds that to the ending's message. The ending then does not change
// any more, so that it can be reported. Stopped is idempotent: it returns the ending of the first call.
func (s *Spool) Stopped(id msg.ExecutionID, how string) (msg.Ending, error) {
	rec, err := s.recordStep(id, func(rec msg.JobRecord) (*step, error) {
		if !rec.Stopping() {
			return nil, nil
		}
		return &step{Kind: stopped, Reason: how, NoResult: !rec.HasResult}, nil
	})
	return rec.Ending, err
}

// CloseLog records that nothing will be added to the log.
func (s *Spool) CloseLog(id msg.ExecutionID) error {
	_, err := s.recordStep(id, func(rec msg.JobRecord) (*step, error) {
		if rec.Log.Closed {
			return nil, nil
		}
		return &step{Kind: logClosed, Size: rec.Log.Size}, nil
	})
	return err
}

// Finish records that the server accepted the finish. Not durable: the server accepts a repeated finish.
func (s *Spool) Finish(id msg.ExecutionID) error {
	_, err := s.recordStep(id, func(rec msg.JobRecord) (*step, error) {
		if rec.Stage == msg.Finished {
			return nil, nil
		}
		if rec.Stage < msg.Ended {
			return nil, errors.New("has not ended")
		}
		return &step{Kind: finished}, nil
	})
	return err
}

// HandOut records that the first byte of the job's input may leave for the executor; from then on the job must not go to another executor.
// It is durable on return; after an error the job is not handed out. A repeated hand-out to the same executor, after a proof that the
// plugin did not start the job, counts as another hand-out. HandOut also updates the executor's record.
func (s *Spool) HandOut(h msg.HandOut) error {
	id, to := h.Execution, h.Executor
	e, err := s.lockExecutor(to)
	if err != nil {
		return fmt.Errorf("hand out job %q: %w", id, err)
	}
	defer e.ioMu.Unlock()
	executor := s.executorRecord(e)
	assignJob(&executor, h)
	st := step{Kind: handedOut, At: h.From.UTC().Round(0), Executor: to, JobNumber: executor.Jobs, Key: h.SessionKey, Mask: h.Mask, StartTimes: h.StartTimes}
	if _, err := s.recordStep(id, func(rec msg.JobRecord) (*step, error) {
		if unfinished := s.unfinishedJob(to); unfinished != "" && unfinished != id {
			return nil, fmt.Errorf("executor %s still has job %q", to, unfinished)
		}
		if rec.Stage >= msg.Ended {
			return nil, errors.New("has ended")
		}
		if rec.Stage == msg.HandedOut && rec.Executor != to {
			return nil, fmt.Errorf("was handed out to executor %s", rec.Executor)
		}
		return &st, nil
	}); err != nil {
		return err
	}
	// The journal is authoritative: if the executor's record cannot be written, Open restores it from the journal.
	_ = s.writeExecutor(e, executor)
	s.publishExecutor(e, executor)
	return nil
}

// Delivered records that the plugin's side of the connection acknowledged the input. Not durable: no executor survives a loss of power.
func (s *Spool) Delivered(id msg.ExecutionID) error {
	_, err := s.recordStep(id, func(rec msg.JobRecord) (*step, error) {
		if rec.Stage != msg.HandedOut || rec.Delivered || rec.Unstarted {
			return nil, nil
		}
		return &step{Kind: delivered}, nil
	})
	return err
}

// NotStarted records a proof that the plugin did not start the job after the given hand-out, counted from 1. It does nothing if the
// job was handed out again meanwhile.
func (s *Spool) NotStarted(id msg.ExecutionID, handOut int) error {
	_, err := s.recordStep(id, func(rec msg.JobRecord) (*step, error) {
		if rec.Stage != msg.HandedOut || rec.Unstarted || rec.HandOuts != handOut {
			return nil, nil
		}
		return &step{Kind: unstarted}, nil
	})
	return err
}

// TakeBack takes a job back from an executor that has exited, so that it can go to another one. It does nothing unless NotStarted was
// recorded.
func (s *Spool) TakeBack(id msg.ExecutionID) error {
	_, err := s.recordStep(id, func(rec msg.JobRecord) (*step, error) {
		if rec.Stage != msg.HandedOut || !rec.Unstarted {
			return nil, nil
		}
		return &step{Kind: takenBack}, nil
	})
	return err
}

// recordStep writes the step that decide returns, if any, and returns the resulting record.
func (s *Spool) recordStep(id msg.ExecutionID, decide func(msg.JobRecord) (*step, error)) (msg.JobRecord, error) {
	j, err := s.lockJob(id)
	if err != nil {
		return msg.JobRecord{}, err
	}
	defer j.ioMu.Unlock()
	rec := s.jobRecord(j)
	st, err := decide(rec)
	if err != nil {
		return rec, fmt.Errorf("job %q: %w", id, err)
	}
	if st == nil {
		return rec, nil
	}
	return s.writeStep(j, rec, *st)
}

// writeStep writes a step to the disk and then updates the index.
func (s *Spool) writeStep(j *job, rec msg.JobRecord, st step) (msg.JobRecord, error) {
	before := rec
	if st.At.IsZero() {
		st.At = s.now()
	}
	steps := append(slices.Clone(j.unsynced), st)
	line, err := encode(steps)
	if err != nil {
		return before, err
	}
	if err := apply(&rec, st); err != nil {
		return before, err
	}
	if err := s.withReserve(func() error { return j.journal.writeLine(s, j.journal.synced, line, st.durable()) }); err != nil {
		return before, fmt.Errorf("write step %s of job %q: %w", st.Kind, rec.Execution, err)
	}
	j.unsynced = steps
	if st.durable() {
		j.unsynced = nil
	}
	s.publishJob(j, rec)
	return rec, nil
}
