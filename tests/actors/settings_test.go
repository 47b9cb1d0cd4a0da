package actors_test

import (
	"sync"

	msg "runnerd/messages"
)

// settings are the server's last configuration, as the disk keeps it.
type settings struct {
	mu      sync.Mutex
	config  msg.Config
	deleted bool
	fails   bool
}

func (s *settings) fail(fails bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = fails
}

func (s *settings) SaveConfig(c msg.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.config = c
	return nil
}

func (s *settings) RecordDeletion() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails {
		return errNoSpace
	}
	s.deleted = true
	return nil
}

func (s *settings) isDeleted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deleted
}

func (s *settings) load() msg.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.config
}
