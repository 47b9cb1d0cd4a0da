package spool

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	msg "runnerd/messages"
)

// The files of a job. All of them exist from the start, most of them empty, so that a later write needs no fsync of the directory.
const (
	jobFile        = "job.json"
	journalFile    = "journal"
	resultFile     = "result"
	logFile        = "log"
	checkpointFile = "log.pos"
	ackFile        = "log.acked"
)

var jobFiles = []string{jobFile, journalFile, resultFile, logFile, checkpointFile, ackFile}

// job is an entry of the index.
type job struct {
	dir string

	ioMu        sync.Mutex // held while the job's files are written; guards the fields up to the blank line
	journal     journal
	unsynced    []step      // the steps in the journal's last line that are not synced
	checkpoints uint64      // the number of checkpoints written
	logSum      uint32      // checksum of the whole log
	logSize     int64       // the final size of the log, if Open found a log-ended step
	jobNumber   int         // 1-based number among its executor's jobs, as read by Open
	lastHandOut msg.HandOut // the newest hand-out, as read by Open
	noResult    bool        // the job was reported as stopped without a result, as read by Open
	removed     bool        // seen by callers that waited for ioMu during the removal
	addErr      error       // seen by callers of Add that waited for ioMu while it failed

	rec    msg.JobRecord // guarded by Spool.mu
	added  bool          // guarded by Spool.mu; false while Add runs
	listed bool          // guarded by Spool.mu; whether the job is in Spool.byAge
}

func compareAge(a, b *job) int {
	return cmp.Or(a.rec.Added.Compare(b.rec.Added), cmp.Compare(a.rec.Execution, b.rec.Execution))
}

func newJob(id msg.ExecutionID) *job { return jobIn(path.Join(jobsDir, dirName(id))) }

func jobIn(dir string) *job {
	return &job{dir: dir, journal: journal{name: path.Join(dir, journalFile)}}
}

// dirName returns the name of a job's directory: the id if that is a safe file name, else "_", which no such id has, and a hash.
func dirName(id msg.ExecutionID) string {
	if name := string(id); isPlain(name, alphanumeric+"-", 64) && name[0] != '-' {
		return name
	}
	return fmt.Sprintf("_%x", sha256.Sum256([]byte(id)))
}

const alphanumeric = "abcdefghijklmnopqrstuvwxyz0123456789"

func isPlain(name, alphabet string, limit int) bool {
	return name != "" && len(name) <= limit && strings.Trim(name, alphabet) == ""
}

// jobHead is the first line of job.json; the encrypted input follows it.
type jobHead struct {
	Job       msg.Job   `json:"job"`
	SealedKey []byte    `json:"sealedKey"`
	Added     time.Time `json:"added"`
	Input     body      `json:"input"`
}

func (h *jobHead) body() body { return h.Input }

// Add stores an offer. It is idempotent: a repeated offer changes nothing. It returns ErrLowSpace if less space is free than the
// low-water mark, and messages.ErrAlreadyDone for a job that was removed or rejected since Open.
func (s *Spool) Add(o msg.Offer) error {
	if !utf8.ValidString(string(o.Execution)) {
		return fmt.Errorf("add job %q: the id is not valid UTF-8", o.Execution)
	}
	j := s.getOrCreateJob(o.Execution)
	j.ioMu.Lock()
	defer j.ioMu.Unlock()
	switch {
	case j.removed || s.isAdded(j):
		return j.addErr
	case s.recentlyFinished.has(o.Execution):
		s.removeFromIndex(j, o.Execution)
		return fmt.Errorf("add job %q: %w", o.Execution, msg.ErrAlreadyDone)
	}
	if err := s.add(j, o); err != nil {
		j.addErr = fmt.Errorf("add job %q: %w", o.Execution, err)
		s.removeFromIndex(j, o.Execution) // otherwise the index would grow while the disk is full
		return j.addErr
	}
	return nil
}

func (s *Spool) add(j *job, o msg.Offer) error {
	if err := errors.Join(s.CheckSpace(), s.removeLeftover(o.Execution)); err != nil {
		return err
	}
	input := []byte(o.Input)
	head := jobHead{Job: o.Job, SealedKey: o.SessionKey, Added: s.now(), Input: newBody(input)}
	line, err := encode(head)
	if err != nil {
		return err
	}
	dir, err := s.takePreallocated()
	if err != nil {
		return err
	}
	if err = s.overwrite(path.Join(dir, jobFile), append(line, input...), 0, true); err == nil {
		err = s.fs.Rename(dir, j.dir)
	}
	if err != nil {
		return errors.Join(err, s.removeFailedAdd(o.Execution, dir))
	}
	s.publishJob(j, head.record())
	return nil
}

func (h jobHead) record() msg.JobRecord {
	return msg.JobRecord{Job: h.Job, SealedKey: h.SealedKey, Added: h.Added}
}

// Jobs returns all jobs, oldest first.
func (s *Spool) Jobs() []msg.JobRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	return records(s.byAge)
}

// JobsOf returns the jobs whose record names the executor, oldest first. Its cost does not depend on the jobs of other executors.
func (s *Spool) JobsOf(id msg.ExecutorID) []msg.JobRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	return records(s.byExecutor[id])
}

func records(jobs []*job) []msg.JobRecord {
	recs := make([]msg.JobRecord, len(jobs))
	for n, j := range jobs {
		recs[n] = j.rec
	}
	return recs
}

