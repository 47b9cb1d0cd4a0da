package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// The reserve is a file that takes space and holds nothing. When the disk is full, of whatever, it makes room for what must not
// be lost, the steps and results of the jobs that are here, and for what a start writes. Logs are not among them; they wait.
const reserveFile = "reserve"

// mustFit does something, and when the disk is full once more without the reserve.
func (s *Spool) mustFit(do func() error) error {
	err := do()
	if isFull(err) && s.spendReserve() {
		err = do()
	}
	return err
}

// isFull: a user's or group's quota, a full network file system and btrfs say EDQUOT; a disk, its inodes and a project's quota ENOSPC.
// EFBIG is not among them: to remove the reserve does not raise the limit of a file.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// spendReserve makes room; false: there is no reserve.
func (s *Spool) spendReserve() bool {
	s.reserve.Lock()
	defer s.reserve.Unlock()
	spent := s.reserved && s.fs.RemoveAll(reserveFile) == nil
	s.reserved = s.reserved && !spent
	return spent
}

// loadReserve finds the one of the last start, or takes one anew.
func (s *Spool) loadReserve() error {
	err := s.edit(reserveFile, func(f File) error {
		size, err := f.Size()
		s.reserved = uint64(size) == s.opts.Reserve
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look at the reserve: %w", err)
	}
	free, err := s.fs.Free()
	if err == nil {
		s.takeReserve(free)
	}
	return err
}

// takeReserve takes the space again once there is enough of it. Where the file system cannot promise space it never is, and as much
// of what is free has to be left.
func (s *Spool) takeReserve(free uint64) {
	s.reserve.Lock()
	defer s.reserve.Unlock()
	if !s.reserved && s.opts.Reserve > 0 && free >= s.opts.LowWater+s.opts.Reserve {
		s.reserved = s.makeReserve() == nil
	}
}

func (s *Spool) makeReserve() error {
	if err := s.fs.RemoveAll(reserveFile); err != nil {
		return err
	}
	f, err := s.fs.Create(reserveFile, private)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Allocate(int64(s.opts.Reserve)), f.Close()); err != nil {
		return errors.Join(err, s.fs.RemoveAll(reserveFile))
	}
	return nil
}
