package spool

import (
	"io"
	"io/fs"
)

// FS is the file system that the spool uses; tests replace it to inject failures and to count operations. Names are
// slash-separated and relative to the spool's directory. As in POSIX, the content of a file is durable once the file is synced,
// and its name once the directory is synced. A rename is atomic, and durable once either of its directories is synced.
type FS interface {
	// Lock locks the directory until Close; holder describes the caller to others. It returns *HeldError if another process
	// holds the lock.
	Lock(name, holder string) error
	// Mkdir creates a directory with exactly these permissions, whatever the umask.
	Mkdir(name string, perm fs.FileMode) error
	// Create creates a new file with exactly these permissions and opens it for reading and writing.
	Create(name string, perm fs.FileMode) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// ReadDir lists a directory, sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	// Rename replaces an existing file or empty directory at the new name; if a non-empty directory is there, it returns fs.ErrExist.
	Rename(from, to string) error
	// RemoveAll deletes a file or directory. It is idempotent and does not follow links.
	RemoveAll(name string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
	// SyncAll makes everything durable that any process has written before.
	SyncAll() error
	// Free returns the free space.
	Free() (Space, error)
	// Path returns the absolute path of a name.
	Path(name string) string
	// Close releases the lock.
	Close() error
}

// Space is the free space of a file system. Each file and each directory takes an inode.
type Space struct {
	Bytes  uint64
	Inodes uint64 // math.MaxUint64: not limited
}

// File is an open file of an FS.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	// Allocate sets the file's size in bytes and reserves the space for it.
	Allocate(size int64) error
	Sync() error
}

// HeldError is returned by Lock if another process holds the lock.
type HeldError struct{ Holder string }

func (e *HeldError) Error() string { return "held by " + e.Holder }
