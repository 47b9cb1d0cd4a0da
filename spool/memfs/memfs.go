// Package memfs is a spool.FS in memory that may lose what a real disk may lose: the content of a file is durable only once the file is
// synced, and a name only once its directory is synced. FS.Before sees every operation and can fail it; Crash simulates a crash of
// the machine and returns the file system that remains.
package memfs

import (
	"io/fs"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"runnerd/spool"
)

// Op is an operation that is about to be executed.
type Op struct {
	N    int    // 1-based sequence number, counted for changes and reads separately
	Kind string // "create", "write", "sync", "rename", …
	Name string
}

// Fault is an error with a side effect, as a disk's errors have. A failed write writes the first Written bytes. After a failed sync the
// content is readable but not durable, and no later sync makes it durable: a kernel forgets what it could not write. Names do not
// behave like that, because a journaling file system that cannot write its journal accepts no more changes at all.
type Fault struct {
	Written int
	Err     error
}

func (f *Fault) Error() string { return f.Err.Error() }
func (f *Fault) Unwrap() error { return f.Err }

// FS is a file system in memory. Create it with New.
type FS struct {
	// Before is called before each operation that changes or syncs anything. The operation returns its error and then has no
	// effect, unless the error is a Fault. Nil: all succeed. Do not set it while the file system is in use.
	Before func(Op) error
	// BeforeRead is called before each operation that only reads.
	BeforeRead func(Op) error
	// Space is the free space in bytes, which only contents use. math.MaxUint64, the default, means unlimited.
	Space uint64
	// NoInodes says that no inode is free.
	NoInodes bool
	// Full is the error of an operation that finds no space. Default: ENOSPC.
	Full syscall.Errno

	mu      sync.Mutex
	ops     int
	reads   int
	holder  string
	root    *node
	pending []change // changes of names that are not durable yet, in order
}

// node is a file or a directory. Its name is stored in its directory, so an open file survives a rename.
type node struct {
	dir  bool
	perm fs.FileMode

	names        map[string]*node // as the running machine sees them
	durableNames map[string]*node // as a crash leaves them

	content        []byte
	allocated      int64 // bytes reserved by Allocate
	durableContent []byte
	pending        []edit // the edits from durableContent to content, in order
}

// edit is a write at an offset, or a truncation to that size if data is nil.
type edit struct {
	at   int64
	data []byte
}

// change is an atomic change of names.
type change []link

// link sets a name in a directory, or deletes it if to is nil.
type link struct {
	dir  *node
	name string
	to   *node
}

func (l link) set(names map[string]*node) {
	if l.to == nil {
		delete(names, l.name)
	} else {
		names[l.name] = l.to
	}
}

// New returns an empty file system.
func New() *FS { return &FS{Space: math.MaxUint64, root: newDir(0o700)} }

func newDir(perm fs.FileMode) *node {
	return &node{dir: true, perm: perm, names: map[string]*node{}, durableNames: map[string]*node{}}
}

// Ops returns the number of changing operations so far, failed ones included.
func (m *FS) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// before calls Before. The caller holds mu.
func (m *FS) before(verb, name string) error {
	m.ops++
	return callHook(m.Before, Op{N: m.ops, Kind: verb, Name: name})
}

// beforeRead calls BeforeRead. The caller holds mu.
func (m *FS) beforeRead(verb, name string) error {
	m.reads++
	return callHook(m.BeforeRead, Op{N: m.reads, Kind: verb, Name: name})
}

func callHook(hook func(Op) error, op Op) error {
	if hook == nil {
		return nil
	}
	if err := hook(op); err != nil {
		return &fs.PathError{Op: op.Kind, Path: op.Name, Err: err}
	}
	return nil
}

// change applies a change. The caller holds mu.
func (m *FS) change(c ...link) {
	for _, l := range c {
		l.set(l.dir.names)
	}
	m.pending = append(m.pending, c)
}

