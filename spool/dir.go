package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"runnerd/infra/rmtree"
)

// dir is the FS of a directory on disk. Every access goes through root, so no name and no link leads out of it.
type dir struct {
	path     string
	root     *os.Root
	rootFile *os.File // root's directory, opened
	lock     *os.File // nil until Lock
}

// Dir returns the FS of the directory at path and creates the directory if it does not exist. The caller must close it.
func Dir(path string) (FS, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find the state directory %s: %w", path, err)
	}
	if err := os.MkdirAll(abs, 0o700); err != nil {
		return nil, fmt.Errorf("create the state directory: %w", err)
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("open the state directory: %w", err)
	}
	rootFile, err := root.Open(".")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the state directory: %w", err), root.Close())
	}
	return &dir{path: abs, root: root, rootFile: rootFile}, nil
}

func (d *dir) Lock(name, holder string) error {
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		text, err := io.ReadAll(io.LimitReader(f, 1024))
		if err != nil {
			return err
		}
		return &HeldError{Holder: strings.TrimSpace(string(text))}
	}
	d.lock = f
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(holder+"\n"), 0)
	return err
}

func (d *dir) Mkdir(name string, perm fs.FileMode) error {
	if err := d.root.Mkdir(name, perm.Perm()); err != nil {
		return err
	}
	return d.root.Chmod(name, perm)
}

func (d *dir) Create(name string, perm fs.FileMode) (File, error) {
	f, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(perm); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return file{f}, nil
}

// Open lets the kernel confine the name to the directory, which takes one system call instead of one for each part of the name.
// Where the kernel cannot do that, root does it.
func (d *dir) Open(name string) (File, error) {
	fd, err := unix.Openat2(int(d.rootFile.Fd()), name, &unix.OpenHow{
		Flags: unix.O_RDWR | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch err {
	case nil:
		return file{os.NewFile(uintptr(fd), name)}, nil
	case unix.ENOSYS, unix.EPERM, unix.EAGAIN, unix.EINTR:
		f, err := d.root.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		return file{f}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: err}
}

func (d *dir) ReadDir(name string) ([]fs.DirEntry, error) {
	return fs.ReadDir(d.root.FS(), name)
}

func (d *dir) Rename(from, to string) error { return d.root.Rename(from, to) }

func (d *dir) RemoveAll(name string) error { return rmtree.Remove(d.root, name) }

func (d *dir) SyncDir(name string) error {
	return d.withDir(name, (*os.File).Sync)
}

func (d *dir) SyncAll() error {
	return d.withDir(".", func(f *os.File) error { return unix.Syncfs(int(f.Fd())) })
}

func (d *dir) Free() (free Space, err error) {
	err = d.withDir(".", func(f *os.File) error {
		var st unix.Statfs_t
		err := unix.Fstatfs(int(f.Fd()), &st)
		free = Space{Bytes: st.Bavail * uint64(st.Bsize), Inodes: st.Ffree}
		if st.Files == 0 { // the file system creates inodes as needed
			free.Inodes = math.MaxUint64
		}
		return err
	})
	return free, err
}

// withDir calls do with an opened directory.
func (d *dir) withDir(name string, do func(*os.File) error) error {
	f, err := d.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(do(f), f.Close())
}

func (d *dir) Path(name string) string { return filepath.Join(d.path, filepath.FromSlash(name)) }

func (d *dir) Close() error {
	var err error
	if d.lock != nil {
		err = d.lock.Close()
	}
	return errors.Join(err, d.rootFile.Close(), d.root.Close())
}

type file struct{ *os.File }

func (f file) Allocate(size int64) error { return unix.Fallocate(int(f.Fd()), 0, 0, size) }

func (f file) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}
