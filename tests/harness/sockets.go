package harness

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// FreeAddress returns a local address that is not in use. It is unlikely to be taken during the test, because its port is below the
// system's range for outgoing connections.
func FreeAddress(t *testing.T) string {
	t.Helper()
	const lowest, below = 20000, 32768
	for {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", lowest+rand.IntN(below-lowest)))
		if err == nil {
			Must(t, l.Close())
			return l.Addr().String()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
}

// ServiceManager starts runners, and may hold their sockets open across restarts, as systemd does.
type ServiceManager struct{ Sockets map[string]*net.TCPListener }

// NewServiceManager returns a service manager that holds the sockets. It listens on all addresses, because the runner decides which
// address its executors use.
func NewServiceManager(t *testing.T) ServiceManager {
	t.Helper()
	m := ServiceManager{Sockets: map[string]*net.TCPListener{}}
	for _, name := range []string{"api", "callback"} {
		l, err := net.Listen("tcp4", "0.0.0.0:0")
		Must(t, err)
		t.Cleanup(func() { Must(t, l.Close()) })
		m.Sockets[name] = l.(*net.TCPListener)
	}
	return m
}

func (m ServiceManager) socketNames() []string { return slices.Sorted(maps.Keys(m.Sockets)) }

// Environ returns the environment variables that describe the sockets to the runner.
func (m ServiceManager) Environ() []string {
	if len(m.Sockets) == 0 {
		return nil
	}
	return []string{fmt.Sprint("LISTEN_FDS=", len(m.Sockets)), "LISTEN_FDNAMES=" + strings.Join(m.socketNames(), ":")}
}

// Command returns an Env.Command for a version of the runner. A shell sets LISTEN_PID to its own pid and then becomes the runner.
func (m ServiceManager) Command(program string) func(args ...string) *exec.Cmd {
	return func(args ...string) *exec.Cmd {
		c := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, program}, args...)...)
		for _, name := range m.socketNames() {
			file, err := m.Sockets[name].File()
			if err != nil {
				panic(err) // cannot fail: the listener is open
			}
			c.ExtraFiles = append(c.ExtraFiles, file)
		}
		return c
	}
}
