package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// socketFile is the name of the socket in the state directory.
const socketFile = "control.sock"

// maxAddress is how many bytes Linux allows for the address of a Unix socket.
const maxAddress = 107

// Listen creates the socket in a state directory. It replaces the socket of an earlier runner, so the caller must hold the directory's lock.
func Listen(dir string) (net.Listener, error) {
	path := filepath.Join(dir, socketFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old control socket: %w", err)
	}
	var l net.Listener
	err := withAddress(dir, func(address string) (err error) {
		config := net.ListenConfig{Control: ownersOnly}
		l, err = config.Listen(context.Background(), "unix", address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create control socket in %s: %w", dir, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // it would use address, which may name another file by then
	return &listener{l, path}, nil
}

type listener struct {
	net.Listener
	path string
}

func (l *listener) Close() error { return errors.Join(os.Remove(l.path), l.Listener.Close()) }

// ownersOnly sets the mode before the file exists, so that nobody else can open it at any time.
func ownersOnly(_, _ string, c syscall.RawConn) error {
	var err error
	if outer := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); outer != nil {
		return outer
	}
	return err
}

// withAddress calls a function with an address for the socket in a directory. It replaces a path that is too long by one through
// /proc/self/fd.
func withAddress(dir string, call func(address string) error) error {
	path := filepath.Join(dir, socketFile)
	if len(path) <= maxAddress {
		return call(path)
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return call(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), socketFile))
}
