// Package memfs is a spool.FS in memory that forgets as honestly as a disk may: what was written to a file is safe only once the
// file is synced, and a name only once its directory is. Before sees every operation and can fail it; Crash ends the
// machine and returns what is left of it.
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

// Op is an operation that is about to be done.
type Op struct {
	N    int    // the how manieth of its kind, from 1
	Verb string // "create", "write", "sync", "rename", …
	Name string
}

// Fault is a failure that leaves a trace, as that of a disk does. A write puts so many of its bytes first. After a sync what
// was to be made safe can still be read, is not safe, and no later sync makes it so: a kernel forgets what it could not write.
// (Names are different: a journalling file system that cannot write its journal takes no more changes at all.)
type Fault struct {
	Written int
	Err     error
}

func (f *Fault) Error() string { return f.Err.Error() }
func (f *Fault) Unwrap() error { return f.Err }

// FS is a file system. Make it with New.
type FS struct {
	// Before is asked ahead of each operation that changes or syncs anything; its error is the operation's, which then has
	// no effect, unless it is a Fault. nil: all succeed. Set it while nothing runs.
	Before func(Op) error
	// BeforeRead is asked ahead of each operation that only looks.
	BeforeRead func(Op) error
	// Space is how many bytes are left, for contents only. New: math.MaxUint64, which never gets less.
	Space uint64
	// Full is the error of what finds no space. Default: ENOSPC.
	Full syscall.Errno

	mu      sync.Mutex
	ops     int
	reads   int
	holder  string
	root    *node
	pending []change // of names that are not safe yet, in order
}

// node is a file or a directory. Its name is its directory's: a rename keeps what was opened.
type node struct {
	dir  bool
	perm fs.FileMode

	names     map[string]*node // as the running machine sees them
	safeNames map[string]*node // as a crash leaves them

	content     []byte
	allocated   int64 // bytes that writing does not need to ask for
	safeContent []byte
	pending     []edit // from the one to the other, in order
}

// edit is a write at a place, or with nil data a truncation to it.
type edit struct {
	at   int64
	data []byte
}

// change is a change of names that a crash leaves whole or not at all.
type change []link

// link is a name in a directory; to nil takes it away.
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

// New is an empty file system.
func New() *FS { return &FS{Space: math.MaxUint64, root: newDir(0o700)} }

func newDir(perm fs.FileMode) *node {
	return &node{dir: true, perm: perm, names: map[string]*node{}, safeNames: map[string]*node{}}
}

// Ops is how many operations have been asked for.
func (m *FS) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// before is called with mu held.
func (m *FS) before(verb, name string) error {
	m.ops++
	return ask(m.Before, Op{N: m.ops, Verb: verb, Name: name})
}

// beforeRead is called with mu held.
func (m *FS) beforeRead(verb, name string) error {
	m.reads++
	return ask(m.BeforeRead, Op{N: m.reads, Verb: verb, Name: name})
}

func ask(hook func(Op) error, op Op) error {
	if hook == nil {
		return nil
	}
	if err := hook(op); err != nil {
		return &fs.PathError{Op: op.Verb, Path: op.Name, Err: err}
	}
	return nil
}

// change is called with mu held, as is find.
func (m *FS) change(c ...link) {
	for _, l := range c {
		l.set(l.dir.names)
	}
	m.pending = append(m.pending, c)
}

// find returns what is at the name, nil if nothing is.
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

// entry returns the directory of a name, an error if there is none, and the link that makes n its.
func (m *FS) entry(verb, name string, n *node) (link, error) {
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
	l, err := m.entry(verb, name, n)
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
	there := m.find(to)
	if there != nil && len(there.names) > 0 {
		return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
	}
	gone, err := m.entry("rename", from, nil)
	if err != nil {
		return err
	}
	made, err := m.entry("rename", to, n)
	if err != nil {
		return err
	}
	m.change(gone, made)
	if there != nil {
		m.pay(-there.takes())
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
	m.empty(n)
	m.change(link{m.find(path.Dir(name)), path.Base(name), nil})
	m.pay(-n.takes())
	return nil
}

// empty unlinks one after the other, as a real removal does.
func (m *FS) empty(dir *node) {
	for _, name := range slices.Sorted(maps.Keys(dir.names)) {
		m.empty(dir.names[name])
		m.pay(-dir.names[name].takes())
		m.change(link{dir, name, nil})
	}
}

func (m *FS) Free() (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.Space, m.beforeRead("free", ".")
}

// Leave sets Space while the file system is in use.
func (m *FS) Leave(space uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Space = space
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
