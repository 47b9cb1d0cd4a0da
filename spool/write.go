package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
)

// The ways in which bytes get into files.

// write puts the parts at the beginning of an open file, the first one last: a process that is killed meanwhile leaves a file
// that begins with nothing, which cannot be taken for a damaged one.
func write(f File, parts ...[]byte) error {
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

// writeAt puts bytes at a place; with durable they are safe on return.
func writeAt(f File, content []byte, at int64, durable bool) error {
	if _, err := f.WriteAt(content, at); err != nil || !durable {
		return err
	}
	return f.Sync()
}

// edit opens a file for one change.
func (s *Spool) edit(name string, change func(File) error) error {
	f, err := s.fs.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(change(f), f.Close())
}

// create makes a file that may be lost, or be found empty, after a loss of power.
func (s *Spool) create(name string, perm fs.FileMode, content ...[]byte) error {
	f, err := s.fs.Create(name, perm)
	if err != nil {
		return err
	}
	return errors.Join(write(f, content...), f.Close())
}

// createDurably makes a file whose content is safe on return; its name is once its directory is synced.
func (s *Spool) createDurably(name string, content ...[]byte) error {
	f, err := s.fs.Create(name, private)
	if err != nil {
		return err
	}
	if err := write(f, content...); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}

// replace puts a file in the place of another or of none: a crash leaves the one or the other, whole.
func (s *Spool) replace(name string, content ...[]byte) error {
	temp := s.temp()
	if err := s.createDurably(temp, content...); err != nil {
		return errors.Join(err, s.fs.RemoveAll(temp))
	}
	if err := s.fs.Rename(temp, name); err != nil {
		return errors.Join(err, s.fs.RemoveAll(temp))
	}
	return s.fs.SyncDir(path.Dir(name))
}

// read returns a whole file.
func (s *Spool) read(name string) (content []byte, err error) {
	err = s.edit(name, func(f File) error {
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

// temp is a new name under tmp/, which Open empties.
func (s *Spool) temp() string { return fmt.Sprintf("%s/%d", tmpDir, s.temps.Add(1)) }

// move renames, and is safe on return. If it cannot be made safe it is undone, so that a repetition does everything anew: an
// fsync that failed once says nothing when it succeeds later.
func (s *Spool) move(from, to string) error {
	if err := s.fs.Rename(from, to); err != nil {
		return err
	}
	if err := s.syncNames(from, to); err != nil {
		return errors.Join(err, s.fs.Rename(to, from), s.syncNames(from, to))
	}
	return nil
}

// place is move to where nothing counts that is there already: an attempt before left it, on a disk that did not let it be undone.
func (s *Spool) place(from, to string) error {
	err := s.move(from, to)
	if errors.Is(err, fs.ErrExist) {
		if _, err = s.discard(to); err == nil {
			err = s.move(from, to)
		}
	}
	return err
}

// vanished reports whether a directory has left its place by an attempt that could not be undone, and makes that safe.
func (s *Spool) vanished(name string) bool {
	_, err := s.fs.ReadDir(name)
	return errors.Is(err, fs.ErrNotExist) && s.fs.SyncDir(path.Dir(name)) == nil
}

// syncNames makes a rename safe. What is under tmp/ need not be: Open empties it.
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

// discard takes a directory away. The move out of its place is safe before anything in it is deleted, so that a crash never
// leaves half of it to be read. It may be gone and there is an error all the same: not all of it could be deleted.
func (s *Spool) discard(name string) (gone bool, err error) {
	temp := s.temp()
	if err := s.move(name, temp); err != nil {
		return false, err
	}
	return true, s.fs.RemoveAll(temp)
}

// keep moves something to where a person finds it, beside what was kept under the same name before.
func (s *Spool) keep(name, dir, as string) (string, error) {
	s.shelving.Lock()
	defer s.shelving.Unlock()
	if err := s.fs.Mkdir(dir, privateDir); err != nil && !errors.Is(err, fs.ErrExist) { // a person may have taken it away
		return "", err
	}
	taken, err := s.fs.ReadDir(dir)
	if err != nil {
		return "", err
	}
	names := make(map[string]bool, len(taken))
	for _, entry := range taken {
		names[entry.Name()] = true
	}
	to := as
	for n := 2; names[to]; n++ {
		to = fmt.Sprintf("%s.%d", as, n)
	}
	to = path.Join(dir, to)
	return to, s.move(name, to)
}
