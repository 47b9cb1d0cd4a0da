package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Listeners are the two listeners to which executors connect.
type Listeners struct {
	Secrets   net.Listener // Serve adds TLS
	Callbacks net.Listener // plain HTTP
}

// Listen opens both listeners. A port of 0 means any free port. The address need not exist yet, because a network's bridge appears with
// its first container.
func Listen(ip net.IP, secretsPort, callbacksPort int) (Listeners, error) {
	secrets, err := bind(ip, secretsPort)
	if err != nil {
		return Listeners{}, fmt.Errorf("bind the gateway's port for the Secrets API: %w", err)
	}
	callbacks, err := bind(ip, callbacksPort)
	if err != nil {
		_ = secrets.Close()
		return Listeners{}, fmt.Errorf("bind the gateway's port for callbacks: %w", err)
	}
	return Listeners{Secrets: secrets, Callbacks: callbacks}, nil
}

func bind(ip net.IP, port int) (net.Listener, error) {
	config := net.ListenConfig{Control: freebind}
	l, err := config.Listen(context.Background(), "tcp", net.JoinHostPort(ip.String(), strconv.Itoa(port)))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%w: another program uses port %d of %s, which running executors know: stop that program (ss -ltnp"+
			" shows it), or stop the executors and choose another port", err, port, ip)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%w: %s is not an address of this machine: choose one that executors can reach", err, ip)
	}
	return l, err
}

// freebind allows binding an address that no interface has.
func freebind(_, _ string, c syscall.RawConn) error {
	var err error
	if outer := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1) }); outer != nil {
		return outer
	}
	return err
}
