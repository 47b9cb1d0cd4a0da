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

// The files of a job. All are there from the start, most of them empty, so that a later write needs no fsync of the directory.
const (
	jobFile     = "job.json"
	journalFile = "journal"
	resultFile  = "result"
	logFile     = "log"
	markFile    = "log.pos"
	ackFile     = "log.acked"
)

var jobFiles = []string{jobFile, journalFile, resultFile, logFile, markFile, ackFile}

// job is a job in the index.
type job struct {
	dir string

	io       sync.Mutex // held by the one verb that writes the job's files; guards what follows
	journal  journal
	unsynced []step      // in the journal's last line
	marks    uint64      // how many marks the log has had
	logSum   uint32      // of all of the log
	logSize  int64       // where the log ended, if Open found that
	nth      int         // of its executor's jobs, by the same
	given    msg.HandOut // the newest that Open found
	noResult bool        // its ending was told without one, by the journal that Open has read
	gone     bool        // removed while somebody waited for io
	unmade   error       // why Add gave up, for another that waited for io

	rec    msg.JobRecord // guarded by Spool.mu
	here   bool          // guarded by Spool.mu; false: Add is still at work
	listed bool          // guarded by Spool.mu; in Spool.byAge
}

func older(a, b *job) int {
	return cmp.Or(a.rec.Added.Compare(b.rec.Added), cmp.Compare(a.rec.Execution, b.rec.Execution))
}

func newJob(id msg.ExecutionID) *job { return jobIn(path.Join(jobsDir, dirName(id))) }

func jobIn(dir string) *job {
	return &job{dir: dir, journal: journal{name: path.Join(dir, journalFile)}}
}

// dirName is the id where that is plain. Other names begin with a character that no plain one has.
func dirName(id msg.ExecutionID) string {
	if name := string(id); plain(name, alphanumeric+"-", 64) && name[0] != '-' {
		return name
	}
	return fmt.Sprintf("_%x", sha256.Sum256([]byte(id)))
}

const alphanumeric = "abcdefghijklmnopqrstuvwxyz0123456789"

func plain(name, alphabet string, limit int) bool {
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

// Add stores an offer. It may be repeated: the first one stands. With less space than the low-water mark: ErrLowSpace.
// One that has left the spool a while ago, and not before it was opened: messages.ErrAlreadyDone.
func (s *Spool) Add(o msg.Offer) error {
	if !utf8.ValidString(string(o.Execution)) {
		return fmt.Errorf("add job %q: its id is not text", o.Execution)
	}
	j := s.claim(o.Execution)
	j.io.Lock()
	defer j.io.Unlock()
	switch {
	case j.gone || s.isHere(j):
		return j.unmade
	case s.over.has(o.Execution):
		s.forget(j, o.Execution)
		return fmt.Errorf("add job %q: %w", o.Execution, msg.ErrAlreadyDone)
	}
	if err := s.add(j, o); err != nil {
		j.unmade = fmt.Errorf("add job %q: %w", o.Execution, err)
		s.forget(j, o.Execution) // else the index would grow for as long as the disk is full
		return j.unmade
	}
	return nil
}

func (s *Spool) add(j *job, o msg.Offer) error {
	if err := errors.Join(s.CheckSpace(), s.clearLeftover(o.Execution)); err != nil {
		return err
	}
	input := []byte(o.Input)
	head := jobHead{Job: o.Job, SealedKey: o.SessionKey, Added: s.now(), Input: bodyOf(input)}
	line, err := encode(head)
	if err != nil {
		return err
	}
	spare, err := s.spare()
	if err != nil {
		return err
	}
	if err = s.overwrite(path.Join(spare, jobFile), append(line, input...), 0, true); err == nil {
		err = s.fs.Rename(spare, j.dir)
	}
	if err != nil {
		return errors.Join(err, s.leaveOver(o.Execution, spare))
	}
	s.publish(j, head.record())
	return nil
}

func (h jobHead) record() msg.JobRecord {
	return msg.JobRecord{Job: h.Job, SealedKey: h.SealedKey, Added: h.Added}
}

// Jobs lists all jobs, oldest first.
func (s *Spool) Jobs() []msg.JobRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	return records(s.byAge)
}

// JobsOf lists the jobs whose record names the executor, oldest first. It takes no longer where others have many.
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

// Job returns one; false: the spool has none of that id.
func (s *Spool) Job(id msg.ExecutionID) (msg.JobRecord, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil && j.here {
		return j.rec, true
	}
	return msg.JobRecord{}, false
}

