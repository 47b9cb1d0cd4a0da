package gatewaytest

import (
	"net"
	"sync"
)

// Listener is one whose connections can be reset.
type Listener struct {
	net.Listener
	mu    sync.Mutex
	conns []*net.TCPConn
}

// Accept remembers the connection.
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

// Cut resets every connection there is.
func (l *Listener) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.SetLinger(0) // a reset, not an orderly end
		_ = c.Close()
	}
	l.conns = nil
}
