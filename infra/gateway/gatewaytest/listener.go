package gatewaytest

import (
	"net"
	"sync"
)

// Listener is a TCP listener that can reset its connections.
type Listener struct {
	net.Listener
	mu    sync.Mutex
	conns []*net.TCPConn
}

// Accept accepts and records a connection.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, c.(*net.TCPConn))
	return c, nil
}

// Reset resets all connections.
func (l *Listener) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.SetLinger(0) // a reset, not an orderly end
		_ = c.Close()
	}
	l.conns = nil
}
