package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
)

// writeHeadLast writes the parts at the beginning of a file, the first part last: a process that is killed meanwhile leaves a file
// without a head, which cannot be mistaken for a damaged one.
func writeHeadLast(f File, parts ...[]byte) error {
	var at int64
	for _, part := range parts {
		at += int64(len(part))
	}
	for _, part := range slices.Backward(parts) {
		at -= int64(len(part))
		if _, err := f.WriteAt(part, at); err != nil {
			return err
		}
	}
	return nil
}

// writeAt writes at an offset in bytes, and syncs the file if durable.
func writeAt(f File, content []byte, at int64, durable bool) error {
	if _, err := f.WriteAt(content, at); err != nil || !durable {
		return err
	}
	return f.Sync()
}

// withFile opens a file and calls do with it.
func (s *Spool) withFile(name string, do func(File) error) error {
	f, err := s.fs.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(do(f), f.Close())
}

// create creates a file without syncing it.
func (s *Spool) create(name string, perm fs.FileMode, content ...[]byte) error {
	f, err := s.fs.Create(name, perm)
	if err != nil {
		return err
	}
	return errors.Join(writeHeadLast(f, content...), f.Close())
}

// createDurably creates a file and syncs its content. The name is durable once the directory is synced.
func (s *Spool) createDurably(name string, content ...[]byte) error {
	f, err := s.fs.Create(name, privateFile)
	if err != nil {
		return err
	}
	if err := writeHeadLast(f, content...); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}

// replace creates or replaces a file atomically and durably.
func (s *Spool) replace(name string, content ...[]byte) error {
	temp := s.tempName()
	if err := s.createDurably(temp, content...); err != nil {
		return errors.Join(err, s.fs.RemoveAll(temp))
	}
	if err := s.fs.Rename(temp, name); err != nil {
		return errors.Join(err, s.fs.RemoveAll(temp))
	}
	return s.fs.SyncDir(path.Dir(name))
}

// read returns the content of a file.
func (s *Spool) read(name string) (content []byte, err error) {
	err = s.withFile(name, func(f File) error {
		size, err := f.Size()
		if err != nil {
			return err
		}
		content = make([]byte, size)
		_, err = io.ReadFull(io.NewSectionReader(f, 0, size), content)
		return err
	})
	return content, err
}

// tempName returns a new name in tmp/, which Open empties.
func (s *Spool) tempName() string { return fmt.Sprintf("%s/%d", tmpDir, s.tempSeq.Add(1)) }

// move renames durably. If the sync fails, it undoes the rename, so that the next attempt does everything again: an fsync that
// succeeds after a failed one proves nothing.
func (s *Spool) move(from, to string) error {
	if err := s.fs.Rename(from, to); err != nil {
		return err
	}
	if err := s.syncNames(from, to); err != nil {
		return errors.Join(err, s.fs.Rename(to, from), s.syncNames(from, to))
	}
	return nil
}

// moveReplacing moves a directory. It first deletes a directory at the new name, which a failed attempt that could not be undone may
// have left.
func (s *Spool) moveReplacing(from, to string) error {
	err := s.move(from, to)
	if errors.Is(err, fs.ErrExist) {
		if _, err = s.removeDir(to); err == nil {
			err = s.move(from, to)
		}
	}
	return err
}

// syncGone reports whether a failed move that could not be undone has moved the directory away, and makes that durable.
func (s *Spool) syncGone(name string) bool {
	_, err := s.fs.ReadDir(name)
	return errors.Is(err, fs.ErrNotExist) && s.fs.SyncDir(path.Dir(name)) == nil
}

// syncNames makes a rename durable. It skips names in tmp/, which Open empties.
func (s *Spool) syncNames(names ...string) error {
	for _, name := range names {
		if dir := path.Dir(name); dir != tmpDir {
			if err := s.fs.SyncDir(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeDir moves a directory to tmp/ durably and then deletes it, so that a crash never leaves half of it to be read. It may return
// both gone and an error, if not all of it could be deleted.
func (s *Spool) removeDir(name string) (gone bool, err error) {
	temp := s.tempName()
	if err := s.move(name, temp); err != nil {
		return false, err
	}
	return true, s.fs.RemoveAll(temp)
}

// setAside moves a file or directory into dir, which is corrupt/ or rejected/, for an operator. It returns the new path, with a number
// appended if the name exists there.
func (s *Spool) setAside(name, dir, as string) (string, error) {
	s.setAsideMu.Lock()
	defer s.setAsideMu.Unlock()
	if err := s.fs.Mkdir(dir, privateDir); err != nil && !errors.Is(err, fs.ErrExist) { // an operator may have deleted it
		return "", err
	}
	existing, err := s.fs.ReadDir(dir)
	if err != nil {
		return "", err
	}
	names := make(map[string]bool, len(existing))
	for _, entry := range existing {
		names[entry.Name()] = true
	}
	to := as
	for n := 2; names[to]; n++ {
		to = fmt.Sprintf("%s.%d", as, n)
	}
	to = path.Join(dir, to)
	return to, s.move(name, to)
}
