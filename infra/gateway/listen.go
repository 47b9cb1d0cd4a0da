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

// Listeners are where executors come in.
type Listeners struct {
	Secrets   net.Listener // TLS is put on it by Serve
	Callbacks net.Listener // plain http
}

// Listen binds both. The address need not be there yet: the bridge of a network comes with its first container. Port 0:
// any.
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
		return nil, fmt.Errorf("%w: another program has port %d of %s; executors that live were told this port, so end that"+
			" program (ss -ltnp shows it), or end the executors and choose another port", err, port, ip)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%w: %s is no address of this machine: choose one that executors can reach", err, ip)
	}
	return l, err
}

// freebind allows to bind an address that no interface has.
func freebind(_, _ string, c syscall.RawConn) error {
	var err error
	if outer := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1) }); outer != nil {
		return outer
	}
	return err
}
