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

// loadJobs reads all jobs into the index.
func (s *Spool) loadJobs() error {
	dirEntries, err := s.fs.ReadDir(jobsDir)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range dirEntries {
		name, isJob := e.Name(), true
		if strings.HasPrefix(name, preallocatedPrefix) {
			if name, isJob, err = s.adoptPreallocated(path.Join(jobsDir, name)); err != nil {
				return err
			}
		}
		if isJob {
			names = append(names, name)
		}
	}
	return s.forEach(names, s.loadJob)
}

// forEach calls do for every name, with up to Options.Readers calls at a time.
func (s *Spool) forEach(names []string, do func(string) error) error {
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
	if _, failed := errors.AsType[*repairError](err); failed {
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
		err = fmt.Errorf("%w: %s belongs to job %q", ErrCorrupt, jobFile, rec.Execution)
	}
	if err == nil {
		s.insertJob(j, rec)
	}
	return rec.Execution, err
}

// readJob reads a job. Together with an error it returns the record's execution id, if the head was readable.
func (s *Spool) readJob(dir string) (j *job, rec msg.JobRecord, err error) {
	var head jobHead
	if err := s.withFile(path.Join(dir, jobFile), func(f File) error { return checkBody(f, &head) }); err != nil {
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

// replay applies the steps of a journal. An unreadable last line is either a torn write, whose content nobody was told of, or
// damage. These cannot be distinguished, so replay cuts the line off and reports a Problem. An unreadable line before a valid
// one is damage.
func (s *Spool) replay(j *job, rec *msg.JobRecord) error {
	content, err := s.read(j.journal.name)
	if err != nil {
		return err
	}
	lines, rest := splitLines(content)
	if len(rest) > 0 {
		lines = append(lines, append(rest, "(torn)"...)) // its checksum never matches
	}
	for n, line := range lines {
		var steps []step
		err := decode(line, &steps)
		if err != nil && !slices.ContainsFunc(lines[n+1:], isValidLine) {
			j.journal.torn = true
			s.addProblem(Problem{What: "journal", Name: j.journal.name, Job: rec.Execution, Err: fmt.Errorf("last line: %w", err)})
			break
		}
		for _, st := range steps {
			err = errors.Join(err, apply(rec, st))
			switch st.Kind {
			case handedOut:
				j.jobNumber, j.lastHandOut = st.JobNumber, msg.HandOut{Execution: rec.Execution, SessionKey: st.Key, Mask: st.Mask}
			case stopped:
				j.noResult = st.NoResult
			case logClosed:
				j.logSize = st.Size
			}
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n+1, err)
		}
		j.journal.end += int64(len(line)) + 1
	}
	j.journal.synced = j.journal.end
	return nil
}

func isValidLine(line []byte) bool { return decode(line, new([]step)) == nil }

// reconcile makes the hand-outs in the jobs' journals and in the executors' records agree.
func (s *Spool) reconcile() error {
	for _, e := range s.Executors() {
		for _, id := range []msg.ExecutionID{e.PreviousJob, e.Job} {
			if err := s.restoreHandOut(id, e); err != nil {
				return fmt.Errorf("restore the journal of job %q: %w", id, err)
			}
		}
	}
	return s.restoreRecords()
}

// restoreHandOut writes a hand-out to a job's journal if only the executor's record has it. The journal was written first, so the
// disk has lost synced lines. The job must not start again.
func (s *Spool) restoreHandOut(id msg.ExecutionID, e msg.ExecutorRecord) error {
	j := s.jobs[id]
	if id == "" || j == nil || j.rec.HandOuts > 0 {
		return nil
	}
	s.addProblem(Problem{
		What: "journal", Name: j.journal.name, Job: id,
		Err: fmt.Errorf("%w: no hand-out to executor %s, although the executor's record has one", ErrCorrupt, e.ID),
	})
	_, err := s.writeStep(j, j.rec, step{Kind: handedOut, Executor: e.ID})
	return err
}

// restoreRecords adds missing hand-outs to the executors' records. The jobs' journals were written first.
func (s *Spool) restoreRecords() error {
	recs := s.Jobs()
	slices.SortStableFunc(recs, func(a, b msg.JobRecord) int {
		return cmp.Compare(s.jobs[a.Execution].jobNumber, s.jobs[b.Execution].jobNumber)
	})
	for _, rec := range recs {
		e := s.executors[rec.Executor]
		if e == nil {
			continue
		}
		j := s.jobs[rec.Execution]
		if j.jobNumber <= e.rec.Jobs {
			continue
		}
		assignJob(&e.rec, j.lastHandOut)
		e.rec.Jobs = j.jobNumber // earlier jobs may have been removed
		if err := s.writeExecutor(e, e.rec); err != nil {
			return fmt.Errorf("restore the record of executor %s: %w", e.rec.ID, err)
		}
	}
	return nil
}

// loadExecutors reads all executors into the index.
func (s *Spool) loadExecutors() error {
	dirEntries, err := s.fs.ReadDir(executorsDir)
	if err != nil {
		return err
	}
	for _, entry := range dirEntries {
		id := msg.ExecutorID(entry.Name())
		e := newExecutor(id)
		rec, err := s.loadExecutor(e)
		if err == nil && rec.ID != id {
			err = fmt.Errorf("%w: the record belongs to executor %q", ErrCorrupt, rec.ID)
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

// loadExecutor returns the newest readable line: updates are not synced, so any of them may be damaged.
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
