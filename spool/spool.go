package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	msg "runnerd/messages"
)

const (
	lockFile   = "lock"
	formatFile = "format"
	format     = "runnerd spool 1"

	tmpDir       = "tmp"
	jobsDir      = "jobs"
	executorsDir = "executors"
	corruptDir   = "corrupt"
	rejectedDir  = "rejected"

	privateFile fs.FileMode = 0o600
	privateDir  fs.FileMode = 0o700
)

// Errors that methods return.
var (
	ErrNoJob      = errors.New("no such job in the spool")
	ErrNoExecutor = errors.New("no such executor in the spool")
	ErrLowSpace   = errors.New("too little space is free")
)

// RequiredInodes is the number of free inodes below which Add takes no job. A job takes 7, an executor about 10 and what its plugin writes.
const RequiredInodes = 1000

// Options of Open. The zero value is fine.
type Options struct {
	// LowWater is the free space in bytes below which Add takes no job, so that results and logs still fit. Zero: no limit.
	LowWater uint64
	// Reserve is the size in bytes of the reserve file, whose space is for steps and results when the disk is full. Zero: no reserve.
	Reserve uint64
	// Readers is the number of goroutines with which Open reads jobs. Zero: one.
	Readers int
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Problem describes a record that Open or LoadIdentity could not read, or a leftover in tmp/ that Open could not delete.
type Problem struct {
	What        string          // "job", "executor", "result", …
	Name        string          // its path, relative to the spool's directory
	Quarantined string          // its path in corrupt/; empty: it was repaired in place
	Job         msg.ExecutionID // empty if unknown
	Err         error
}

// Spool is an open spool directory. Its methods are safe for concurrent use.
type Spool struct {
	fs      FS
	opts    Options
	tempSeq atomic.Uint64

	setAsideMu sync.Mutex // held while something is moved to corrupt/ or rejected/

	recentlyFinished recentlyFinished

	reserveMu  sync.Mutex // guards hasReserve
	hasReserve bool

	mu           sync.Mutex // guards the fields below and the records in them; never held during IO
	jobs         map[msg.ExecutionID]*job
	byAge        []*job                    // the added jobs, oldest first
	byExecutor   map[msg.ExecutorID][]*job // the jobs by the executor in their record, oldest first
	executors    map[msg.ExecutorID]*executor
	preallocated []string                   // preallocated job directories
	leftovers    map[msg.ExecutionID]string // directories that could not be deleted after a failed Add
	problems     []Problem
	changed      chan struct{} // nil if nobody waits
}

// Open locks the directory and reads the spool in it. It moves unreadable records to corrupt/ and lists them in Problems; the rest
// is not affected. Everything read is durable when Open returns, even if the previous process was killed before its fsync.
// On success the Spool owns files. After an error the caller must close files.
func Open(files FS, opts Options) (*Spool, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Spool{
		fs:         files,
		opts:       opts,
		jobs:       make(map[msg.ExecutionID]*job),
		byExecutor: make(map[msg.ExecutorID][]*job),
		executors:  make(map[msg.ExecutorID]*executor),
		leftovers:  make(map[msg.ExecutionID]string),
	}
	for _, step := range []func() error{s.lock, s.prepareLayout, s.loadReserve, s.loadSettings, s.loadExecutors, s.loadJobs, s.reconcile} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("open the spool in %s: %w", files.Path("."), err)
		}
	}
	return s, nil
}

// Close unlocks the directory. No method may be called after it.
func (s *Spool) Close() error {
	var err error
	for _, name := range s.preallocated {
		err = errors.Join(err, s.fs.RemoveAll(name))
	}
	return errors.Join(err, s.fs.Close())
}

// Changed returns a channel that is closed when a job changes its stage, or when a job or an executor is added or removed.
func (s *Spool) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// notifyChanged closes the channel that Changed has returned. The caller holds mu.
func (s *Spool) notifyChanged() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// Problems returns the problems that Open and LoadIdentity found.
func (s *Spool) Problems() []Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.problems)
}

func (s *Spool) addProblem(p Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = append(s.problems, p)
}

