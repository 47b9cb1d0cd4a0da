package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// reserveFile only occupies space; nothing reads it. When the disk is full, it is deleted to make space for the steps and results of the
// jobs in the spool and for what a start writes. Logs do not use the reserve; they wait for space.
const reserveFile = "reserve"

// withReserve calls do. If the disk is full, it releases the reserve and calls do again.
func (s *Spool) withReserve(do func() error) error {
	err := do()
	if isFull(err) && s.releaseReserve() {
		err = do()
	}
	return err
}

// isFull reports whether an error means that the disk is full. The quota of a user or group, a full network file system and btrfs
// return EDQUOT; a disk, its inodes and a project's quota return ENOSPC. EFBIG does not count, because deleting the reserve does not
// raise the limit of a file.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// releaseReserve deletes the reserve and reports whether there was one.
func (s *Spool) releaseReserve() bool {
	s.reserveMu.Lock()
	defer s.reserveMu.Unlock()
	released := s.hasReserve && s.fs.RemoveAll(reserveFile) == nil
	s.hasReserve = s.hasReserve && !released
	return released
}

// loadReserve finds the reserve of the last start, or creates one.
func (s *Spool) loadReserve() error {
	err := s.withFile(reserveFile, func(f File) error {
		size, err := f.Size()
		s.hasReserve = uint64(size) == s.opts.Reserve
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the reserve: %w", err)
	}
	free, err := s.fs.Free()
	if err == nil {
		s.restoreReserve(free.Bytes)
	}
	return err
}

// restoreReserve creates the reserve if it is missing and enough space is free. On a file system that cannot allocate space there is
// never a reserve, and RequiredSpace is higher instead.
func (s *Spool) restoreReserve(free uint64) {
	s.reserveMu.Lock()
	defer s.reserveMu.Unlock()
	if !s.hasReserve && s.opts.Reserve > 0 && free >= s.opts.LowWater+s.opts.Reserve {
		s.hasReserve = s.createReserve() == nil
	}
}

func (s *Spool) createReserve() error {
	if err := s.fs.RemoveAll(reserveFile); err != nil {
		return err
	}
	f, err := s.fs.Create(reserveFile, privateFile)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Allocate(int64(s.opts.Reserve)), f.Close()); err != nil {
		return errors.Join(err, s.fs.RemoveAll(reserveFile))
	}
	return nil
}
