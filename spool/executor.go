package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"sync"
	"time"

	msg "runnerd/messages"
)

const (
	outDir = "out" // the only directory that a plugin writes to

	executorFile = "executor.json"

	// An image may run as any user, and each of these users must be able to create the result file. The sticky bit
	// protects one user's files from another's; other local users cannot reach the directory, because its parents are private.
	outPerm = fs.ModeSticky | 0o777
	// Permissions of what an executor reads, as any user.
	readableDir  fs.FileMode = 0o755
	readableFile fs.FileMode = 0o644

	// compactAbove is the size in bytes from which an executor's file is rewritten instead of appended to.
	compactAbove = 64 << 10
)

// executor is an entry of the index. Its file is a journal whose newest line counts: an update needs no fsync, and it cannot
// damage the synced first line.
type executor struct {
	dir string

	ioMu      sync.Mutex // held while the executor's files are written; guards the fields up to the blank line
	file      journal
	removed   bool
	createErr error // seen by callers of CreateExecutor that waited for ioMu while it failed

	rec msg.ExecutorRecord // guarded by Spool.mu; without an id while CreateExecutor runs
}

func newExecutor(id msg.ExecutorID) *executor {
	dir := path.Join(executorsDir, string(id))
	return &executor{dir: dir, file: journal{name: path.Join(dir, executorFile)}}
}

func checkExecutorID(id msg.ExecutorID) error {
	if !isPlain(string(id), alphanumeric, 32) {
		return fmt.Errorf("executor id %q is not 1 to 32 lower-case letters and digits", id)
	}
	return nil
}

// CreateExecutor creates the executor's directory with its record, an empty out/, and the given files. It is idempotent: a repeated
// call changes nothing. The record is durable on return. The files are not, because no container survives a loss of power.
func (s *Spool) CreateExecutor(rec msg.ExecutorRecord, files map[string][]byte) error {
	if err := checkExecutorID(rec.ID); err != nil {
		return err
	}
	e := s.getOrCreateExecutor(rec.ID)
	e.ioMu.Lock()
	defer e.ioMu.Unlock()
	if e.removed || s.executorRecord(e).ID != "" {
		return e.createErr
	}
	if err := s.createExecutor(e, rec, files); err != nil {
		e.createErr = fmt.Errorf("create executor %s in the spool: %w", rec.ID, err)
		s.removeExecutorFromIndex(e, rec.ID)
		return e.createErr
	}
	s.publishExecutor(e, rec)
	return nil
}

func (s *Spool) createExecutor(e *executor, rec msg.ExecutorRecord, files map[string][]byte) error {
	line, err := encode(rec)
	if err != nil {
		return err
	}
	temp := s.tempName()
	err = s.buildExecutor(temp, line, files)
	if err == nil {
		err = s.moveReplacing(temp, e.dir)
	}
	if err != nil {
		return errors.Join(err, s.fs.RemoveAll(temp))
	}
	e.file.end = int64(len(line))
	return nil
}

func (s *Spool) buildExecutor(temp string, line []byte, files map[string][]byte) error {
	if err := s.fs.Mkdir(temp, privateDir); err != nil {
		return err
	}
	if err := s.createDurably(path.Join(temp, executorFile), line); err != nil {
		return err
	}
	if err := s.fs.Mkdir(path.Join(temp, outDir), outPerm); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := s.createParents(temp, name); err != nil {
			return err
		}
		if err := s.create(path.Join(temp, name), readableFile, files[name]); err != nil {
			return err
		}
	}
	return s.fs.SyncDir(temp)
}

