package rig

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

// FreeAddress is one that nobody listens at, and hardly anybody will within the test: its port is below those from which the
// system takes what connections go out from.
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

// Manager is what starts the runner. It may keep the sockets, as systemd does.
type Manager struct{ Sockets map[string]*net.TCPListener }

// KeepSockets is one that does. It listens everywhere: which address executors are told is the runner's business.
func KeepSockets(t *testing.T) Manager {
	t.Helper()
	s := Manager{Sockets: map[string]*net.TCPListener{}}
	for _, name := range []string{"api", "callback"} {
		l, err := net.Listen("tcp4", "0.0.0.0:0")
		Must(t, err)
		t.Cleanup(func() { Must(t, l.Close()) })
		s.Sockets[name] = l.(*net.TCPListener)
	}
	return s
}

func (s Manager) names() []string { return slices.Sorted(maps.Keys(s.Sockets)) }

// Env tells the runner of the sockets.
func (s Manager) Env() []string {
	if len(s.Sockets) == 0 {
		return nil
	}
	return []string{fmt.Sprint("LISTEN_FDS=", len(s.Sockets)), "LISTEN_FDNAMES=" + strings.Join(s.names(), ":")}
}

// Run runs a version of the runner. Its pid, which it is told, is that of the shell that becomes it.
func (s Manager) Run(program string) func(args ...string) *exec.Cmd {
	return func(args ...string) *exec.Cmd {
		c := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, program}, args...)...)
		for _, name := range s.names() {
			file, err := s.Sockets[name].File()
			if err != nil {
				panic(err) // of a listener that is open
			}
			c.ExtraFiles = append(c.ExtraFiles, file)
		}
		return c
	}
}