// CheckSpace returns nil if there is space for another job, and otherwise an error that wraps ErrLowSpace. The space below the
// low-water mark is for the results and logs of the jobs in the spool. CheckSpace also restores a released reserve.
func (s *Spool) CheckSpace() error {
	free, err := s.fs.Free()
	if err != nil {
		return fmt.Errorf("get the free space: %w", err)
	}
	s.restoreReserve(free.Bytes)
	if want := s.RequiredSpace(); free.Bytes < want {
		return fmt.Errorf("%w in %s: %d bytes free, %d bytes needed to take jobs; free some space, results and logs need it too",
			ErrLowSpace, s.fs.Path("."), free.Bytes, want)
	}
	if free.Inodes < RequiredInodes {
		return fmt.Errorf("%w in %s: %d inodes free, %d needed to take jobs; remove files, executors and jobs need inodes too",
			ErrLowSpace, s.fs.Path("."), free.Inodes, RequiredInodes)
	}
	return nil
}

// RequiredSpace returns the free space in bytes that CheckSpace requires: the low-water mark, plus the reserve while it is released.
func (s *Spool) RequiredSpace() uint64 {
	s.reserveMu.Lock()
	defer s.reserveMu.Unlock()
	if s.hasReserve {
		return s.opts.LowWater
	}
	return s.opts.LowWater + s.opts.Reserve
}

func (s *Spool) lock() error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	err = s.fs.Lock(lockFile, fmt.Sprintf("process %d on %s", os.Getpid(), host))
	if held, ok := errors.AsType[*HeldError](err); ok {
		return fmt.Errorf("another runner uses it (%s); stop that runner or use another state directory: %w", held.Holder, err)
	}
	return err
}

// prepareLayout syncs what the last process may have left unsynced, checks the format, and creates missing directories.
func (s *Spool) prepareLayout() error {
	if err := s.fs.SyncAll(); err != nil {
		return err
	}
	existing, err := s.fs.ReadDir(".")
	if err != nil {
		return err
	}
	has := func(name string) bool {
		return slices.ContainsFunc(existing, func(e fs.DirEntry) bool { return e.Name() == name })
	}
	formatted, damage := has(formatFile), error(nil)
	if formatted {
		if damage, err = s.checkFormat(); err != nil {
			return err
		}
	}
	for _, name := range []string{tmpDir, jobsDir, executorsDir, corruptDir, rejectedDir} {
		if has(name) {
			continue
		}
		if err := s.fs.Mkdir(name, privateDir); err != nil {
			return err
		}
	}
	if err := s.emptyTmp(); err != nil {
		return err
	}
	if damage != nil {
		if err := s.quarantine("format", formatFile, formatFile, "", damage); err != nil {
			return err
		}
	} else if formatted {
		return s.fs.SyncDir(".")
	}
	line, err := encode(format)
	if err != nil {
		return err
	}
	return s.replace(formatFile, line)
}

// checkFormat returns an error if another version wrote the spool. An unreadable format file is returned as damage, and the spool is
// opened all the same: records of another version would fail their checks and be quarantined.
func (s *Spool) checkFormat() (damage, err error) {
	line, err := s.read(formatFile)
	if err != nil {
		return nil, err
	}
	var found string
	if err := decode(line, &found); err != nil {
		return err, nil
	}
	if found != format {
		return nil, fmt.Errorf("unknown format %q, this runnerd supports %q; start the version that wrote it or use another directory", found, format)
	}
	return nil, nil
}

// emptyTmp deletes what the last process was creating or deleting. It quarantines what cannot be deleted: a plugin may have left
// files that only its own user may delete, which must not prevent the start.
func (s *Spool) emptyTmp() error {
	dirEntries, err := s.fs.ReadDir(tmpDir)
	if err != nil {
		return err
	}
	for _, e := range dirEntries {
		name := tmpDir + "/" + e.Name()
		if err := s.fs.RemoveAll(name); err != nil {
			quarantined, moveErr := s.setAside(name, corruptDir, "undeleted-"+e.Name())
			if moveErr != nil {
				return errors.Join(err, moveErr)
			}
			s.addProblem(Problem{What: "leftover", Name: name, Quarantined: quarantined, Err: err})
		}
	}
	return nil
}

// quarantine moves an unreadable record to corrupt/. A permission error is not damage: the spool may belong to another user. Neither
// is a lack of file descriptors or memory.
func (s *Spool) quarantine(what, name, as string, id msg.ExecutionID, cause error) error {
	if errors.Is(cause, fs.ErrPermission) {
		return fmt.Errorf("read %s: %w; check that the spool belongs to this user", name, cause)
	}
	for _, temporary := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(cause, temporary) {
			return fmt.Errorf("read %s: %w", name, cause)
		}
	}
	quarantined, err := s.setAside(name, corruptDir, as)
	if err != nil {
		return errors.Join(cause, err)
	}
	s.addProblem(Problem{What: what, Name: name, Quarantined: quarantined, Job: id, Err: cause})
	return nil
}
