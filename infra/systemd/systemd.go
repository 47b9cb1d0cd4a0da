// Package systemd speaks with the service manager that started the process, by its protocol, where there is one: it takes over
// the sockets that the manager keeps over restarts, and tells it how the process fares.
//
// Beside it are the units with which systemd runs runnerd. They and the program must agree; cmd/runnerd has the test.
package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// Sockets takes over the listening sockets that the manager has passed on, by their names (FileDescriptorName= of a socket
// unit). They are passed once; without a manager there are none.
func Sockets() (map[string]net.Listener, error) {
	var sockets map[string]net.Listener
	var problems []error
	for _, file := range activation.Files(true) {
		l, err := net.FileListener(file)
		if closeErr := file.Close(); err == nil {
			err = closeErr
		}
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("take over socket %q of the service manager: %w", file.Name(), err))
		case sockets[file.Name()] != nil:
			problems = append(problems, fmt.Errorf("the service manager passes two sockets %q", file.Name()), l.Close())
		case sockets == nil:
			sockets = map[string]net.Listener{file.Name(): l}
		default:
			sockets[file.Name()] = l
		}
	}
	return sockets, errors.Join(problems...)
}

// Managed reports whether a manager wants to be told.
func Managed() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// Ready tells that the start is over.
func Ready() error { return tell(daemon.SdNotifyReady) }

// Stopping tells that the process is about to end. From then on it may last as long as the manager lets a stop last.
func Stopping() error { return tell(daemon.SdNotifyStopping) }

// Status tells people in a line how the process fares.
func Status(text string) error { return tell("STATUS=" + strings.ReplaceAll(text, "\n", "; ")) }

func tell(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("tell the service manager: %w", err)
	}
	return nil
}
