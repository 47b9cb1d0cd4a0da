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

// StoreResult stores the first result of a job, and ends the job if it has not ended. The result file alone decides: it counts
// once it is complete and synced, so no step is journaled. StoreResult returns false without an error if the job already has a
// result, has failed, was reported, or is not in the spool any more.
func (s *Spool) StoreResult(id msg.ExecutionID, r msg.Result) (bool, error) {
	j, err := s.lockJob(id)
	if errors.Is(err, ErrNoJob) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	defer j.ioMu.Unlock()
	rec := s.jobRecord(j)
	if !acceptsResult(rec) || rec.Stopped || rec.Stage == msg.Finished {
		return false, nil
	}
	head, err := encode(resultHead{ExitCode: r.ExitCode, Via: r.Via, Body: newBody(r.Body)})
	if err != nil {
		return false, err
	}
	if err := s.withReserve(func() error { return s.writeResult(j, head, r.Body) }); err != nil {
		return false, fmt.Errorf("store the result of job %q: %w", id, err)
	}
	attachResult(&rec, r.ExitCode)
	s.publishJob(j, rec)
	return true, nil
}

// writeResult writes the result file, and empties it after an error.
func (s *Spool) writeResult(j *job, head, body []byte) error {
	return s.withFile(path.Join(j.dir, resultFile), func(f File) error {
		size, err := f.Size()
		if err == nil && size > 0 { // left by a failed attempt that could not be undone
			err = f.Truncate(0)
		}
		if err == nil {
			err = writeHeadLast(f, head, body)
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

// Result returns the body of the stored result, or nil if there is none.
func (s *Spool) Result(id msg.ExecutionID) (content []byte, err error) {
	j, rec, err := s.findJob(id)
	if err != nil || !rec.HasResult {
		return nil, err
	}
	err = s.withFile(path.Join(j.dir, resultFile), func(f File) (err error) {
		content, err = readBody(f, new(resultHead))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the result of job %q: %w", id, err)
	}
	return content, nil
}

// loadResult attaches a complete result. An incomplete one with a head is either damage or a torn write. These cannot be
// distinguished, so it is quarantined and the job goes on without a result. A complete result left behind by a failed write is
// accepted, although StoreResult returned an error, unless the job was already reported without one.
func (s *Spool) loadResult(j *job, rec *msg.JobRecord) error {
	name := path.Join(j.dir, resultFile)
	var head resultHead
	err := s.withFile(name, func(f File) error { return checkBody(f, &head) })
	switch {
	case errors.Is(err, errUnwritten):
		return nil
	case err == nil && acceptsResult(*rec) && !j.noResult:
		attachResult(rec, head.ExitCode)
		return nil
	case err == nil:
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) { // it does not exist after a crash between the quarantine and the new file below
		if err := s.quarantine("result", name, "result-"+path.Base(j.dir), rec.Execution, err); err != nil {
			return &repairError{err}
		}
	}
	if err := errors.Join(s.create(name, privateFile), s.fs.SyncDir(j.dir)); err != nil {
		return &repairError{err}
	}
	return nil
}

// repairError is a disk failure during the repair of damage. It does not mean that the rest of the job is damaged.
type repairError struct{ error }

func (u *repairError) Unwrap() error { return u.error }
