package actors_test

import (
	"sync"

	msg "runnerd/messages"
)

// configStore holds the server's last configuration and the deletion mark in memory. The program's configStore holds them on disk.
type configStore struct {
	mu      sync.Mutex
	config  msg.Config
	deleted bool
	failing bool
}

func (s *configStore) setFailing(fails bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = fails
}

func (s *configStore) SaveConfig(c msg.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = c
	return nil
}

func (s *configStore) RecordDeletion() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failing {
		return errNoSpace
	}
	s.deleted = true
	return nil
}

func (s *configStore) isDeleted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deleted
}

func (s *configStore) load() msg.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config
}
