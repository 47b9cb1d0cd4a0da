package spool

import (
	"errors"
	"path"
)

// mostSpares bounds the directories in stock: as many jobs as come at once before one has gone.
const mostSpares = 16

// A spare is the directory of a job to come, under tmp/, with all its files and all of them empty. It is made while nobody
// waits: to make the files takes longer than to make a job durable in them.

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
	name = s.temp()
	if err := s.fs.Mkdir(name, privateDir); err != nil {
		return "", err
	}
	for _, file := range []string{jobFile, journalFile, resultFile, logFile, markFile, ackFile} {
		if err := s.create(path.Join(name, file), private); err != nil {
			return "", errors.Join(err, s.fs.RemoveAll(name))
		}
	}
	if err := s.fs.SyncDir(name); err != nil {
		return "", errors.Join(err, s.fs.RemoveAll(name))
	}
	return name, nil
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
