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
	outDir = "out" // the only place that a plugin writes to

	executorFile = "executor.json"

	// Any image brings its own user, arbitrary uids included, and each must be able to make the result file. The sticky bit
	// keeps one user's files from another's; the way in leads through directories that are ours alone.
	outPerm = fs.ModeSticky | 0o777
	// What an executor reads, as whatever user.
	readableDir  fs.FileMode = 0o755
	readableFile fs.FileMode = 0o644

	// compactFrom is the size from which an executor's record is written anew instead of added to.
	compactFrom = 64 << 10
)

// executor is an executor in the index. Its file is a journal whose newest line counts: an update needs no fsync, and what the
// base was made safe with cannot be lost by it.
type executor struct {
	dir string

	io     sync.Mutex // held by the one verb that writes the executor's files; guards what follows
	file   journal
	gone   bool
	unmade error // why CreateExecutor gave up, for another that waited for io

	rec msg.ExecutorRecord // guarded by Spool.mu; without an id while CreateExecutor is still at work
}

func newExecutor(id msg.ExecutorID) *executor {
	dir := path.Join(executorsDir, string(id))
	return &executor{dir: dir, file: journal{name: path.Join(dir, executorFile)}}
}

func checkExecutorID(id msg.ExecutorID) error {
	if !plain(string(id), alphanumeric, 32) {
		return fmt.Errorf("executor id %q is not 1 to 32 lower-case letters and digits", id)
	}
	return nil
}

// CreateExecutor makes the executor's directory with its record, an empty out/, and the files that go into it. It may be
// repeated: the first one stands. The record is durable on return, the files are not: no container survives what loses them.
func (s *Spool) CreateExecutor(rec msg.ExecutorRecord, files map[string][]byte) error {
	if err := checkExecutorID(rec.ID); err != nil {
		return err
	}
	e := s.claimExecutor(rec.ID)
	e.io.Lock()
	defer e.io.Unlock()
	if e.gone || s.executorRecord(e).ID != "" {
		return e.unmade
	}
	if err := s.createExecutor(e, rec, files); err != nil {
		e.unmade = fmt.Errorf("create executor %s in the spool: %w", rec.ID, err)
		s.forgetExecutor(e, rec.ID)
		return e.unmade
	}
	s.publishExecutor(e, rec)
	return nil
}

func (s *Spool) createExecutor(e *executor, rec msg.ExecutorRecord, files map[string][]byte) error {
	line, err := encode(rec)
	if err != nil {
		return err
	}
	temp := s.temp()
	err = s.buildExecutor(temp, line, files)
	if err == nil {
		err = s.place(temp, e.dir)
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
		if err := s.makeParents(temp, name); err != nil {
			return err
		}
		if err := s.create(path.Join(temp, name), readableFile, files[name]); err != nil {
			return err
		}
	}
	return s.fs.SyncDir(temp)
}

// makeParents checks the name of a file below dir, and makes the directories on the way to it.
func (s *Spool) makeParents(dir, name string) error {
	if !fs.ValidPath(name) || name == "." || name == executorFile {
		return fmt.Errorf("%q is no name for a file of an executor", name)
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

// Executors lists all executors, oldest first.
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

// Executor returns one; false: the spool has none of that id.
func (s *Spool) Executor(id msg.ExecutorID) (msg.ExecutorRecord, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.executors[id]; e != nil && e.rec.ID != "" {
		return e.rec, true
	}
	return msg.ExecutorRecord{}, false
}

// UpdateExecutor changes a record; change is called once, with nobody else at the record. Not durable against a loss of power,
// which no container survives either.
func (s *Spool) UpdateExecutor(id msg.ExecutorID, change func(*msg.ExecutorRecord)) error {
	e, err := s.holdExecutor(id)
	if err != nil {
		return err
	}
	defer e.io.Unlock()
	rec := s.executorRecord(e)
	change(&rec)
	rec.ID = id
	if err := s.writeExecutor(e, rec); err != nil {
		return fmt.Errorf("update executor %s: %w", id, err)
	}
	s.publishExecutor(e, rec)
	return nil
}

// give makes the job the executor's: it is idle no longer, and its plugin is told to ask again after this job.
func give(rec *msg.ExecutorRecord, h msg.HandOut) {
	if rec.Job != h.Execution {
		rec.Before, rec.BeforeKey = rec.Job, rec.JobKey
		rec.Job = h.Execution
		rec.Jobs++
	}
	rec.JobKey, rec.Mask = h.Key, h.Mask
	rec.IdleSince, rec.Notified = time.Time{}, false
}

func (s *Spool) writeExecutor(e *executor, rec msg.ExecutorRecord) error {
	line, err := encode(rec)
	if err != nil {
		return err
	}
	if e.file.end < compactFrom {
		return s.mustFit(func() error { return e.file.put(s, e.file.end, line, false) })
	}
	if err := s.mustFit(func() error { return s.replace(e.file.name, line) }); err != nil {
		return err
	}
	e.file = journal{name: e.file.name, end: int64(len(line))}
	return nil
}

// ExecutorDir is the absolute path of the executor's directory.
func (s *Spool) ExecutorDir(id msg.ExecutorID) string {
	return s.fs.Path(path.Join(executorsDir, safeName(id)))
}

// safeName keeps a path inside the spool also for an id that was never let in.
func safeName(id msg.ExecutorID) string {
	if checkExecutorID(id) != nil {
		return "none"
	}
	return string(id)
}

// RemoveExecutor takes the directory away. It may be repeated.
func (s *Spool) RemoveExecutor(id msg.ExecutorID) error {
	e, err := s.holdExecutor(id)
	if errors.Is(err, ErrNoExecutor) {
		return nil
	}
	defer e.io.Unlock()
	gone, err := s.discard(e.dir)
	if !gone && s.vanished(e.dir) {
		gone, err = true, nil
	}
	if gone {
		s.forgetExecutor(e, id)
	}
	if err != nil {
		return fmt.Errorf("remove executor %s from the spool: %w", id, err)
	}
	return nil
}

// The index.

// claimExecutor returns the executor of that id, which may have to be made.
func (s *Spool) claimExecutor(id msg.ExecutorID) *executor {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.executors[id]
	if e == nil {
		e = newExecutor(id)
		s.executors[id] = e
	}
	return e
}

// holdExecutor returns an executor whose io the caller then holds.
func (s *Spool) holdExecutor(id msg.ExecutorID) (*executor, error) {
	s.mu.Lock()
	e := s.executors[id]
	here := e != nil && e.rec.ID != ""
	s.mu.Unlock()
	if here {
		e.io.Lock()
		if !e.gone {
			return e, nil
		}
		e.io.Unlock()
	}
	return nil, fmt.Errorf("%w: %q", ErrNoExecutor, id)
}

// forgetExecutor takes an executor out of the index. The caller holds io; who waits for it finds the executor gone.
func (s *Spool) forgetExecutor(e *executor, id msg.ExecutorID) {
	e.gone = true
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.executors, id)
	s.tellChanged()
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
		s.tellChanged()
	}
	e.rec = rec
}

// openJob is the job that was handed out to the executor and has not ended; empty: none.
func (s *Spool) openJob(id msg.ExecutorID) msg.ExecutionID {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.executors[id]
	if j := s.jobs[e.rec.Job]; j != nil && j.here && j.rec.Stage == msg.HandedOut && j.rec.Executor == id {
		return e.rec.Job
	}
	return ""
}
