package spool

import (
	"errors"
	"fmt"
	"io/fs"
)

// Setting names one of the values that the wiring keeps here, each a file of JSON that the spool does not look into.
type Setting string

const (
	Server  Setting = "server"  // the last configuration from the server
	Gateway Setting = "gateway" // the address at which executors find the gateway
)

// The two copies of the identity.
const (
	identityFile = "identity.json"
	identityCopy = "identity.copy.json"
)

// value is JSON of others.
type value []byte

func (v value) MarshalJSON() ([]byte, error) { return v, nil }

func (v *value) UnmarshalJSON(text []byte) error {
	*v = append((*v)[:0], text...)
	return nil
}

// LoadIdentity returns the identity of this runner, JSON made by create when there is none yet. It is kept twice; a copy that
// is lost or damaged is repaired from the other. Without either, while there are jobs, it is an error: their keys are sealed
// to the identity that was.
func (s *Spool) LoadIdentity(create func() ([]byte, error)) ([]byte, error) {
	first, firstErr := s.loadValue(identityFile)
	second, secondErr := s.loadValue(identityCopy)
	switch {
	case firstErr == nil && secondErr == nil:
		return first, s.fs.SyncDir(".") // an attempt before may have failed after it had made the names
	case firstErr == nil:
		return first, s.repair(identityCopy, first, secondErr)
	case secondErr == nil:
		return second, s.repair(identityFile, second, firstErr)
	}
	cause := errors.Join(firstErr, secondErr)
	if len(s.jobs) > 0 || errors.Is(cause, fs.ErrPermission) {
		return nil, s.noIdentity(cause)
	}
	if errors.Is(firstErr, fs.ErrNotExist) && errors.Is(secondErr, fs.ErrNotExist) {
		firstErr, secondErr = nil, nil
	}
	made, err := create()
	if err != nil {
		return nil, fmt.Errorf("create the identity: %w", err)
	}
	return made, errors.Join(s.repair(identityFile, made, firstErr), s.repair(identityCopy, made, secondErr))
}

func (s *Spool) noIdentity(cause error) error {
	return fmt.Errorf("the identity of this runner cannot be read, and the inputs and results of %d jobs can be opened with nothing else; "+
		"put %s back from a backup, or give the jobs up: move %s away and start again: %w",
		len(s.jobs), s.fs.Path(identityFile), s.fs.Path(jobsDir), cause)
}

// repair writes one copy; cause says what was wrong with the one before, nil: there was none to be.
func (s *Spool) repair(name string, v value, cause error) error {
	p := Problem{What: "identity", Name: name, Err: cause}
	if cause != nil && !errors.Is(cause, fs.ErrNotExist) {
		kept, err := s.keep(name, corruptDir, name)
		if err != nil {
			return fmt.Errorf("repair %s: %w", name, err)
		}
		p.Kept = kept
	}
	if err := s.saveValue(name, v); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if cause != nil {
		s.problem(p)
	}
	return nil
}

// Save keeps a setting, JSON. It is durable on return.
func (s *Spool) Save(name Setting, v []byte) error {
	if err := s.mustFit(func() error { return s.saveValue(string(name)+".json", v) }); err != nil {
		return fmt.Errorf("save the %s setting: %w", name, err)
	}
	return nil
}

// loadSettings takes those that are damaged out of the way.
func (s *Spool) loadSettings() error {
	for _, name := range []Setting{Server, Gateway} {
		file := string(name) + ".json"
		if _, err := s.loadValue(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			if err := s.quarantine("setting", file, file, "", err); err != nil {
				return err
			}
		}
	}
	return nil
}

// Load returns a setting; false: there is none that can be read.
func (s *Spool) Load(name Setting) ([]byte, bool) {
	v, err := s.loadValue(string(name) + ".json")
	return v, err == nil
}

func (s *Spool) saveValue(name string, v value) error {
	line, err := encode(v)
	if err != nil {
		return err
	}
	return s.replace(name, line)
}

func (s *Spool) loadValue(name string) ([]byte, error) {
	line, err := s.read(name)
	if err != nil {
		return nil, err
	}
	var v value
	return v, decode(line, &v)
}
