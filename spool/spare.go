package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	msg "runnerd/messages"
)

// mostSpares bounds the directories in stock: as many jobs as come at once before one has gone.
const mostSpares = 16

// A spare is the directory of a job to come, with all its files and all of them empty: to make them takes longer than to make a
// job durable in them, so it is done while nobody waits. It is in jobs/ already, and safe there. A job that is written into it
// is therefore safe with one fsync; that it then bears the job's name is for people, and for Open, which gives it once more.
const sparePrefix = ".spare-"

// spare takes one out of the stock, or makes it.
func (s *Spool) spare() (name string, err error) {
	s.mu.Lock()
	if last := len(s.spares) - 1; last >= 0 {
		name, s.spares = s.spares[last], s.spares[:last]
	}
	s.mu.Unlock()
	if name != "" {
		return name, nil
	}
	return s.makeSpare()
}

func (s *Spool) makeSpare() (name string, err error) {
	name = path.Join(jobsDir, fmt.Sprintf("%s%d", sparePrefix, s.temps.Add(1)))
	if err := s.fs.Mkdir(name, privateDir); err != nil {
		return "", err
	}
	if err := s.fillSpare(name); err != nil {
		return "", errors.Join(err, s.fs.RemoveAll(name))
	}
	return name, nil
}

func (s *Spool) fillSpare(name string) error {
	for _, file := range jobFiles {
		if err := s.create(path.Join(name, file), private); err != nil {
			return err
		}
	}
	return errors.Join(s.fs.SyncDir(name), s.fs.SyncDir(jobsDir))
}

// leaveOver takes a spare away in which a job was written that could not be added. One that stays is the job to the next Open: it
// must not be added again beside it, or it would come back after its end.
func (s *Spool) leaveOver(id msg.ExecutionID, spare string) error {
	err := s.fs.RemoveAll(spare)
	if err != nil {
		s.mu.Lock()
		s.leftovers[id] = spare
		s.mu.Unlock()
	}
	return err
}

func (s *Spool) clearLeftover(id msg.ExecutionID) error {
	s.mu.Lock()
	spare, left := s.leftovers[id]
	s.mu.Unlock()
	if !left {
		return nil
	}
	if err := s.fs.RemoveAll(spare); err != nil {
		return fmt.Errorf("take away what an earlier attempt has left: %w", err)
	}
	s.mu.Lock()
	delete(s.leftovers, id)
	s.mu.Unlock()
	return nil
}

// loadSpare gives a job that did not get its name the name, and takes any other spare away: what cannot be read in it was
// never announced. False: there is no job.
func (s *Spool) loadSpare(name string) (string, bool, error) {
	var head jobHead
	err := s.edit(path.Join(name, jobFile), func(f File) error { return checkBody(f, &head) })
	if err == nil {
		err = s.isComplete(name)
	}
	if err == nil {
		err = s.rewrite(path.Join(name, jobFile))
	}
	as := dirName(head.Job.Execution)
	if err == nil {
		err = s.fs.Rename(name, path.Join(jobsDir, as))
	}
	if err == nil {
		return as, true, nil
	}
	if errors.Is(err, ErrCorrupt) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		return "", false, s.fs.RemoveAll(name)
	}
	return "", false, fmt.Errorf("read %s: %w", name, err)
}

// rewrite makes safe what can be read: an fsync may have failed since it was written, and none that comes later makes up for that.
func (s *Spool) rewrite(name string) error {
	content, err := s.read(name)
	if err != nil {
		return err
	}
	return s.overwrite(name, content, 0, true)
}

// isComplete tells a job from what is left of one that was being deleted.
func (s *Spool) isComplete(name string) error {
	entries, err := s.fs.ReadDir(name)
	if err == nil && len(entries) < len(jobFiles) {
		err = errIncomplete
	}
	return err
}

// restock makes a spare for the job that has gone. Without it the next Add makes its own, and says what is wrong.
func (s *Spool) restock() {
	s.mu.Lock()
	full := len(s.spares) >= mostSpares
	s.mu.Unlock()
	if full {
		return
	}
	if name, err := s.makeSpare(); err == nil {
		s.mu.Lock()
		s.spares = append(s.spares, name)
		s.mu.Unlock()
	}
}
