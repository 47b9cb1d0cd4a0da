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

	private    fs.FileMode = 0o600
	privateDir fs.FileMode = 0o700
)

// Why an operation is refused.
var (
	ErrNoJob      = errors.New("no such job in the spool")
	ErrNoExecutor = errors.New("no such executor in the spool")
	ErrLowSpace   = errors.New("too little space is free")
)

// Options of Open. The zero value is fine.
type Options struct {
	// LowWater is how many bytes must stay free for results and logs when a job is taken. Zero: as many as there are.
	LowWater uint64
	// Reserve is how many bytes are taken beforehand, for steps and results when the disk is full all the same.
	Reserve uint64
	// Readers is how many read at a time when it is opened. Zero: one.
	Readers int
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Problem is something that Open could not read and went on without.
type Problem struct {
	What string          // "job", "executor", "result", …
	Name string          // where it was, below the spool's directory
	Kept string          // where a person finds it now; empty: it was repaired
	Job  msg.ExecutionID // if it is known
	Err  error
}

// Spool keeps what must survive. Its verbs may be called from several goroutines.
type Spool struct {
	fs    FS
	opts  Options
	temps atomic.Uint64

	shelving sync.Mutex // held while something is moved to where a person finds it

	over over

	reserve  sync.Mutex // guards reserved
	reserved bool       // there is a reserve

	mu         sync.Mutex // guards the maps and the records in them; never held during IO
	jobs       map[msg.ExecutionID]*job
	byAge      []*job                    // those that are here
	byExecutor map[msg.ExecutorID][]*job // those that an executor has or had, oldest first
	executors  map[msg.ExecutorID]*executor
	spares     []string
	leftovers  map[msg.ExecutionID]string // spares of jobs that could not be added, which could not be taken away either
	problems   []Problem
	changed    chan struct{} // nil: nobody listens
}

// Open locks the directory and reads what is in it. What cannot be read is moved to corrupt/ and listed by Problems; the rest
// is not affected. Everything read is safe when Open returns, even if the process before was killed ahead of its fsync.
// After an error files is as it was, and still the caller's to close; otherwise it is the Spool's.
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
	for _, step := range []func() error{s.lock, s.layOut, s.loadReserve, s.loadSettings, s.loadExecutors, s.loadJobs, s.reconcile} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("open the spool in %s: %w", files.Path("."), err)
		}
	}
	return s, nil
}

// Close lets another runner have the directory. No verb may be called after it.
func (s *Spool) Close() error {
	var err error
	for _, name := range s.spares {
		err = errors.Join(err, s.fs.RemoveAll(name))
	}
	return errors.Join(err, s.fs.Close())
}

// Changed is closed when next a job enters another stage, or a job or an executor comes or goes.
func (s *Spool) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// tellChanged closes what Changed has returned. mu is held.
func (s *Spool) tellChanged() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// Problems lists what Open went on without.
func (s *Spool) Problems() []Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.problems)
}

func (s *Spool) problem(p Problem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problems = append(s.problems, p)
}

// CheckSpace is nil while there is space for another job; else it wraps ErrLowSpace. What is below the low-water mark is the reserve
// for the results and logs of the jobs that are here. Room takes the reserve anew that was spent.
func (s *Spool) CheckSpace() error {
	free, err := s.fs.Free()
	if err != nil {
		return fmt.Errorf("ask for free space: %w", err)
	}
	s.takeReserve(free)
	if want := s.RoomFrom(); free < want {
		return fmt.Errorf("%w in %s: %d bytes, and jobs are taken from %d on; make space, results and logs need it too",
			ErrLowSpace, s.fs.Path("."), free, want)
	}
	return nil
}

// RoomFrom is the free space in bytes from which on there is Room: more than the low-water mark while the reserve is spent.
func (s *Spool) RoomFrom() uint64 {
	s.reserve.Lock()
	defer s.reserve.Unlock()
	if s.reserved {
		return s.opts.LowWater
	}
	return s.opts.LowWater + s.opts.Reserve
}

func (s *Spool) lock() error {
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown host"
	}
	err = s.fs.Lock(lockFile, fmt.Sprintf("process %d on %s", os.Getpid(), host))
	if held, ok := errors.AsType[*HeldError](err); ok {
		return fmt.Errorf("another runner uses it (%s); stop that one, or give this one a directory of its own: %w", held.Holder, err)
	}
	return err
}

// layOut checks the format, makes what is missing, and makes safe what the last process may have left in memory of the system.
func (s *Spool) layOut() error {
	if err := s.fs.SyncAll(); err != nil {
		return err
	}
	made, err := s.fs.ReadDir(".")
	if err != nil {
		return err
	}
	has := func(name string) bool {
		return slices.ContainsFunc(made, func(e fs.DirEntry) bool { return e.Name() == name })
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

// checkFormat refuses another version's spool. One whose version cannot be read is taken for ours: its records are checksummed,
// and those of another version would be quarantined.
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
		return nil, fmt.Errorf("its format is %q, and this runnerd knows only %q; start the version that wrote it, or use another directory", found, format)
	}
	return nil, nil
}

// emptyTmp deletes what was being made or deleted. A plugin may have left what this user must not delete: that is for a
// person, and no reason not to start.
func (s *Spool) emptyTmp() error {
	entries, err := s.fs.ReadDir(tmpDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := tmpDir + "/" + e.Name()
		if err := s.fs.RemoveAll(name); err != nil {
			kept, keepErr := s.keep(name, corruptDir, "undeleted-"+e.Name())
			if keepErr != nil {
				return errors.Join(err, keepErr)
			}
			s.problem(Problem{What: "leftover", Name: name, Kept: kept, Err: err})
		}
	}
	return nil
}

// quarantine takes a record that cannot be read out of the way. An error of permissions is no damage: another user's spool is
// not to be taken apart. Nor is that this process may not open more files.
func (s *Spool) quarantine(what, name, as string, id msg.ExecutionID, cause error) error {
	if errors.Is(cause, fs.ErrPermission) {
		return fmt.Errorf("read %s: %w; is it another user's?", name, cause)
	}
	for _, passing := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(cause, passing) {
			return fmt.Errorf("read %s: %w", name, cause)
		}
	}
	kept, err := s.keep(name, corruptDir, as)
	if err != nil {
		return errors.Join(cause, err)
	}
	s.problem(Problem{What: what, Name: name, Kept: kept, Job: id, Err: cause})
	return nil
}
