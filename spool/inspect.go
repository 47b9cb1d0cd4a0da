package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	msg "runnerd/messages"
)

// Inspect and what follows read a spool for people, without its lock and without changing anything: beside a runner that uses it
// as well as without one. What is on its way just then may be missed.

// Found is something that a person may ask about: a job, or what is kept of something that could not be read.
type Found struct {
	Place  string        // below the spool's directory: jobs/…, rejected/…, corrupt/…
	Job    msg.JobRecord // without an Execution: it is no job, or cannot be read
	Steps  []Step
	Result int64  // bytes; what the plugin delivered, encrypted
	Answer string // of the server, to a job that it refused
	Damage error  // why it cannot be read, or not all of it
}

// Step is a line of a job's journal, in words.
type Step struct {
	At   time.Time
	Text string
}

// Rejected reports whether it is a job that the server refused.
func (f Found) Rejected() bool { return path.Dir(f.Place) == rejectedDir }

// Corrupt reports whether it was taken out of the way because it could not be read.
func (f Found) Corrupt() bool { return path.Dir(f.Place) == corruptDir }

// Is reports whether a person means it by id: the job's id on the server, its execution, its place or the last part of that.
func (f Found) Is(id string) bool {
	return id != "" && slices.Contains([]string{f.Place, path.Base(f.Place), string(f.Job.ID), string(f.Job.Execution)}, id)
}

// Inspect lists the jobs, oldest first, then what was rejected, then what could not be read. Of inputs and results only the heads
// are read: there may be gigabytes of them, and somebody who waits.
func Inspect(files FS) ([]Found, error) {
	s := &Spool{fs: still{files}}
	var all []Found
	for _, dir := range []string{jobsDir, rejectedDir, corruptDir} {
		found, err := s.inspect(dir)
		if err != nil {
			return nil, fmt.Errorf("look into %s: %w", files.Path(dir), err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// Examine reads all that is at a place of an inspection.
func Examine(files FS, place string) Found { return (&Spool{fs: still{files}}).look(place, checkBody) }

// heads checks a file as checkBody does, but not what follows its head.
func heads(f File, head bodied) error {
	_, err := readHead(f, head)
	return err
}

// InspectExecutors lists the executors' records, oldest first; those that cannot be read are left out.
func InspectExecutors(files FS) ([]msg.ExecutorRecord, error) {
	s := &Spool{fs: still{files}}
	entries, err := s.fs.ReadDir(executorsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look into %s: %w", files.Path(executorsDir), err)
	}
	var all []msg.ExecutorRecord
	for _, entry := range entries {
		if rec, err := s.loadExecutor(newExecutor(msg.ExecutorID(entry.Name()))); err == nil {
			all = append(all, rec)
		}
	}
	slices.SortFunc(all, func(a, b msg.ExecutorRecord) int { return a.Created.Compare(b.Created) })
	return all, nil
}

func (s *Spool) inspect(dir string) ([]Found, error) {
	entries, err := s.fs.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []Found
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), sparePrefix) {
			continue
		}
		f := s.look(path.Join(dir, entry.Name()), heads)
		if dir == jobsDir && errors.Is(f.Damage, fs.ErrNotExist) { // it was done meanwhile
			continue
		}
		all = append(all, f)
	}
	slices.SortStableFunc(all, func(a, b Found) int { return cmp.Or(a.Job.Added.Compare(b.Job.Added), cmp.Compare(a.Place, b.Place)) })
	return all, nil
}

// look reads as much as can be read.
func (s *Spool) look(place string, check func(File, bodied) error) Found {
	f := Found{Place: place}
	var head jobHead
	if err := s.edit(path.Join(place, jobFile), func(file File) error { return check(file, &head) }); err != nil {
		f.Damage = fmt.Errorf("%s: %w", jobFile, err)
		return f
	}
	j := jobIn(place)
	f.Job = head.record()
	f.Steps = append(s.steps(j.journal.name), Step{At: f.Job.Added, Text: "taken from the server"})
	slices.SortStableFunc(f.Steps, func(a, b Step) int { return a.At.Compare(b.At) })
	f.Damage = errors.Join(s.replay(j, &f.Job), s.lookAtResult(j, &f, check), s.loadLog(j, &f.Job))
	if answer, err := s.read(path.Join(place, answerFile)); err == nil {
		f.Answer = strings.TrimSpace(string(answer))
	}
	return f
}

func (s *Spool) lookAtResult(j *job, f *Found, check func(File, bodied) error) error {
	var head resultHead
	err := s.edit(path.Join(f.Place, resultFile), func(file File) error { return check(file, &head) })
	if errors.Is(err, errIncomplete) { // there is none, or it is being written
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", resultFile, err)
	}
	if takesResult(f.Job) && !j.noResult {
		attach(&f.Job, head.ExitCode)
	}
	f.Result = head.Body.Size
	return nil
}

// steps are those that can be read.
func (s *Spool) steps(journal string) (all []Step) {
	content, err := s.read(journal)
	if err != nil {
		return nil
	}
	lines, _ := splitLines(content)
	for _, line := range lines {
		var steps []step
		if decode(line, &steps) != nil {
			continue
		}
		for _, st := range steps {
			all = append(all, Step{At: st.At, Text: st.words()})
		}
	}
	return all
}

// words say to a person what the step tells.
func (st step) words() string {
	switch st.Step {
	case confirmed:
		return "the server said that it is ours"
	case aborted:
		return "its end was asked for: " + st.Reason
	case handedOut:
		return "handed out to executor " + string(st.Executor)
	case unstarted:
		return "the plugin proved that it did not start it"
	case takenBack:
		return "taken back from its executor, which has ended"
	case crashed:
		return "an actor crashed on it: " + st.Actor
	case ended:
		if st.Ending == nil {
			return "ended"
		}
		as := string(st.Ending.Outcome) + ": "
		return "ended as " + strings.TrimSuffix(as+strings.TrimPrefix(st.Ending.Message, as), ": ")
	case stopped:
		return cmp.Or(st.Reason, "how its stop went is not known")
	case finished:
		return "the server accepted its ending"
	case logEnded:
		return "its log is complete"
	}
	return string(st.Step)
}

// InspectLog returns up to limit bytes of the end of a job's log.
func InspectLog(files FS, f Found, limit int64) (text []byte, err error) {
	s := &Spool{fs: still{files}}
	err = s.edit(path.Join(f.Place, logFile), func(file File) error {
		from := max(0, f.Job.Log.Size-limit)
		text = make([]byte, f.Job.Log.Size-from)
		_, err := file.ReadAt(text, from)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the log of %s: %w", f.Place, err)
	}
	return text, nil
}

// Free is how many bytes are left to write.
func (s *Spool) Free() (uint64, error) { return s.fs.Free() }

// Kept counts what is kept for a person.
func (s *Spool) Kept() (rejected, corrupt int, err error) {
	r, err := s.fs.ReadDir(rejectedDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, 0, err
	}
	c, err := s.fs.ReadDir(corruptDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, 0, err
	}
	return len(r), len(c), nil
}

// still is a file system in which nothing is changed by reading. What the spool cuts while it reads is left, and so is what it
// would move away.
type still struct{ FS }

func (still) Rename(string, string) error { return errors.ErrUnsupported }

func (s still) Open(name string) (File, error) {
	f, err := s.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return stillFile{f}, nil
}

type stillFile struct{ File }

func (stillFile) Truncate(int64) error { return nil }
func (stillFile) Sync() error          { return nil }
