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

// The Inspect functions read a spool without its lock and without changing it, whether or not a runner uses it. They may miss what is
// being written or moved at that moment.

// Entry is what an operator may ask about: a job, a rejected job or a quarantined record.
type Entry struct {
	Location string        // relative to the spool's directory: jobs/…, rejected/…, corrupt/…
	Job      msg.JobRecord // Execution is empty if the entry is not a job or cannot be read
	Steps    []Step
	Result   int64  // size of the encrypted result in bytes
	Answer   string // the server's answer to a rejected job
	Damage   error  // why all or part of the entry cannot be read
}

// Step is a step of a job, with a description for people.
type Step struct {
	At   time.Time
	Text string
}

// Rejected reports whether the entry is a job that the server refused.
func (e Entry) Rejected() bool { return path.Dir(e.Location) == rejectedDir }

// Corrupt reports whether the entry is in quarantine.
func (e Entry) Corrupt() bool { return path.Dir(e.Location) == corruptDir }

// Matches reports whether id is the entry's job id, its execution id, its location or the last element of its location.
func (e Entry) Matches(id string) bool {
	return id != "" && slices.Contains([]string{e.Location, path.Base(e.Location), string(e.Job.ID), string(e.Job.Execution)}, id)
}

// Inspect returns the jobs, oldest first, then the rejected jobs, then the quarantined records. It reads only the heads of inputs
// and results, because these may have gigabytes.
func Inspect(files FS) ([]Entry, error) {
	s := &Spool{fs: readOnly{files}}
	var all []Entry
	for _, dir := range []string{jobsDir, rejectedDir, corruptDir} {
		found, err := s.inspectDir(dir)
		if err != nil {
			return nil, fmt.Errorf("inspect %s: %w", files.Path(dir), err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// InspectEntry reads one entry completely.
func InspectEntry(files FS, location string) Entry {
	return (&Spool{fs: readOnly{files}}).inspectEntry(location, checkBody)
}

// checkHead verifies only the head of a file with a body.
func checkHead(f File, head bodyHeader) error {
	_, err := readHead(f, head)
	return err
}

// InspectExecutors returns the executors' records, oldest first, without those that cannot be read.
func InspectExecutors(files FS) ([]msg.ExecutorRecord, error) {
	s := &Spool{fs: readOnly{files}}
	dirEntries, err := s.fs.ReadDir(executorsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("inspect %s: %w", files.Path(executorsDir), err)
	}
	var all []msg.ExecutorRecord
	for _, entry := range dirEntries {
		if rec, err := s.loadExecutor(newExecutor(msg.ExecutorID(entry.Name()))); err == nil {
			all = append(all, rec)
		}
	}
	slices.SortFunc(all, func(a, b msg.ExecutorRecord) int { return a.Created.Compare(b.Created) })
	return all, nil
}

func (s *Spool) inspectDir(dir string) ([]Entry, error) {
	dirEntries, err := s.fs.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []Entry
	for _, entry := range dirEntries {
		if strings.HasPrefix(entry.Name(), preallocatedPrefix) {
			continue
		}
		e := s.inspectEntry(path.Join(dir, entry.Name()), checkHead)
		if dir == jobsDir && errors.Is(e.Damage, fs.ErrNotExist) { // it was removed meanwhile
			continue
		}
		all = append(all, e)
	}
	slices.SortStableFunc(all, func(a, b Entry) int {
		return cmp.Or(a.Job.Added.Compare(b.Job.Added), cmp.Compare(a.Location, b.Location))
	})
	return all, nil
}

// inspectEntry reads what is readable of an entry.
func (s *Spool) inspectEntry(location string, check func(File, bodyHeader) error) Entry {
	e := Entry{Location: location}
	var head jobHead
	if err := s.withFile(path.Join(location, jobFile), func(file File) error { return check(file, &head) }); err != nil {
		e.Damage = fmt.Errorf("%s: %w", jobFile, err)
		return e
	}
	j := jobIn(location)
	e.Job = head.record()
	e.Steps = append(s.steps(j.journal.name), Step{At: e.Job.Added, Text: "received from the server"})
	slices.SortStableFunc(e.Steps, func(a, b Step) int { return a.At.Compare(b.At) })
	e.Damage = errors.Join(s.replay(j, &e.Job), s.inspectResult(j, &e, check), s.loadLog(j, &e.Job))
	if answer, err := s.read(path.Join(location, answerFile)); err == nil {
		e.Answer = strings.TrimSpace(string(answer))
	}
	return e
}

func (s *Spool) inspectResult(j *job, e *Entry, check func(File, bodyHeader) error) error {
	var head resultHead
	err := s.withFile(path.Join(e.Location, resultFile), func(file File) error { return check(file, &head) })
	if errors.Is(err, errIncomplete) { // no result yet, or it is being written
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", resultFile, err)
	}
	if acceptsResult(e.Job) && !j.noResult {
		attachResult(&e.Job, head.ExitCode)
	}
	e.Result = head.Body.Size
	return nil
}

// steps returns the readable steps of a journal.
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
			all = append(all, Step{At: st.At, Text: st.describe()})
		}
	}
	return all
}

// describe returns the step as a text for people.
func (st step) describe() string {
	switch st.Kind {
	case confirmed:
		return "confirmed by the server"
	case aborted:
		return "abort requested: " + st.Reason
	case handedOut:
		return "handed out to executor " + string(st.Executor)
	case unstarted:
		return "the plugin proved that it did not start the job"
	case takenBack:
		return "taken back because its executor has exited"
	case crashed:
		return "an actor crashed: " + st.Actor
	case ended:
		if st.Ending == nil {
			return "ended"
		}
		outcome := string(st.Ending.Outcome) + ": " // the message may begin with it
		return "ended as " + strings.TrimSuffix(outcome+strings.TrimPrefix(st.Ending.Message, outcome), ": ")
	case stopped:
		return cmp.Or(st.Reason, "stopped; details unknown")
	case finished:
		return "finish accepted by the server"
	case logClosed:
		return "log complete"
	}
	return string(st.Kind)
}

// InspectLog returns the last bytes of a job's log, at most limit.
func InspectLog(files FS, e Entry, limit int64) (text []byte, err error) {
	s := &Spool{fs: readOnly{files}}
	err = s.withFile(path.Join(e.Location, logFile), func(file File) error {
		from := max(0, e.Job.Log.Size-limit)
		text = make([]byte, e.Job.Log.Size-from)
		_, err := file.ReadAt(text, from)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the log of %s: %w", e.Location, err)
	}
	return text, nil
}

// Free returns the free space in bytes.
func (s *Spool) Free() (Space, error) { return s.fs.Free() }

// CountRejectedAndCorrupt returns the number of entries in rejected/ and corrupt/.
func (s *Spool) CountRejectedAndCorrupt() (rejected, corrupt int, err error) {
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

// readOnly is an FS for reading: it ignores the truncations that the spool makes while it reads, and refuses renames.
type readOnly struct{ FS }

func (readOnly) Rename(string, string) error { return errors.ErrUnsupported }

func (s readOnly) Open(name string) (File, error) {
	f, err := s.FS.Open(name)
	if err != nil {
		return nil, err
	}
	return readOnlyFile{f}, nil
}

type readOnlyFile struct{ File }

func (readOnlyFile) Truncate(int64) error { return nil }
func (readOnlyFile) Sync() error          { return nil }
