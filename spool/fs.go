package spool

import (
	"io"
	"io/fs"
)

// FS is all that the spool does to a file system, so that a test can fail, lose or count any of it. Names are slash-separated
// and relative to the spool's directory. As in POSIX, what was written is safe once the file is synced, and what a directory
// says once the directory is synced; a rename is atomic, and is safe once either of its directories is synced.
type FS interface {
	// Lock makes the caller the only one at the directory until Close; holder tells the others who that is. A lock that is
	// held by another: *HeldError.
	Lock(name, holder string) error
	// Mkdir makes a directory with exactly these permissions, whatever the umask.
	Mkdir(name string, perm fs.FileMode) error
	// Create makes a file that was not there, with exactly these permissions, open for reading and writing.
	Create(name string, perm fs.FileMode) (File, error)
	// Open opens a file that is there for reading and writing.
	Open(name string) (File, error)
	// ReadDir lists a directory in the order of names.
	ReadDir(name string) ([]fs.DirEntry, error)
	// Rename replaces a file at the new name; a directory that is not empty stays, and the error is fs.ErrExist.
	Rename(from, to string) error
	// RemoveAll may be repeated, and follows no links.
	RemoveAll(name string) error
	// SyncDir makes the names in a directory safe.
	SyncDir(name string) error
	// SyncAll makes safe whatever was written before, by whichever process.
	SyncAll() error
	// Free is how many bytes are left to write.
	Free() (uint64, error)
	// Path is the absolute path of a name.
	Path(name string) string
	// Close gives up the lock.
	Close() error
}

// File is an open file of an FS.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	// Allocate makes the file so long, and takes all the space that writing to it needs.
	Allocate(size int64) error
	Sync() error
}

// HeldError says who holds the lock.
type HeldError struct{ Holder string }

func (e *HeldError) Error() string { return "held by " + e.Holder }
