package spool

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	msg "runnerd/messages"
)

// loadJobs reads every job.
func (s *Spool) loadJobs() error {
	entries, err := s.fs.ReadDir(jobsDir)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		name, is := e.Name(), true
		if strings.HasPrefix(name, sparePrefix) {
			if name, is, err = s.loadSpare(path.Join(jobsDir, name)); err != nil {
				return err
			}
		}
		if is {
			names = append(names, name)
		}
	}
	return s.each(names, s.loadJob)
}

// each does something with every name, for as many at a time as there are readers.
func (s *Spool) each(names []string, do func(string) error) error {
	var next atomic.Int64
	var all sync.WaitGroup
	failed := make([]error, max(1, s.opts.Readers))
	for reader := range failed {
		all.Go(func() {
			for n := next.Add(1) - 1; n < int64(len(names)) && failed[reader] == nil; n = next.Add(1) - 1 {
				failed[reader] = do(names[n])
			}
		})
	}
	all.Wait()
	return errors.Join(failed...)
}

func (s *Spool) loadJob(name string) error {
	id, err := s.indexJob(name)
	if _, failed := errors.AsType[*unrepaired](err); failed {
		return err
	}
	if err != nil {
		return s.quarantine("job", path.Join(jobsDir, name), "job-"+name, id, err)
	}
	return nil
}

func (s *Spool) indexJob(name string) (msg.ExecutionID, error) {
	j, rec, err := s.readJob(path.Join(jobsDir, name))
	if err == nil && dirName(rec.Execution) != name {
		err = fmt.Errorf("%w: %s is that of job %q", ErrCorrupt, jobFile, rec.Execution)
	}
	if err == nil {
		s.enter(j, rec)
	}
	return rec.Execution, err
}

// readJob returns whose the job is also of one that cannot be read, if its head can.
func (s *Spool) readJob(dir string) (j *job, rec msg.JobRecord, err error) {
	var head jobHead
	if err := s.edit(path.Join(dir, jobFile), func(f File) error { return checkBody(f, &head) }); err != nil {
		return nil, rec, fmt.Errorf("%s: %w", jobFile, err)
	}
	j, rec = jobIn(dir), head.record()
	if err := s.replay(j, &rec); err != nil {
		return nil, rec, fmt.Errorf("%s: %w", journalFile, err)
	}
	if err := s.loadResult(j, &rec); err != nil {
		return nil, rec, fmt.Errorf("%s: %w", resultFile, err)
	}
	if err := s.loadLog(j, &rec); err != nil {
		return nil, rec, fmt.Errorf("%s: %w", logFile, err)
	}
	return j, rec, nil
}

// replay applies the steps of a journal. If its last line cannot be read, a loss of power tore the write of it, maybe over an
// older one, and nobody was told of what it says; or it is damaged. That cannot be told apart: it is cut, and a person is told.
// A line that cannot be read and has a good one behind it is damage.
func (s *Spool) replay(j *job, rec *msg.JobRecord) error {
	content, err := s.read(j.journal.name)
	if err != nil {
		return err
	}
	lines, rest := splitLines(content)
	if len(rest) > 0 {
		lines = append(lines, append(rest, "(no end)"...))
	}
	for n, line := range lines {
		var steps []step
		err := decode(line, &steps)
		if err != nil && !slices.ContainsFunc(lines[n+1:], isGood) {
			j.journal.torn = true
			s.problem(Problem{What: "journal", Name: j.journal.name, Job: rec.Execution, Err: fmt.Errorf("its last line: %w", err)})
			break
		}
		for _, st := range steps {
			err = errors.Join(err, apply(rec, st))
			switch st.Step {
			case handedOut:
				j.nth, j.given = st.Nth, msg.HandOut{Execution: rec.Execution, Key: st.Key, Mask: st.Mask}
			case stopped:
				j.noResult = st.NoResult
			case logEnded:
				j.logSize = st.Size
			}
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n+1, err)
		}
		j.journal.end += int64(len(line)) + 1
	}
	j.journal.safe = j.journal.end
	return nil
}

func isGood(line []byte) bool { return decode(line, new([]step)) == nil }

// reconcile lets jobs and executors agree on who was handed to whom.
func (s *Spool) reconcile() error {
	for _, e := range s.Executors() {
		for _, id := range []msg.ExecutionID{e.Before, e.Job} {
			if err := s.restoreHandOut(id, e); err != nil {
				return fmt.Errorf("restore the journal of job %q: %w", id, err)
			}
		}
	}
	return s.restoreRecords()
}

// restoreHandOut gives a job back the hand-out that only its executor's record knows of: the journal was written first, so it has
// lost lines that were safe. A job that runs, or has run, must not begin again.
func (s *Spool) restoreHandOut(id msg.ExecutionID, e msg.ExecutorRecord) error {
	j := s.jobs[id]
	if id == "" || j == nil || j.rec.HandOuts > 0 {
		return nil
	}
	s.problem(Problem{
		What: "journal", Name: j.journal.name, Job: id,
		Err: fmt.Errorf("%w: it does not say that the job was handed to executor %s, whose record does", ErrCorrupt, e.ID),
	})
	_, err := s.write(j, j.rec, step{Step: handedOut, Executor: e.ID})
	return err
}

// restoreRecords gives executors the hand-outs that their records miss: the job's journal was written first.
func (s *Spool) restoreRecords() error {
	recs := s.Jobs()
	slices.SortStableFunc(recs, func(a, b msg.JobRecord) int {
		return cmp.Compare(s.jobs[a.Execution].nth, s.jobs[b.Execution].nth)
	})
	for _, rec := range recs {
		e := s.executors[rec.Executor]
		if e == nil {
			continue
		}
		j := s.jobs[rec.Execution]
		if j.nth <= e.rec.Jobs {
			continue
		}
		give(&e.rec, j.given)
		e.rec.Jobs = j.nth // those before it may be gone
		if err := s.writeExecutor(e, e.rec); err != nil {
			return fmt.Errorf("restore the record of executor %s: %w", e.rec.ID, err)
		}
	}
	return nil
}

// loadExecutors reads every executor.
func (s *Spool) loadExecutors() error {
	entries, err := s.fs.ReadDir(executorsDir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		id := msg.ExecutorID(entry.Name())
		e := newExecutor(id)
		rec, err := s.loadExecutor(e)
		if err == nil && rec.ID != id {
			err = fmt.Errorf("%w: it is that of executor %q", ErrCorrupt, rec.ID)
		}
		if err != nil {
			if err := s.quarantine("executor", e.dir, "executor-"+entry.Name(), "", err); err != nil {
				return err
			}
			continue
		}
		e.rec = rec
		s.executors[id] = e
	}
	return nil
}

// loadExecutor takes the newest line that can be read: updates are not synced, so any of them may be damaged.
func (s *Spool) loadExecutor(e *executor) (rec msg.ExecutorRecord, err error) {
	content, err := s.read(e.file.name)
	if err != nil {
		return rec, err
	}
	lines, rest := splitLines(content)
	e.file.end, e.file.torn = int64(len(content)-len(rest)), len(rest) > 0
	err = errIncomplete
	for _, line := range slices.Backward(lines) {
		rec = msg.ExecutorRecord{}
		if err = decode(line, &rec); err == nil {
			return rec, nil
		}
	}
	return rec, err
}
