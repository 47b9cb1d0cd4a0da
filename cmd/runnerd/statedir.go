package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// The state directory has the keys and the jobs' inputs. So it belongs to the runner's user, is closed to others, and no other user can
// replace it by way of a directory above it.

const defaultStateDir = "/var/lib/runnerd"

// stateDirs returns the directories in which a runner without --state-dir keeps its state, the preferred one first. storeName is
// --store-name. The second is that of the XDG Base Directory Specification; it never is a directory that users share.
func stateDirs(storeName string) []string {
	dirs := []string{defaultStateDir}
	if storeName != "" {
		dirs[0] = filepath.Dir(storeName)
	}
	if base := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(base) {
		return append(dirs, filepath.Join(base, "runnerd"))
	}
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) && home != "/" {
		return append(dirs, filepath.Join(home, ".local/state/runnerd"))
	}
	return dirs
}

// errUnsafeDir is wrapped by the error of a directory that another user could read or replace.
var errUnsafeDir = errors.New("it is not safe")

// chooseStateDir sets the state directory, and creates nothing. It replaces the default one if this user cannot write there, and
// skipped then says why. It never replaces --state-dir, nor a directory that is not safe.
func (s *SelfConfig) chooseStateDir() (skipped, err error) {
	dirs, name := []string{s.StateDir}, "--state-dir"
	if s.StateDir == "" {
		dirs, name = stateDirs(s.StoreName), "the state directory"
	}
	for _, dir := range dirs {
		if s.StateDir, err = filepath.Abs(dir); err != nil {
			return nil, fmt.Errorf("find the state directory: %w", err)
		}
		if err = checkStateDir(s.StateDir); err == nil {
			return skipped, nil
		}
		err = fmt.Errorf("%s is %q, which is not usable: %w", name, s.StateDir, err)
		if errors.Is(err, errUnsafeDir) {
			return nil, err
		}
		skipped = errors.Join(skipped, err)
	}
	return nil, fmt.Errorf("%w; set --state-dir to a directory that this user can write", skipped)
}

// createStateDir checks the directory again after creating it, because somebody else may have created it in the meantime.
func (d *daemon) createStateDir(context.Context) error {
	dir := d.config.Self.StateDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create the state directory: %w", err)
	}
	if err := checkStateDir(dir); err != nil {
		return fmt.Errorf("the state directory %q is not usable: %w", dir, err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("close the state directory to other users: %w", err)
	}
	return nil
}

// checkStateDir returns why dir cannot be the state directory. It changes nothing.
func checkStateDir(dir string) error {
	existing, err := nearestExisting(dir)
	if err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(existing)
	if err != nil {
		return err
	}
	if existing == dir {
		if err := checkOwned(dir); err != nil {
			return err
		}
	}
	if err := unix.Faccessat(unix.AT_FDCWD, real, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return &fs.PathError{Op: "write to", Path: existing, Err: err}
	}
	return errors.Join(checkParents(dir), checkParents(real))
}

func nearestExisting(path string) (string, error) {
	for {
		_, err := os.Lstat(path)
		if !errors.Is(err, fs.ErrNotExist) || path == "/" {
			return path, err
		}
		path = filepath.Dir(path)
	}
}

// checkOwned checks a directory that exists. Others may read its list of names until the runner closes it, but must not have written to it.
func checkOwned(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}
	case owner(info) != os.Geteuid():
		return fmt.Errorf("%w: it belongs to user %d, and the runner runs as user %d; change its owner, or set --state-dir to another", errUnsafeDir, owner(info), os.Geteuid())
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%w: other users can write to it (mode %v), so its content cannot be trusted; empty it and run chmod 700, or set --state-dir to another", errUnsafeDir, info.Mode().Perm())
	}
	return nil
}

// checkParents checks each directory above path, and each symbolic link in path.
func checkParents(path string) error {
	for path != "/" {
		link, err := os.Lstat(path)
		if err == nil && link.Mode()&fs.ModeSymlink != 0 && !trusted(owner(link)) {
			return fmt.Errorf("%w: the symbolic link %s belongs to user %d, who can replace it; set --state-dir to another", errUnsafeDir, path, owner(link))
		}
		path = filepath.Dir(path)
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // the runner will create it
		case err != nil:
			return err
		case !trusted(owner(info)):
			return fmt.Errorf("%w: the directory %s above it belongs to user %d, who can replace it; set --state-dir to another", errUnsafeDir, path, owner(info))
		case writableByOthers(info) && info.Mode()&fs.ModeSticky == 0:
			return fmt.Errorf("%w: other users can write to the directory %s above it (mode %v) and replace it; set --state-dir to another", errUnsafeDir, path, info.Mode().Perm())
		}
	}
	return nil
}

func trusted(user int) bool { return user == 0 || user == os.Geteuid() }

// writableByOthers ignores the group of root and the user's own, which by convention has no other members.
func writableByOthers(info fs.FileInfo) bool {
	group := int(info.Sys().(*syscall.Stat_t).Gid)
	return info.Mode()&0o002 != 0 || info.Mode()&0o020 != 0 && group != 0 && group != os.Getegid()
}

func owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }
