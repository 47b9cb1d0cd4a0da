package memfs

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"slices"
)

// writeUnit is the number of bytes of a write that a crash keeps or loses together. It is smaller than a real disk's, so that short
// lines are torn too.
const writeUnit = 64

// Sync makes the content durable, but not the name.
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

// sync makes only the pending edits durable: what an earlier failed sync has lost stays lost.
func (n *node) sync() {
	for _, e := range n.pending {
		n.durableContent = e.apply(n.durableContent)
	}
	n.pending = nil
}

// SyncDir makes the changes of names in the directory durable.
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

// SyncAll makes everything durable.
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

// commit makes the wanted changes durable.
func (m *FS) commit(wanted func(change) bool) {
	var chosen []change
	chosen, m.pending = m.selectChanges(wanted)
	for _, c := range chosen {
		for _, l := range c {
			l.set(l.dir.durableNames)
		}
	}
}

// selectChanges separates the wanted changes from the rest. It also selects earlier changes of the same names, because a disk keeps
// their order.
func (m *FS) selectChanges(wanted func(change) bool) (chosen, rest []change) {
	type location struct {
		dir  *node
		name string
	}
	touched := map[location]bool{}
	for _, c := range slices.Backward(m.pending) {
		choose := wanted(c) || slices.ContainsFunc(c, func(l link) bool { return touched[location{l.dir, l.name}] })
		if !choose {
			rest = append(rest, c)
			continue
		}
		chosen = append(chosen, c)
		for _, l := range c {
			touched[location{l.dir, l.name}] = true
		}
	}
	slices.Reverse(chosen)
	slices.Reverse(rest)
	return chosen, rest
}

// Crash simulates a crash of the machine and returns the file system that remains: everything durable, and of the rest each change of
// a name and each part of a write for which survives returns true. The old file system stays usable: after Close it is what the next
// process finds if only this process died.
func (m *FS) Crash(survives func() bool) *FS {
	m.mu.Lock()
	defer m.mu.Unlock()
	chosen, _ := m.selectChanges(func(change) bool { return survives() })
	after := &FS{Space: m.Space, root: m.root.crash(chosen, survives)}
	after.useSpace(after.root.totalUsedSpace() - m.root.totalUsedSpace())
	return after
}

func (n *node) totalUsedSpace() int64 {
	all := n.usedSpace()
	for _, below := range n.names {
		all += below.totalUsedSpace()
	}
	return all
}

// crash copies what remains of a node and of all nodes below it.
func (n *node) crash(chosen []change, survives func() bool) *node {
	content := n.crashContent(survives)
	remaining := newDir(n.perm)
	remaining.dir, remaining.content, remaining.durableContent, remaining.allocated = n.dir, content, bytes.Clone(content), n.allocated
	names := maps.Clone(n.durableNames)
	for _, c := range chosen {
		for _, l := range c {
			if l.dir == n {
				l.set(names)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		below := names[name].crash(chosen, survives)
		remaining.names[name], remaining.durableNames[name] = below, below
	}
	return remaining
}

func (n *node) crashContent(survives func() bool) []byte {
	content := bytes.Clone(n.durableContent)
	for _, e := range n.pending {
		if e.data == nil {
			if survives() {
				content = e.apply(content)
			}
			continue
		}
		for off := 0; off < len(e.data); off += writeUnit {
			if survives() {
				content = edit{at: e.at + int64(off), data: e.data[off:min(off+writeUnit, len(e.data))]}.apply(content)
			}
		}
	}
	return content
}
