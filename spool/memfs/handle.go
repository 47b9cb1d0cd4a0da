package memfs

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"math"
	"syscall"
)

// handle is an open file.
type handle struct {
	fs   *FS
	node *node
	name string
}

func (h *handle) ReadAt(p []byte, at int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.fs.beforeRead("read", h.name); err != nil {
		return 0, err
	}
	if at >= int64(len(h.node.content)) {
		return 0, io.EOF
	}
	n := copy(p, h.node.content[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) WriteAt(p []byte, at int64) (n int, err error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err = h.fs.before("write", h.name); err == nil {
		n = len(p)
	} else if fault, ok := errors.AsType[*Fault](err); ok {
		n = min(fault.Written, len(p))
	}
	if available := h.available(at); int64(n) > available {
		n, err = int(available), &fs.PathError{Op: "write", Path: h.name, Err: cmp.Or(h.fs.Full, syscall.ENOSPC)}
	}
	if n > 0 || err == nil {
		h.edit(edit{at: at, data: append([]byte{}, p[:n]...)})
	}
	return n, err
}

// available returns the number of bytes that can be written at an offset. The caller holds mu.
func (h *handle) available(at int64) int64 {
	if h.fs.Space > math.MaxInt64/2 {
		return math.MaxInt64
	}
	return max(0, h.node.usedSpace()+int64(h.fs.Space)-at)
}

// usedSpace returns the space that a node occupies, in bytes.
func (n *node) usedSpace() int64 { return max(n.allocated, int64(len(n.content))) }

// useSpace reduces the free space; a negative number increases it. The caller holds mu.
func (m *FS) useSpace(bytes int64) {
	if m.Space != math.MaxUint64 {
		m.Space -= uint64(bytes) // wraps around for a negative number, and so adds
	}
}

// Allocate does not write zeros, because nothing reads them.
func (h *handle) Allocate(size int64) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.fs.before("allocate", h.name); err != nil {
		return err
	}
	if size > h.available(0) {
		return &fs.PathError{Op: "allocate", Path: h.name, Err: cmp.Or(h.fs.Full, syscall.ENOSPC)}
	}
	had := h.node.usedSpace()
	h.node.allocated = size
	h.fs.useSpace(h.node.usedSpace() - had)
	return nil
}

func (h *handle) Truncate(size int64) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.fs.before("truncate", h.name); err != nil {
		return err
	}
	h.edit(edit{at: size})
	return nil
}

// edit changes the content. The caller holds mu.
func (h *handle) edit(e edit) {
	had := h.node.usedSpace()
	h.node.content = e.apply(h.node.content)
	h.node.pending = append(h.node.pending, e)
	h.fs.useSpace(h.node.usedSpace() - had)
}

func (e edit) apply(content []byte) []byte {
	end := e.at + int64(len(e.data))
	if grow := end - int64(len(content)); grow > 0 {
		content = append(content, make([]byte, grow)...)
	}
	if e.data == nil {
		return content[:e.at:e.at]
	}
	copy(content[e.at:], e.data)
	return content
}

func (h *handle) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return h.node.usedSpace(), h.fs.beforeRead("size", h.name)
}

func (h *handle) Close() error { return nil }
