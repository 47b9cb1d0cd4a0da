package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	msg "runnerd/messages"
)

// resultHead is the first line of a result; the body follows it.
type resultHead struct {
	ExitCode int     `json:"exitCode"`
	Via      msg.Via `json:"via"`
	Body     body    `json:"body"`
}

func (h *resultHead) body() body { return h.Body }

// StoreResult keeps the first result of a job, and ends the job if nothing did before. The file alone decides: once it is whole
// and synced it is the result, and until then it is none, so no step has to be journaled. False without an error: the job has
// a result, or was given up as failed before this one came, or its ending was told.
func (s *Spool) StoreResult(id msg.ExecutionID, r msg.Result) (bool, error) {
	j, err := s.hold(id)
	if errors.Is(err, ErrNoJob) { // it has had its ending
		return false, nil
	} else if err != nil {
		return false, err
	}
	defer j.io.Unlock()
	rec := s.record(j)
	if !takesResult(rec) || rec.Stopped || rec.Stage == msg.Finished {
		return false, nil
	}
	head, err := encode(resultHead{ExitCode: r.ExitCode, Via: r.Via, Body: bodyOf(r.Body)})
	if err != nil {
		return false, err
	}
	if err := s.mustFit(func() error { return s.writeResult(j, head, r.Body) }); err != nil {
		return false, fmt.Errorf("store the result of job %q: %w", id, err)
	}
	attach(&rec, r.ExitCode)
	s.publish(j, rec)
	return true, nil
}

// writeResult leaves nothing of an attempt that goes wrong.
func (s *Spool) writeResult(j *job, head, body []byte) error {
	return s.edit(path.Join(j.dir, resultFile), func(f File) error {
		size, err := f.Size()
		if err == nil && size > 0 { // which could not be taken back
			err = f.Truncate(0)
		}
		if err == nil {
			err = write(f, head, body)
		}
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			err = errors.Join(err, f.Truncate(0))
		}
		return err
	})
}

// Result returns the body of the stored result, nil without one.
func (s *Spool) Result(id msg.ExecutionID) (content []byte, err error) {
	j, rec, err := s.find(id)
	if err != nil || !rec.HasResult {
		return nil, err
	}
	err = s.edit(path.Join(j.dir, resultFile), func(f File) (err error) {
		content, err = readBody(f, new(resultHead))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the result of job %q: %w", id, err)
	}
	return content, nil
}

// loadResult attaches a result that is whole. One that has a head and is not whole is damaged, or a loss of power tore the write of
// it: that cannot be told apart, so a person is told and the job goes on without. One that could neither be synced nor taken back
// may be whole, though StoreResult gave an error: it counts, unless the ending was told without it.
func (s *Spool) loadResult(j *job, rec *msg.JobRecord) error {
	name := path.Join(j.dir, resultFile)
	var head resultHead
	err := s.edit(name, func(f File) error { return checkBody(f, &head) })
	switch {
	case errors.Is(err, errUnwritten):
		return nil
	case err == nil && takesResult(*rec) && !j.noResult:
		attach(rec, head.ExitCode)
		return nil
	case err == nil:
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) { // it is not, when a crash came between the two that follow
		if err := s.quarantine("result", name, "result-"+path.Base(j.dir), rec.Execution, err); err != nil {
			return &unrepaired{err}
		}
	}
	if err := errors.Join(s.create(name, private), s.fs.SyncDir(j.dir)); err != nil {
		return &unrepaired{err}
	}
	return nil
}

// unrepaired is the disk's failure while damage was being repaired: that says nothing against the rest of the job.
type unrepaired struct{ error }

func (u *unrepaired) Unwrap() error { return u.error }