// createParents checks the name of a file below dir and creates its parent directories.
func (s *Spool) createParents(dir, name string) error {
	if !fs.ValidPath(name) || name == "." || name == executorFile {
		return fmt.Errorf("invalid executor file name %q", name)
	}
	for at, c := range name {
		if c != '/' {
			continue
		}
		if err := s.fs.Mkdir(path.Join(dir, name[:at]), readableDir); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// Executors returns all executors, oldest first.
func (s *Spool) Executors() []msg.ExecutorRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	recs := make([]msg.ExecutorRecord, 0, len(s.executors))
	for _, e := range s.executors {
		if e.rec.ID != "" {
			recs = append(recs, e.rec)
		}
	}
	slices.SortFunc(recs, func(a, b msg.ExecutorRecord) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return recs
}

// Executor returns an executor's record, and false if the spool has no such executor.
func (s *Spool) Executor(id msg.ExecutorID) (msg.ExecutorRecord, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.executors[id]; e != nil && e.rec.ID != "" {
		return e.rec, true
	}
	return msg.ExecutorRecord{}, false
}

// UpdateExecutor changes a record. It calls change once and allows no concurrent update. Not durable against a loss of power,
// which no container survives either.
func (s *Spool) UpdateExecutor(id msg.ExecutorID, change func(*msg.ExecutorRecord)) error {
	e, err := s.lockExecutor(id)
	if err != nil {
		return err
	}
	defer e.ioMu.Unlock()
	rec := s.executorRecord(e)
	change(&rec)
	rec.ID = id
	if err := s.writeExecutor(e, rec); err != nil {
		return fmt.Errorf("update executor %s: %w", id, err)
	}
	s.publishExecutor(e, rec)
	return nil
}

// assignJob records that the executor has the job: it is no longer idle, and its plugin needs a notification after this job.
func assignJob(rec *msg.ExecutorRecord, h msg.HandOut) {
	if rec.Job != h.Execution {
		rec.PreviousJob, rec.PreviousJobKey = rec.Job, rec.JobKey
		rec.Job = h.Execution
		rec.Jobs++
	}
	rec.JobKey, rec.Mask, rec.SDK = h.SessionKey, h.Mask, cmp.Or(h.SDK, rec.SDK)
	rec.IdleSince, rec.Notified = time.Time{}, false
}

func (s *Spool) writeExecutor(e *executor, rec msg.ExecutorRecord) error {
	line, err := encode(rec)
	if err != nil {
		return err
	}
	if e.file.end < compactAbove {
		return s.withReserve(func() error { return e.file.writeLine(s, e.file.end, line, false) })
	}
	if err := s.withReserve(func() error { return s.replace(e.file.name, line) }); err != nil {
		return err
	}
	e.file = journal{name: e.file.name, end: int64(len(line))}
	return nil
}

// ExecutorDir returns the absolute path of the executor's directory.
func (s *Spool) ExecutorDir(id msg.ExecutorID) string {
	return s.fs.Path(path.Join(executorsDir, safeName(id)))
}

// safeName returns a name that cannot lead out of the spool, even for an id that CreateExecutor rejects.
func safeName(id msg.ExecutorID) string {
	if checkExecutorID(id) != nil {
		return "none"
	}
	return string(id)
}

// RemoveExecutor deletes the executor's directory. It is idempotent.
func (s *Spool) RemoveExecutor(id msg.ExecutorID) error {
	e, err := s.lockExecutor(id)
	if errors.Is(err, ErrNoExecutor) {
		return nil
	}
	defer e.ioMu.Unlock()
	gone, err := s.removeDir(e.dir)
	if !gone && s.syncGone(e.dir) {
		gone, err = true, nil
	}
	if gone {
		s.removeExecutorFromIndex(e, id)
	}
	if err != nil {
		return fmt.Errorf("remove executor %s from the spool: %w", id, err)
	}
	return nil
}

// getOrCreateExecutor returns the index entry of an executor, and creates it if there is none.
func (s *Spool) getOrCreateExecutor(id msg.ExecutorID) *executor {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.executors[id]
	if e == nil {
		e = newExecutor(id)
		s.executors[id] = e
	}
	return e
}

// lockExecutor returns an executor with its ioMu locked.
func (s *Spool) lockExecutor(id msg.ExecutorID) (*executor, error) {
	s.mu.Lock()
	e := s.executors[id]
	created := e != nil && e.rec.ID != ""
	s.mu.Unlock()
	if created {
		e.ioMu.Lock()
		if !e.removed {
			return e, nil
		}
		e.ioMu.Unlock()
	}
	return nil, fmt.Errorf("%w: %q", ErrNoExecutor, id)
}

// removeExecutorFromIndex removes an executor from the index. The caller holds ioMu; goroutines that wait for it then see e.removed.
func (s *Spool) removeExecutorFromIndex(e *executor, id msg.ExecutorID) {
	e.removed = true
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.executors, id)
	s.notifyChanged()
}

func (s *Spool) executorRecord(e *executor) msg.ExecutorRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.rec
}

func (s *Spool) publishExecutor(e *executor, rec msg.ExecutorRecord) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.rec.ID == "" {
		s.notifyChanged()
	}
	e.rec = rec
}

// unfinishedJob returns the job that was handed out to the executor and has not ended, or an empty id.
func (s *Spool) unfinishedJob(id msg.ExecutorID) msg.ExecutionID {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.executors[id]
	if j := s.jobs[e.rec.Job]; j != nil && j.added && j.rec.Stage == msg.HandedOut && j.rec.Executor == id {
		return e.rec.Job
	}
	return ""
}
