package memfs

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"slices"
)

// granule is how much of a write survives or is lost together. Smaller than any disk's, so that short lines are torn too.
const granule = 64

// Sync makes the content safe; the name is its directory's.
func (h *handle) Sync() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	err := h.fs.before("sync", h.name)
	if err == nil {
		h.node.sync()
	} else if _, ok := errors.AsType[*Fault](err); ok {
		h.node.pending = nil
	}
	return err
}

// sync writes what is pending, and nothing else: what an earlier sync has lost stays lost.
func (n *node) sync() {
	for _, e := range n.pending {
		n.safeContent = e.apply(n.safeContent)
	}
	n.pending = nil
}

// SyncDir makes safe the changes of names in the directory.
func (m *FS) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.before("syncdir", name); err != nil {
		return err
	}
	dir := m.find(name)
	if dir == nil {
		return &fs.PathError{Op: "syncdir", Path: name, Err: fs.ErrNotExist}
	}
	m.commit(func(c change) bool {
		return slices.ContainsFunc(c, func(l link) bool { return l.dir == dir })
	})
	return nil
}

// SyncAll makes everything safe.
func (m *FS) SyncAll() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.before("syncall", "."); err != nil {
		return err
	}
	m.root.syncAll()
	m.commit(func(change) bool { return true })
	return nil
}

func (n *node) syncAll() {
	n.sync()
	for _, below := range n.names {
		below.syncAll()
	}
}

// commit makes the wanted changes safe.
func (m *FS) commit(wanted func(change) bool) {
	var chosen []change
	chosen, m.pending = m.choose(wanted)
	for _, c := range chosen {
		for _, l := range c {
			l.set(l.dir.safeNames)
		}
	}
}

// choose parts the wanted changes, with those before them that touch the same names, from the rest: a disk keeps their order.
func (m *FS) choose(wanted func(change) bool) (chosen, rest []change) {
	type place struct {
		dir  *node
		name string
	}
	touched := map[place]bool{}
	for _, c := range slices.Backward(m.pending) {
		with := wanted(c) || slices.ContainsFunc(c, func(l link) bool { return touched[place{l.dir, l.name}] })
		if !with {
			rest = append(rest, c)
			continue
		}
		chosen = append(chosen, c)
		for _, l := range c {
			touched[place{l.dir, l.name}] = true
		}
	}
	slices.Reverse(chosen)
	slices.Reverse(rest)
	return chosen, rest
}

// Crash ends the machine. What was safe is in the file system that it returns; of the rest, each change of a name and each
// piece of a write is there if survives says so. The old file system goes on as if nothing was: after Close it is what another
// process finds when only this one died.
func (m *FS) Crash(survives func() bool) *FS {
	m.mu.Lock()
	defer m.mu.Unlock()
	chosen, _ := m.choose(func(change) bool { return survives() })
	after := &FS{Space: m.Space, root: m.root.crash(chosen, survives)}
	after.pay(after.root.takesAll() - m.root.takesAll())
	return after
}

func (n *node) takesAll() int64 {
	all := n.takes()
	for _, below := range n.names {
		all += below.takesAll()
	}
	return all
}

// crash copies what is left of a node and of all below it.
func (n *node) crash(chosen []change, survives func() bool) *node {
	content := n.crashContent(survives)
	left := newDir(n.perm)
	left.dir, left.content, left.safeContent, left.allocated = n.dir, content, bytes.Clone(content), n.allocated
	names := maps.Clone(n.safeNames)
	for _, c := range chosen {
		for _, l := range c {
			if l.dir == n {
				l.set(names)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		below := names[name].crash(chosen, survives)
		left.names[name], left.safeNames[name] = below, below
	}
	return left
}

func (n *node) crashContent(survives func() bool) []byte {
	content := bytes.Clone(n.safeContent)
	for _, e := range n.pending {
		if e.data == nil {
			if survives() {
				content = e.apply(content)
			}
			continue
		}
		for off := 0; off < len(e.data); off += granule {
			if survives() {
				content = edit{at: e.at + int64(off), data: e.data[off:min(off+granule, len(e.data))]}.apply(content)
			}
		}
	}
	return content
}
