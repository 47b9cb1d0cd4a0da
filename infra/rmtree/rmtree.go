// Package rmtree removes directory trees of any size and depth with few descriptors. os.RemoveAll holds a descriptor open for each
// level, so that a plugin could exhaust this process's descriptors by nesting directories.
package rmtree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// readDirBatch is the number of directory entries held in memory.
const readDirBatch = 1000

// Remove removes an entry of root with its content. It returns nil if the entry does not exist, and does not follow links.
func Remove(root *os.Root, name string) error {
	if removed, err := remove(root, name); removed || !notEmpty(err) {
		return err
	}
	dir, err := root.OpenRoot(name)
	if err != nil {
		return err
	}
	if err := errors.Join(Empty(dir), dir.Close()); err != nil {
		return err
	}
	_, err = remove(root, name)
	return err
}

// Empty removes the content of root. It skips what cannot be removed and returns an error for it.
func Empty(root *os.Root) error {
	e := remover{root: root}
	for {
		removed, err := e.removeEntries(".")
		if removed == 0 {
			return err
		}
	}
}

// remover moves nested directories to the top, where it empties them one after another.
type remover struct {
	root      *os.Root
	liftCount int   // directories moved so far; the last number used in a name
	lifted    []int // numbers of the moved directories that are not empty yet
}

// removeEntries removes a directory's entries or moves them to the top. It returns the last error of an entry that it could
// neither remove nor move.
func (e *remover) removeEntries(dir string) (removed int, err error) {
	// The plugin may have replaced the directory by a link or a pipe, which must not be opened.
	f, err := e.root.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	for {
		names, end := f.Readdirnames(readDirBatch)
		for _, name := range names {
			if failed := e.removeFrom(dir, name); failed != nil {
				err = failed
				continue
			}
			removed++
		}
		if errors.Is(end, io.EOF) {
			return removed, err
		} else if end != nil {
			return removed, end
		}
	}
}

func (e *remover) removeFrom(dir, name string) error {
	name = path.Join(dir, name)
	removed, err := remove(e.root, name)
	switch {
	case removed || !notEmpty(err):
		return err
	case dir != ".":
		return e.lift(name)
	}
	err = e.removeDir(name)
	for len(e.lifted) > 0 {
		last := len(e.lifted) - 1
		next := liftedName(e.lifted[last])
		e.lifted = e.lifted[:last]
		if failed := e.removeDir(next); failed != nil {
			err = failed
		}
	}
	return err
}

// removeDir empties and removes a directory at the top.
func (e *remover) removeDir(name string) error {
	for {
		removed, err := e.removeEntries(name)
		if removed > 0 {
			continue
		}
		if err == nil {
			_, err = remove(e.root, name)
		}
		return err
	}
}

// lift moves a directory to the top.
func (e *remover) lift(name string) error {
	for {
		e.liftCount++
		_, err := e.root.Lstat(liftedName(e.liftCount))
		if errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return err
		}
	}
	err := e.root.Rename(name, liftedName(e.liftCount))
	if err == nil {
		e.lifted = append(e.lifted, e.liftCount)
	}
	return err
}

func liftedName(n int) string { return fmt.Sprintf(".rmtree-%d", n) }

func remove(root *os.Root, name string) (removed bool, err error) {
	err = root.Remove(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}

func notEmpty(err error) bool {
	return errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST)
}
