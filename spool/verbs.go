package spool

import (
	"errors"
	"fmt"
	"slices"

	msg "runnerd/messages"
)

// The verbs that write a step.

// Confirm notes that the server said ours. Not durable: after a loss it is confirmed again.
func (s *Spool) Confirm(id msg.ExecutionID) error {
	_, err := s.note(id, func(rec msg.JobRecord) (*step, error) {
		if rec.Stage >= msg.Confirmed {
			return nil, nil
		}
		return &step{Step: confirmed}, nil
	})
	return err
}

// Abort notes that the job is to end, and why. The first reason stands; a job that has ended is left alone.
func (s *Spool) Abort(id msg.ExecutionID, reason string) error {
	if reason == "" {
		reason = "no reason was given"
	}
	_, err := s.note(id, func(rec msg.JobRecord) (*step, error) {
		if rec.Abort != "" || rec.Stage >= msg.Ended {
			return nil, nil
		}
		return &step{Step: aborted, Reason: reason}, nil
	})
	return err
}

// Crash counts an actor that panicked on the job, and returns how many have.
func (s *Spool) Crash(id msg.ExecutionID, actor string) (int, error) {
	rec, err := s.note(id, func(msg.JobRecord) (*step, error) {
		return &step{Step: crashed, Actor: actor}, nil
	})
	return rec.Crashes, err
}

// End decides how the job ended. The first ending stands: for a job that has one it changes nothing and returns that one.
// Completed is decided by its result alone.
func (s *Spool) End(id msg.ExecutionID, ending msg.Ending) (msg.Ending, error) {
	rec, err := s.note(id, func(rec msg.JobRecord) (*step, error) {
		if rec.Stage >= msg.Ended {
			return nil, nil
		}
		if ending.Outcome == msg.Completed {
			return nil, errors.New("it cannot be completed without a result")
		}
		return &step{Step: ended, Ending: &ending}, nil
	})
	return rec.Ending, err
}

// Stopped says how a job that was aborted or timed out in its executor came to its end: the message has it from then on, and the
// ending changes no more, so that it can be told. It may be repeated: what was said first stands, and is returned.
func (s *Spool) Stopped(id msg.ExecutionID, how string) (msg.Ending, error) {
	rec, err := s.note(id, func(rec msg.JobRecord) (*step, error) {
		if !rec.Stopping() {
			return nil, nil
		}
		return &step{Step: stopped, Reason: how, NoResult: !rec.HasResult}, nil
	})
	return rec.Ending, err
}

// EndLog says that nothing will be added to the log.
func (s *Spool) EndLog(id msg.ExecutionID) error {
	_, err := s.note(id, func(rec msg.JobRecord) (*step, error) {
		if rec.Log.Ended {
			return nil, nil
		}
		return &step{Step: logEnded, Size: rec.Log.Size}, nil
	})
	return err
}

// Finish notes that the server has accepted the finish. Not durable: a repeated finish is accepted again.
func (s *Spool) Finish(id msg.ExecutionID) error {
	_, err := s.note(id, func(rec msg.JobRecord) (*step, error) {
		if rec.Stage == msg.Finished {
			return nil, nil
		}
		if rec.Stage < msg.Ended {
			return nil, errors.New("it has not ended")
		}
		return &step{Step: finished}, nil
	})
	return err
}

// HandOut notes that the first byte of the job's input may leave for the executor: from here on it must go to no other. It is
// durable on return; after an error it is not handed out. Repeated for the same executor, after a proof that the plugin did
// not start, it is counted. The executor's record is changed with it.
func (s *Spool) HandOut(h msg.HandOut) error {
	id, to := h.Execution, h.Executor
	e, err := s.holdExecutor(to)
	if err != nil {
		return fmt.Errorf("hand out job %q: %w", id, err)
	}
	defer e.io.Unlock()
	given := s.executorRecord(e)
	give(&given, h)
	st := step{Step: handedOut, At: h.From.UTC().Round(0), Executor: to, Nth: given.Jobs, Key: h.Key, Mask: h.Mask}
	if _, err := s.note(id, func(rec msg.JobRecord) (*step, error) {
		if open := s.openJob(to); open != "" && open != id {
			return nil, fmt.Errorf("executor %s still has job %q", to, open)
		}
		if rec.Stage >= msg.Ended {
			return nil, errors.New("it has ended")
		}
		if rec.Stage == msg.HandedOut && rec.Executor != to {
			return nil, fmt.Errorf("executor %s has it", rec.Executor)
		}
		return &st, nil
	}); err != nil {
		return err
	}
	// The journal has decided. Should the executor's record not be written, Open restores it from the journal.
	_ = s.writeExecutor(e, given)
	s.publishExecutor(e, given)
	return nil
}

// Delivered notes that the plugin's machine has acknowledged the input. Not durable: no executor survives what loses it.
func (s *Spool) Delivered(id msg.ExecutionID) error {
	_, err := s.note(id, func(rec msg.JobRecord) (*step, error) {
		if rec.Stage != msg.HandedOut || rec.Delivered || rec.Unstarted {
			return nil, nil
		}
		return &step{Step: delivered}, nil
	})
	return err
}

// NotStarted notes a proof that the plugin did not start the job when it was handed out to it for that time, counted from 1. The
// next hand-out answers it: a proof that is noted later counts no more.
func (s *Spool) NotStarted(id msg.ExecutionID, handOut int) error {
	_, err := s.note(id, func(rec msg.JobRecord) (*step, error) {
		if rec.Stage != msg.HandedOut || rec.Unstarted || rec.HandOuts != handOut {
			return nil, nil
		}
		return &step{Step: unstarted}, nil
	})
	return err
}

// TakeBack lets a job that was proven not to have started go to another executor: its own has ended. Any other job is left
// alone.
func (s *Spool) TakeBack(id msg.ExecutionID) error {
	_, err := s.note(id, func(rec msg.JobRecord) (*step, error) {
		if rec.Stage != msg.HandedOut || !rec.Unstarted {
			return nil, nil
		}
		return &step{Step: takenBack}, nil
	})
	return err
}

// note writes the step that decide wants, if any, and returns the record as it then is.
func (s *Spool) note(id msg.ExecutionID, decide func(msg.JobRecord) (*step, error)) (msg.JobRecord, error) {
	j, err := s.hold(id)
	if err != nil {
		return msg.JobRecord{}, err
	}
	defer j.io.Unlock()
	rec := s.record(j)
	st, err := decide(rec)
	if err != nil {
		return rec, fmt.Errorf("job %q: %w", id, err)
	}
	if st == nil {
		return rec, nil
	}
	return s.write(j, rec, *st)
}

// write makes a step true, on the disk first.
func (s *Spool) write(j *job, rec msg.JobRecord, st step) (msg.JobRecord, error) {
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
	if err := s.mustFit(func() error { return j.journal.put(s, j.journal.safe, line, st.durable()) }); err != nil {
		return before, fmt.Errorf("journal %s of job %q: %w", st.Step, rec.Execution, err)
	}
	j.unsynced = steps
	if st.durable() {
		j.unsynced = nil
	}
	s.publish(j, rec)
	return rec, nil
}
