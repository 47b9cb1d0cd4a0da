package gateway

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	msg "runnerd/messages"
)

// connection counts what was written to it, so that the gateway can tell when an answer has left the process.
type connection struct {
	net.Conn
	bytes atomic.Int64
}

func (c *connection) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.bytes.Add(int64(n))
	return n, err
}

func (c *connection) written() int64 {
	if c == nil {
		return 0
	}
	return c.bytes.Load()
}

// unacknowledged is how many bytes the other side has not acknowledged.
func (c *connection) unacknowledged() (n int, err error) {
	raw, ok := c.Conn.(syscall.Conn)
	if !ok {
		return 0, nil // of a test: what is written is there
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return 0, err
	}
	outer := control.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	if outer != nil {
		return 0, outer
	}
	return n, err
}

// counted is a listener whose connections count.
type counted struct{ net.Listener }

func (l counted) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &connection{Conn: c}, nil
}

type connectionKey struct{}

// withConnection lets handlers find the connection of their request.
func withConnection(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	return context.WithValue(ctx, connectionKey{}, c)
}

func connectionOf(ctx context.Context) *connection {
	c, _ := ctx.Value(connectionKey{}).(*connection)
	return c
}

// ackPolls is how often the kernel is asked at most: it has no event for an acknowledgement. On one machine the first answer is yes.
const ackPolls = 250 * time.Millisecond

// awaitDelivery tells when the other side has acknowledged everything up to that byte of the connection: then its plugin has the job,
// and whoever asks for it again is another process. A connection that breaks before says nothing.
func (e *endpoint) awaitDelivery(c *connection, upTo int64, job msg.ExecutionID) {
	if c == nil {
		e.isDelivered(job)
		return
	}
	for wait := 100 * time.Microsecond; ; wait = min(2*wait, ackPolls) {
		n, err := c.unacknowledged()
		switch {
		case err != nil:
			return
		case n == 0 && c.written() >= upTo:
			e.isDelivered(job)
			return
		}
		select {
		case <-time.After(wait):
		case <-e.ended:
			return
		}
	}
}
