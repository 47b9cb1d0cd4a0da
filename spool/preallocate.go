package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	msg "runnerd/messages"
)

// maxPreallocated bounds the preallocated directories. It is the number of jobs that can arrive in a burst without waiting for
// the creation of a directory.
const maxPreallocated = 16

// A preallocated directory is for a future job and has all of a job's files, empty. Creating them takes longer than making a job
// durable in them, so it is done when no caller waits for it. The directory is durable in jobs/, so a job written into it is durable
// after one fsync. The rename to the job's name need not be durable, because Open repeats it.
const preallocatedPrefix = ".preallocated-"

// takePreallocated returns a preallocated directory, or creates one.
func (s *Spool) takePreallocated() (name string, err error) {
	s.mu.Lock()
	if last := len(s.preallocated) - 1; last >= 0 {
		name, s.preallocated = s.preallocated[last], s.preallocated[:last]
	}
	s.mu.Unlock()
	if name != "" {
		return name, nil
	}
	return s.preallocate()
}

func (s *Spool) preallocate() (name string, err error) {
	name = path.Join(jobsDir, fmt.Sprintf("%s%d", preallocatedPrefix, s.tempSeq.Add(1)))
	if err := s.fs.Mkdir(name, privateDir); err != nil {
		return "", err
	}
	if err := s.createJobFiles(name); err != nil {
		return "", errors.Join(err, s.fs.RemoveAll(name))
	}
	return name, nil
}

func (s *Spool) createJobFiles(name string) error {
	for _, file := range jobFiles {
		if err := s.create(path.Join(name, file), privateFile); err != nil {
			return err
		}
	}
	return errors.Join(s.fs.SyncDir(name), s.fs.SyncDir(jobsDir))
}

// removeFailedAdd deletes the directory of a job that could not be added. A directory that cannot be deleted would become the job at
// the next Open, so Add must not add the job again beside it, or the job would come back after its end.
func (s *Spool) removeFailedAdd(id msg.ExecutionID, dir string) error {
	err := s.fs.RemoveAll(dir)
	if err != nil {
		s.mu.Lock()
		s.leftovers[id] = dir
		s.mu.Unlock()
	}
	return err
}

func (s *Spool) removeLeftover(id msg.ExecutionID) error {
	s.mu.Lock()
	dir, found := s.leftovers[id]
	s.mu.Unlock()
	if !found {
		return nil
	}
	if err := s.fs.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove what a failed attempt left behind: %w", err)
	}
	s.mu.Lock()
	delete(s.leftovers, id)
	s.mu.Unlock()
	return nil
}

// adoptPreallocated renames a preallocated directory to the name of the job in it, and returns that name. If it has no readable
// job, it deletes the directory and returns false: such a job was never announced.
func (s *Spool) adoptPreallocated(name string) (jobName string, isJob bool, err error) {
	var head jobHead
	err = s.withFile(path.Join(name, jobFile), func(f File) error { return checkBody(f, &head) })
	if err == nil {
		err = s.checkComplete(name)
	}
	if err == nil {
		err = s.rewrite(path.Join(name, jobFile))
	}
	jobName = dirName(head.Job.Execution)
	if err == nil {
		err = s.fs.Rename(name, path.Join(jobsDir, jobName))
	}
	if err == nil {
		return jobName, true, nil
	}
	if errors.Is(err, ErrCorrupt) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		return "", false, s.fs.RemoveAll(name)
	}
	return "", false, fmt.Errorf("read %s: %w", name, err)
}

// rewrite writes a file's content again and syncs it: an earlier fsync may have failed, and a later one does not make up for that.
func (s *Spool) rewrite(name string) error {
	content, err := s.read(name)
	if err != nil {
		return err
	}
	return s.overwrite(name, content, 0, true)
}

// checkComplete returns errIncomplete for a job whose deletion had begun.
func (s *Spool) checkComplete(name string) error {
	dirEntries, err := s.fs.ReadDir(name)
	if err == nil && len(dirEntries) < len(jobFiles) {
		err = errIncomplete
	}
	return err
}

// replenish preallocates a directory after a job was removed. It ignores errors: the next Add creates its own directory and returns
// the error.
func (s *Spool) replenish() {
	s.mu.Lock()
	full := len(s.preallocated) >= maxPreallocated
	s.mu.Unlock()
	if full {
		return
	}
	if name, err := s.preallocate(); err == nil {
		s.mu.Lock()
		s.preallocated = append(s.preallocated, name)
		s.mu.Unlock()
	}
}
