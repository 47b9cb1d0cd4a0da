package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	msg "runnerd/messages"
)

// answerFile lies in the directory of a job that the server refused.
const answerFile = "answer.txt"

// Resend puts a job that the server refused back among those that are to be reported. place is that of an inspection.
func (s *Spool) Resend(place string) (msg.ExecutionID, error) {
	f, err := s.inspected(place)
	id := f.Job.Execution
	switch {
	case err != nil:
		return "", fmt.Errorf("send %s again: %w", place, err)
	case !f.Rejected():
		return "", fmt.Errorf("send %s again: it is not in %s/, where what the server refused is", place, rejectedDir)
	case f.Damage != nil:
		return "", fmt.Errorf("send %s again: %w", place, f.Damage)
	case f.Job.Stage != msg.Ended:
		return "", fmt.Errorf("send %s again: the job is %s", place, f.Job.Stage)
	}
	if _, there := s.Job(id); there {
		return "", fmt.Errorf("send %s again: job %q is in the spool and will be sent", place, id)
	}
	if err := s.takeBack(place, id); err != nil {
		return "", fmt.Errorf("send %s again: %w", place, err)
	}
	return id, nil
}

func (s *Spool) takeBack(place string, id msg.ExecutionID) error {
	// What cannot be read now is not to be taken apart.
	j, rec, err := (&Spool{fs: still{s.fs}}).readJob(place)
	if err == nil && !rec.Log.Ended { // whoever would have ended it has done with it
		rec, err = s.write(j, rec, step{Step: logEnded, Size: rec.Log.Size})
	}
	to := newJob(id)
	if err == nil {
		err = s.move(place, to.dir)
	}
	if err != nil {
		return err
	}
	j.dir, j.journal.name = to.dir, to.journal.name
	s.enter(j, rec)
	return nil
}

// Discard takes away what is at a place of an inspection: a job that is over, one that the server refused, or what could not be
// read. It is lost. The id is that of a job that was among those to be reported.
func (s *Spool) Discard(place string) (msg.ExecutionID, error) {
	f, err := s.inspected(place)
	if err == nil && (f.Rejected() || f.Corrupt()) {
		_, err = s.discard(place)
	} else if err == nil {
		err = s.discardJob(f.Job.Execution)
	}
	if err != nil {
		return "", fmt.Errorf("discard %s: %w", place, err)
	}
	if f.Rejected() || f.Corrupt() {
		return "", nil
	}
	return f.Job.Execution, nil
}

func (s *Spool) discardJob(id msg.ExecutionID) error {
	job, there := s.Job(id)
	switch {
	case !there:
		return ErrNoJob
	case job.Stage < msg.Ended:
		return fmt.Errorf("the job is not over, but %s: abort it on the server, which waits for its end", job.Stage)
	}
	return s.Remove(id)
}

// inspected refuses a place that is none: what comes from outside must not lead anywhere else.
func (s *Spool) inspected(place string) (Found, error) {
	dir, name := path.Split(place)
	if dir != jobsDir+"/" && dir != rejectedDir+"/" && dir != corruptDir+"/" {
		return Found{}, errors.New("there is no such place in a spool")
	}
	entries, err := s.fs.ReadDir(path.Dir(place))
	if err != nil {
		return Found{}, err
	}
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == name }) {
		return Found{}, errors.New("there is nothing of that name")
	}
	return Examine(s.fs, place), nil
}