// Job returns a job's record, and false if the spool has no such job.
func (s *Spool) Job(id msg.ExecutionID) (msg.JobRecord, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil && j.added {
		return j.rec, true
	}
	return msg.JobRecord{}, false
}

// Input returns a job's encrypted input as base64 text.
func (s *Spool) Input(id msg.ExecutionID) (string, error) {
	j, _, err := s.findJob(id)
	if err != nil {
		return "", err
	}
	var input []byte
	err = s.withFile(path.Join(j.dir, jobFile), func(f File) (err error) {
		input, err = readBody(f, new(jobHead))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read the input of job %q: %w", id, err)
	}
	return string(input), nil
}

// Remove deletes a job with all its files. It is idempotent.
func (s *Spool) Remove(id msg.ExecutionID) error {
	return s.removeJob(id, "remove", func(j *job) (bool, error) {
		gone, err := s.removeDir(j.dir)
		if err == nil {
			s.replenish()
		}
		return gone, err
	})
}

// Reject moves a job that the server refuses permanently to rejected/, together with the server's answer.
func (s *Spool) Reject(id msg.ExecutionID, answer string) error {
	return s.removeJob(id, "reject", func(j *job) (bool, error) {
		if err := s.replace(path.Join(j.dir, answerFile), []byte(answer+"\n")); err != nil {
			return false, err
		}
		_, err := s.setAside(j.dir, rejectedDir, path.Base(j.dir))
		return err == nil, err
	})
}

// removeJob removes a job from the index after do has moved it out of jobs/.
func (s *Spool) removeJob(id msg.ExecutionID, verb string, do func(*job) (gone bool, err error)) error {
	j, err := s.lockJob(id)
	if errors.Is(err, ErrNoJob) {
		return nil
	}
	defer j.ioMu.Unlock()
	gone, err := do(j)
	if !gone && s.syncGone(j.dir) {
		gone, err = true, nil
	}
	if gone {
		s.recentlyFinished.add(id)
		s.removeFromIndex(j, id)
	}
	if err != nil {
		return fmt.Errorf("%s job %q: %w", verb, id, err)
	}
	return nil
}

// removeFromIndex removes a job from the index. The caller holds ioMu; goroutines that wait for it then see j.removed.
func (s *Spool) removeFromIndex(j *job, id msg.ExecutionID) {
	j.removed = true
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.notifyChanged()
	delete(s.jobs, id)
	if j.listed {
		s.byAge = removeSorted(s.byAge, j)
		s.reindexExecutor(j, j.rec.Executor, "")
	}
}

// getOrCreateJob returns the index entry of a job, and creates it if there is none.
func (s *Spool) getOrCreateJob(id msg.ExecutionID) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	if j == nil {
		j = newJob(id)
		s.jobs[id] = j
	}
	return j
}

func (s *Spool) isAdded(j *job) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return j.added
}

func (s *Spool) findJob(id msg.ExecutionID) (*job, msg.JobRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	if j == nil || !j.added {
		return nil, msg.JobRecord{}, fmt.Errorf("%w: %q", ErrNoJob, id)
	}
	return j, j.rec, nil
}

// lockJob returns a job with its ioMu locked.
func (s *Spool) lockJob(id msg.ExecutionID) (*job, error) {
	j, _, err := s.findJob(id)
	if err != nil {
		return nil, err
	}
	j.ioMu.Lock()
	if j.removed {
		j.ioMu.Unlock()
		return nil, fmt.Errorf("%w: %q", ErrNoJob, id)
	}
	return j, nil
}

// jobRecord returns the record of a job. It cannot change while the caller holds ioMu.
func (s *Spool) jobRecord(j *job) msg.JobRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	return j.rec
}

// insertJob adds to the index a job that was read from the disk.
func (s *Spool) insertJob(j *job, rec msg.JobRecord) {
	s.mu.Lock()
	s.jobs[rec.Execution] = j
	s.mu.Unlock()
	s.publishJob(j, rec)
}

// publishJob updates the index after the disk was changed.
func (s *Spool) publishJob(j *job, rec msg.JobRecord) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !j.added || j.rec.Stage != rec.Stage {
		defer s.notifyChanged()
	}
	before := j.rec.Executor
	j.rec, j.added = rec, true
	if !j.listed && s.jobs[rec.Execution] == j {
		s.byAge, j.listed = insertSorted(s.byAge, j), true
		before = "" // byExecutor does not have the job yet, whatever its record says
	}
	if j.listed {
		s.reindexExecutor(j, before, rec.Executor)
	}
}

// reindexExecutor updates byExecutor when a job's executor changes; an empty id means no executor. The caller holds mu.
func (s *Spool) reindexExecutor(j *job, from, to msg.ExecutorID) {
	if from == to {
		return
	}
	if remaining := removeSorted(s.byExecutor[from], j); len(remaining) > 0 {
		s.byExecutor[from] = remaining
	} else {
		delete(s.byExecutor, from)
	}
	if to != "" {
		s.byExecutor[to] = insertSorted(s.byExecutor[to], j)
	}
}

func insertSorted(jobs []*job, j *job) []*job {
	at, _ := slices.BinarySearchFunc(jobs, j, compareAge)
	return slices.Insert(jobs, at, j)
}

func removeSorted(jobs []*job, j *job) []*job {
	if at, found := slices.BinarySearchFunc(jobs, j, compareAge); found {
		return slices.Delete(jobs, at, at+1)
	}
	return jobs
}

// now returns the time in UTC and without a monotonic clock reading, so that it equals itself when it is read from a file.
func (s *Spool) now() time.Time { return s.opts.Now().UTC().Round(0) }