// find returns the node of a name, or nil. The caller holds mu.
func (m *FS) find(name string) *node {
	n := m.root
	if name == "." {
		return n
	}
	for part := range strings.SplitSeq(name, "/") {
		if n = n.names[part]; n == nil {
			return nil
		}
	}
	return n
}

// linkTo returns the link that gives n a name, or an error if the directory does not exist.
func (m *FS) linkTo(verb, name string, n *node) (link, error) {
	dir := m.find(path.Dir(name))
	if dir == nil || !dir.dir {
		return link{}, &fs.PathError{Op: verb, Path: name, Err: fs.ErrNotExist}
	}
	return link{dir, path.Base(name), n}, nil
}

func (m *FS) Lock(_, holder string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.holder != "" {
		return &spool.HeldError{Holder: m.holder}
	}
	m.holder = holder
	return nil
}

func (m *FS) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.holder = ""
	return nil
}

func (m *FS) Mkdir(name string, perm fs.FileMode) error {
	return m.add("mkdir", name, newDir(perm))
}

func (m *FS) Create(name string, perm fs.FileMode) (spool.File, error) {
	n := &node{perm: perm}
	return &handle{m, n, name}, m.add("create", name, n)
}

func (m *FS) add(verb, name string, n *node) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.before(verb, name); err != nil {
		return err
	}
	l, err := m.linkTo(verb, name, n)
	if err != nil {
		return err
	}
	if l.dir.names[l.name] != nil {
		return &fs.PathError{Op: verb, Path: name, Err: fs.ErrExist}
	}
	m.change(l)
	return nil
}

func (m *FS) Open(name string) (spool.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.beforeRead("open", name); err != nil {
		return nil, err
	}
	n := m.find(name)
	if n == nil || n.dir {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &handle{m, n, name}, nil
}

func (m *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.beforeRead("readdir", name); err != nil {
		return nil, err
	}
	dir := m.find(name)
	if dir == nil || !dir.dir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	var entries []fs.DirEntry
	for _, at := range slices.Sorted(maps.Keys(dir.names)) {
		entries = append(entries, fs.FileInfoToDirEntry(info{at, dir.names[at]}))
	}
	return entries, nil
}

func (m *FS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.before("rename", from); err != nil {
		return err
	}
	n := m.find(from)
	if n == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	existing := m.find(to)
	if existing != nil && len(existing.names) > 0 {
		return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
	}
	unlinked, err := m.linkTo("rename", from, nil)
	if err != nil {
		return err
	}
	linked, err := m.linkTo("rename", to, n)
	if err != nil {
		return err
	}
	m.change(unlinked, linked)
	if existing != nil {
		m.useSpace(-existing.usedSpace())
	}
	return nil
}

func (m *FS) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.before("remove", name); err != nil {
		return err
	}
	n := m.find(name)
	if n == nil {
		return nil
	}
	m.removeContents(n)
	m.change(link{m.find(path.Dir(name)), path.Base(name), nil})
	m.useSpace(-n.usedSpace())
	return nil
}

// removeContents unlinks the files one by one, as a real removal does.
func (m *FS) removeContents(dir *node) {
	for _, name := range slices.Sorted(maps.Keys(dir.names)) {
		m.removeContents(dir.names[name])
		m.useSpace(-dir.names[name].usedSpace())
		m.change(link{dir, name, nil})
	}
}

func (m *FS) Free() (spool.Space, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	free := spool.Space{Bytes: m.Space, Inodes: math.MaxUint64}
	if m.NoInodes {
		free.Inodes = 0
	}
	return free, m.beforeRead("free", ".")
}

// SetSpace sets Space; it may be called while the file system is in use.
func (m *FS) SetSpace(space uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Space = space
}

// SetNoInodes sets NoInodes; it may be called while the file system is in use.
func (m *FS) SetNoInodes(none bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.NoInodes = none
}

func (m *FS) Path(name string) string { return path.Join("/memory", name) }

// info describes a node.
type info struct {
	name string
	node *node
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return int64(len(i.node.content)) }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.node.dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.node.dir {
		return i.node.perm | fs.ModeDir
	}
	return i.node.perm
}
