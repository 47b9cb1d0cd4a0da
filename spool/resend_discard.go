package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	msg "runnerd/messages"
)

// answerFile is in the directory of a rejected job and has the server's answer.
const answerFile = "answer.txt"

// Resend moves a rejected job back to jobs/, so that it is reported again. The location is that of an Entry.
func (s *Spool) Resend(location string) (msg.ExecutionID, error) {
	e, err := s.entryAt(location)
	id := e.Job.Execution
	switch {
	case err != nil:
		return "", fmt.Errorf("resend %s: %w", location, err)
	case !e.Rejected():
		return "", fmt.Errorf("resend %s: not a rejected job (in %s/)", location, rejectedDir)
	case e.Damage != nil:
		return "", fmt.Errorf("resend %s: %w", location, e.Damage)
	case e.Job.Stage != msg.Ended:
		return "", fmt.Errorf("resend %s: the job is %s", location, e.Job.Stage)
	}
	if _, found := s.Job(id); found {
		return "", fmt.Errorf("resend %s: job %q is in the spool and will be sent", location, id)
	}
	if err := s.restoreRejected(location, id); err != nil {
		return "", fmt.Errorf("resend %s: %w", location, err)
	}
	return id, nil
}

func (s *Spool) restoreRejected(location string, id msg.ExecutionID) error {
	// readOnly, so that a read error now does not quarantine parts of the job.
	j, rec, err := (&Spool{fs: readOnly{s.fs}}).readJob(location)
	if err == nil && !rec.Log.Closed { // the executor's actor does not close the log of a job that has left the spool
		rec, err = s.writeStep(j, rec, step{Kind: logClosed, Size: rec.Log.Size})
	}
	to := newJob(id)
	if err == nil {
		err = s.move(location, to.dir)
	}
	if err != nil {
		return err
	}
	j.dir, j.journal.name = to.dir, to.journal.name
	s.insertJob(j, rec)
	return nil
}

// Discard permanently deletes the Entry at a location: a job that has ended, a rejected job, or a quarantined record. It returns the id
// of a job that was in jobs/, and an empty id otherwise.
func (s *Spool) Discard(location string) (msg.ExecutionID, error) {
	e, err := s.entryAt(location)
	if err == nil && (e.Rejected() || e.Corrupt()) {
		_, err = s.removeDir(location)
	} else if err == nil {
		err = s.discardJob(e.Job.Execution)
	}
	if err != nil {
		return "", fmt.Errorf("discard %s: %w", location, err)
	}
	if e.Rejected() || e.Corrupt() {
		return "", nil
	}
	return e.Job.Execution, nil
}

func (s *Spool) discardJob(id msg.ExecutionID) error {
	job, found := s.Job(id)
	switch {
	case !found:
		return ErrNoJob
	case job.Stage < msg.Ended:
		return fmt.Errorf("the job has not ended (it is %s); abort it on the server first", job.Stage)
	}
	return s.Remove(id)
}

// entryAt reads the Entry at a location. It rejects other paths, because the location comes from a user.
func (s *Spool) entryAt(location string) (Entry, error) {
	dir, name := path.Split(location)
	if dir != jobsDir+"/" && dir != rejectedDir+"/" && dir != corruptDir+"/" {
		return Entry{}, errors.New("not a location in the spool")
	}
	dirEntries, err := s.fs.ReadDir(path.Dir(location))
	if err != nil {
		return Entry{}, err
	}
	if !slices.ContainsFunc(dirEntries, func(e fs.DirEntry) bool { return e.Name() == name }) {
		return Entry{}, errors.New("no such entry")
	}
	return InspectEntry(s.fs, location), nil
}
