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

// socketFile is in the state directory.
const socketFile = "control.sock"

// longestPath is what the system takes as the address of a Unix socket.
const longestPath = 107

// Listen makes the socket in a directory. One that an earlier runner left is replaced: the caller has the directory to itself.
func Listen(dir string) (net.Listener, error) {
	path := filepath.Join(dir, socketFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("replace the socket for commands: %w", err)
	}
	var l net.Listener
	err := at(dir, func(address string) (err error) {
		config := net.ListenConfig{Control: ownersOnly}
		l, err = config.Listen(context.Background(), "unix", address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen for commands in %s: %w", dir, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // by a name that may mean another file then
	return &listener{l, path}, nil
}

type listener struct {
	net.Listener
	path string
}

func (l *listener) Close() error { return errors.Join(os.Remove(l.path), l.Listener.Close()) }

// ownersOnly sets the mode before there is a file, so that at no moment anybody else can open it.
func ownersOnly(_, _ string, c syscall.RawConn) error {
	var err error
	if outer := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); outer != nil {
		return outer
	}
	return err
}

// at calls with an address for the socket of a directory, however long its path is.
func at(dir string, call func(address string) error) error {
	path := filepath.Join(dir, socketFile)
	if len(path) <= longestPath {
		return call(path)
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return call(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), socketFile))
}