// Input returns the encrypted input, base64 text.
func (s *Spool) Input(id msg.ExecutionID) (string, error) {
	j, _, err := s.find(id)
	if err != nil {
		return "", err
	}
	var input []byte
	err = s.edit(path.Join(j.dir, jobFile), func(f File) (err error) {
		input, err = readBody(f, new(jobHead))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read the input of job %q: %w", id, err)
	}
	return string(input), nil
}

// Remove takes away all that is kept of a job. It may be repeated.
func (s *Spool) Remove(id msg.ExecutionID) error {
	return s.leave(id, "remove", func(j *job) (bool, error) {
		gone, err := s.discard(j.dir)
		if err == nil {
			s.restock()
		}
		return gone, err
	})
}

// Reject moves a job that the server will never take to rejected/, with the server's answer beside it.
func (s *Spool) Reject(id msg.ExecutionID, answer string) error {
	return s.leave(id, "reject", func(j *job) (bool, error) {
		note := path.Join(j.dir, answerFile)
		if err := s.replace(note, []byte(answer+"\n")); err != nil {
			return false, err
		}
		_, err := s.keep(j.dir, rejectedDir, path.Base(j.dir))
		return err == nil, err
	})
}

// leave takes a job out of the index after do has taken it out of jobs/.
func (s *Spool) leave(id msg.ExecutionID, verb string, do func(*job) (gone bool, err error)) error {
	j, err := s.hold(id)
	if errors.Is(err, ErrNoJob) {
		return nil
	}
	defer j.io.Unlock()
	gone, err := do(j)
	if !gone && s.vanished(j.dir) {
		gone, err = true, nil
	}
	if gone {
		s.over.add(id)
		s.forget(j, id)
	}
	if err != nil {
		return fmt.Errorf("%s job %q: %w", verb, id, err)
	}
	return nil
}

// forget takes a job out of the index. The caller holds io; who waits for it finds the job gone.
func (s *Spool) forget(j *job, id msg.ExecutionID) {
	j.gone = true
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.tellChanged()
	delete(s.jobs, id)
	if j.listed {
		s.byAge = without(s.byAge, j)
		s.indexExecutor(j, j.rec.Executor, "")
	}
}

// The index.

// claim returns the job of that id, which may have to be made.
func (s *Spool) claim(id msg.ExecutionID) *job {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	if j == nil {
		j = newJob(id)
		s.jobs[id] = j
	}
	return j
}

func (s *Spool) isHere(j *job) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return j.here
}

func (s *Spool) find(id msg.ExecutionID) (*job, msg.JobRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	if j == nil || !j.here {
		return nil, msg.JobRecord{}, fmt.Errorf("%w: %q", ErrNoJob, id)
	}
	return j, j.rec, nil
}

// hold returns a job whose io the caller then holds.
func (s *Spool) hold(id msg.ExecutionID) (*job, error) {
	j, _, err := s.find(id)
	if err != nil {
		return nil, err
	}
	j.io.Lock()
	if j.gone {
		j.io.Unlock()
		return nil, fmt.Errorf("%w: %q", ErrNoJob, id)
	}
	return j, nil
}

// record returns what the caller, who holds io, may go by until it changes it.
func (s *Spool) record(j *job) msg.JobRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	return j.rec
}

// enter adds a job that was read.
func (s *Spool) enter(j *job, rec msg.JobRecord) {
	s.mu.Lock()
	s.jobs[rec.Execution] = j
	s.mu.Unlock()
	s.publish(j, rec)
}

// publish shows others what has become true on the disk.
func (s *Spool) publish(j *job, rec msg.JobRecord) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !j.here || j.rec.Stage != rec.Stage {
		defer s.tellChanged()
	}
	before := j.rec.Executor
	j.rec, j.here = rec, true
	if !j.listed && s.jobs[rec.Execution] == j {
		s.byAge, j.listed = with(s.byAge, j), true
		before = "" // its record may be older than its place in the index
	}
	if j.listed {
		s.indexExecutor(j, before, rec.Executor)
	}
}

// indexExecutor keeps byExecutor true when a job's executor changes; empty: it has none. The caller holds mu.
func (s *Spool) indexExecutor(j *job, from, to msg.ExecutorID) {
	if from == to {
		return
	}
	if left := without(s.byExecutor[from], j); len(left) > 0 {
		s.byExecutor[from] = left
	} else {
		delete(s.byExecutor, from)
	}
	if to != "" {
		s.byExecutor[to] = with(s.byExecutor[to], j)
	}
}

func with(jobs []*job, j *job) []*job {
	at, _ := slices.BinarySearchFunc(jobs, j, older)
	return slices.Insert(jobs, at, j)
}

func without(jobs []*job, j *job) []*job {
	if at, found := slices.BinarySearchFunc(jobs, j, older); found {
		return slices.Delete(jobs, at, at+1)
	}
	return jobs
}

// now has no monotonic part and no place, as a time that was read from a file has none.
func (s *Spool) now() time.Time { return s.opts.Now().UTC().Round(0) }
