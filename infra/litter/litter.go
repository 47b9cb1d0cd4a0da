// Package litter removes what others have left, however much and however deep it is. A standard RemoveAll holds a descriptor open
// for each level, and so would let a plugin that nests directories take all that this process may have.
package litter

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// atOnce is how many names of a directory are in memory.
const atOnce = 1000

// Remove takes away what has a name in root, and all that is in it. It may be repeated, and follows no links.
func Remove(root *os.Root, name string) error {
	if gone, err := remove(root, name); gone || !notEmpty(err) {
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

// Empty removes all that is in the directory of root. What cannot be removed is left.
func Empty(root *os.Root) error {
	e := emptying{root: root}
	for {
		removed, err := e.sweep(".")
		if removed == 0 {
			return err
		}
	}
}

// emptying lifts what is deep to the top, where it is emptied in its turn.
type emptying struct {
	root    *os.Root
	lifted  int   // so many were
	waiting []int // those that are not emptied yet
}

// sweep removes or lifts what it finds in a directory. The error is that of one where neither is possible.
func (e *emptying) sweep(dir string) (removed int, err error) {
	// It may be something else by now: neither a link out nor a pipe is opened.
	f, err := e.root.OpenFile(dir, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	for {
		names, end := f.Readdirnames(atOnce)
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

func (e *emptying) removeFrom(dir, name string) error {
	name = path.Join(dir, name)
	gone, err := remove(e.root, name)
	switch {
	case gone || !notEmpty(err):
		return err
	case dir != ".":
		return e.lift(name)
	}
	err = e.removeDir(name)
	for len(e.waiting) > 0 {
		last := len(e.waiting) - 1
		next := liftedName(e.waiting[last])
		e.waiting = e.waiting[:last]
		if failed := e.removeDir(next); failed != nil {
			err = failed
		}
	}
	return err
}

// removeDir empties and removes a directory at the top; what has directories in it waits there.
func (e *emptying) removeDir(name string) error {
	for {
		removed, err := e.sweep(name)
		if removed > 0 {
			continue
		}
		if err == nil {
			_, err = remove(e.root, name)
		}
		return err
	}
}

func (e *emptying) lift(name string) error {
	for {
		e.lifted++
		_, err := e.root.Lstat(liftedName(e.lifted))
		if errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return err
		}
	}
	err := e.root.Rename(name, liftedName(e.lifted))
	if err == nil {
		e.waiting = append(e.waiting, e.lifted)
	}
	return err
}

func liftedName(n int) string { return fmt.Sprintf(".litter-%d", n) }

func remove(root *os.Root, name string) (gone bool, err error) {
	err = root.Remove(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}

func notEmpty(err error) bool {
	return errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST)
}
