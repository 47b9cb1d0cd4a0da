package spool

import (
	"errors"
	"fmt"
	"io/fs"
)

// Setting is the name of a stored value: a file of JSON that the spool does not interpret.
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

// rawJSON is JSON that the spool does not interpret.
type rawJSON []byte

func (v rawJSON) MarshalJSON() ([]byte, error) { return v, nil }

func (v *rawJSON) UnmarshalJSON(text []byte) error {
	*v = append((*v)[:0], text...)
	return nil
}

// LoadIdentity returns the identity of this runner as JSON, made by create if there is none yet. It is stored twice; a lost or
// damaged copy is repaired from the other. If both are unreadable while the spool has jobs, it returns an error, because the
// jobs' keys are sealed to the lost identity.
func (s *Spool) LoadIdentity(create func() ([]byte, error)) ([]byte, error) {
	first, firstErr := s.loadValue(identityFile)
	second, secondErr := s.loadValue(identityCopy)
	switch {
	case firstErr == nil && secondErr == nil:
		return first, s.fs.SyncDir(".") // an earlier attempt may have failed between the renames and this sync
	case firstErr == nil:
		return first, s.repair(identityCopy, first, secondErr)
	case secondErr == nil:
		return second, s.repair(identityFile, second, firstErr)
	}
	cause := errors.Join(firstErr, secondErr)
	if len(s.jobs) > 0 || errors.Is(cause, fs.ErrPermission) {
		return nil, s.identityError(cause)
	}
	if errors.Is(firstErr, fs.ErrNotExist) && errors.Is(secondErr, fs.ErrNotExist) {
		firstErr, secondErr = nil, nil
	}
	created, err := create()
	if err != nil {
		return nil, fmt.Errorf("create the identity: %w", err)
	}
	return created, errors.Join(s.repair(identityFile, created, firstErr), s.repair(identityCopy, created, secondErr))
}

func (s *Spool) identityError(cause error) error {
	return fmt.Errorf("could not read the runner's identity, which is needed to decrypt %d jobs; "+
		"restore %s from a backup, or move %s away to give these jobs up: %w",
		len(s.jobs), s.fs.Path(identityFile), s.fs.Path(jobsDir), cause)
}

// repair writes one copy of the identity. cause is why the old copy could not be read, or nil for a new identity.
func (s *Spool) repair(name string, v rawJSON, cause error) error {
	p := Problem{What: "identity", Name: name, Err: cause}
	if cause != nil && !errors.Is(cause, fs.ErrNotExist) {
		quarantined, err := s.setAside(name, corruptDir, name)
		if err != nil {
			return fmt.Errorf("repair %s: %w", name, err)
		}
		p.Quarantined = quarantined
	}
	if err := s.saveValue(name, v); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if cause != nil {
		s.addProblem(p)
	}
	return nil
}

// Save stores a setting, which is JSON. It is durable on return.
func (s *Spool) Save(name Setting, v []byte) error {
	if err := s.withReserve(func() error { return s.saveValue(string(name)+".json", v) }); err != nil {
		return fmt.Errorf("save the %s setting: %w", name, err)
	}
	return nil
}

// loadSettings quarantines damaged settings.
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

// Load returns a setting, and false if it does not exist or cannot be read.
func (s *Spool) Load(name Setting) ([]byte, bool) {
	v, err := s.loadValue(string(name) + ".json")
	return v, err == nil
}

func (s *Spool) saveValue(name string, v rawJSON) error {
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
	var v rawJSON
	return v, decode(line, &v)
}
