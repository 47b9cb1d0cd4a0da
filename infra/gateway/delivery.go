package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"maps"
	"math"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	msg "runnerd/messages"
)

// connection counts what was written to it, so that the gateway can tell when the other side has an answer.
type connection struct {
	net.Conn
	bytes atomic.Int64
	final atomic.Int64 // of bytes, those that were acknowledged when it was closed
}

func (c *connection) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.bytes.Add(int64(n))
	return n, err
}

// Close remembers what the other side has: a plugin that ends as soon as it has its job closes the connection before anybody asks.
func (c *connection) Close() error {
	if n, err := c.acknowledged(); err == nil {
		c.final.Store(n)
	}
	return c.Conn.Close()
}

func (c *connection) written() int64 {
	if c == nil {
		return 0
	}
	return c.bytes.Load()
}

// acknowledged is how many bytes the other side has acknowledged, or had when the connection was closed: then with an error.
func (c *connection) acknowledged() (n int64, err error) {
	if c == nil {
		return math.MaxInt64, nil // of a test, without a connection
	}
	raw, ok := c.Conn.(syscall.Conn)
	if !ok {
		return c.written(), nil // of a test: what is written is there
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return c.final.Load(), err
	}
	written, left := c.written(), 0 // in this order: what is written meanwhile counts as not acknowledged
	outer := control.Control(func(fd uintptr) { left, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	if err = cmp.Or(outer, err); err != nil {
		return c.final.Load(), err
	}
	return written - int64(left), nil
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

// reset closes the connection, and drops what the other side has not acknowledged: it can never arrive.
func (c *connection) reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// delivery is an answer with a job that is on its way.
type delivery struct {
	conn *connection
	upTo int64 // the last byte of it on the connection; more than there will be, while it is being written
	job  msg.ExecutionID
}

// ackPolls is how often the kernel is asked at most: it has no event for an acknowledgement. On one machine the first answer is yes.
const ackPolls = 250 * time.Millisecond

// ackDelay is how long a kernel may keep an acknowledgement back.
const ackDelay = 200 * time.Millisecond

// wroteJob follows an answer until the other side has acknowledged all of it: then its plugin has the job, and whoever asks for it again is
// another process. A connection that breaks before says nothing.
func (e *endpoint) wroteJob(d *delivery, whole bool, upTo int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !whole {
		delete(e.deliveries, d)
		return
	}
	d.upTo = max(upTo, d.conn.written())
	if e.closed { // Serve is about to end, and waits for no more work than it knows of
		return
	}
	e.g.work.Go(func() {
		for wait := 100 * time.Microsecond; !e.look(d); wait = min(2*wait, ackPolls) {
			select {
			case <-time.After(wait):
			case <-e.ended:
				return
			}
		}
	})
}

// look asks the kernel whether the answer is there. True: it is known, and told.
func (e *endpoint) look(d *delivery) (known bool) {
	n, err := d.conn.acknowledged()
	e.mu.Lock()
	_, open := e.deliveries[d]
	arrived := n >= d.upTo
	known = !open || arrived || err != nil
	if known {
		delete(e.deliveries, d)
	}
	e.mu.Unlock()
	if open && arrived {
		e.isDelivered(d.job)
	}
	return known
}

// settleDeliveries finds out, before a GET is told, whether its plugin has its job already. It may be another process, whose forerunner
// got the job a moment ago, and must not get it too. What is not acknowledged in time must not arrive any more.
func (e *endpoint) settleDeliveries() {
	var open []*delivery
	for begun := time.Now(); time.Since(begun) < ackDelay; time.Sleep(time.Millisecond) {
		e.mu.Lock()
		open = slices.Collect(maps.Keys(e.deliveries))
		e.mu.Unlock()
		if open = slices.DeleteFunc(open, e.look); len(open) == 0 {
			return
		}
	}
	for _, d := range open {
		d.conn.reset()
		e.look(d)
	}
}
