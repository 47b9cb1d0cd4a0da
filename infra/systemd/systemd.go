// Package systemd implements the service manager's protocol: it receives the sockets that the manager keeps open across restarts, and
// reports the process's status.
//
// The directory also contains the systemd units for runnerd. A test in cmd/runnerd checks that units and program agree.
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

// Sockets returns the listening sockets that the manager passed to the process, by name (FileDescriptorName= of a socket unit). Only the
// first call returns them. Without a manager there are none.
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
			problems = append(problems, fmt.Errorf("use socket %q of the service manager: %w", file.Name(), err))
		case sockets[file.Name()] != nil:
			problems = append(problems, fmt.Errorf("the service manager passed two sockets named %q", file.Name()), l.Close())
		case sockets == nil:
			sockets = map[string]net.Listener{file.Name(): l}
		default:
			sockets[file.Name()] = l
		}
	}
	return sockets, errors.Join(problems...)
}

// Managed reports whether the service manager accepts notifications.
func Managed() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// Ready notifies the manager that the start is complete.
func Ready() error { return notify(daemon.SdNotifyReady) }

// Stopping notifies the manager that the process is stopping. From then on the manager's stop timeout applies.
func Stopping() error { return notify(daemon.SdNotifyStopping) }

// Status sets the one-line status that systemctl shows.
func Status(text string) error { return notify("STATUS=" + strings.ReplaceAll(text, "\n", "; ")) }

func notify(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	return nil
}
