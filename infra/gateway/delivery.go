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

// connection counts the bytes written to it, so that the gateway knows when the client has received an answer.
type connection struct {
	net.Conn
	sent         atomic.Int64 // bytes
	ackedAtClose atomic.Int64 // bytes acknowledged when the connection was closed
}

func (c *connection) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// Close records how many bytes are acknowledged: a plugin that exits as soon as it has its job closes the connection before checkDelivery
// runs.
func (c *connection) Close() error {
	if n, err := c.acknowledged(); err == nil {
		c.ackedAtClose.Store(n)
	}
	return c.Conn.Close()
}

func (c *connection) written() int64 {
	if c == nil {
		return 0
	}
	return c.sent.Load()
}

// acknowledged returns how many bytes the client's machine has acknowledged. If the connection is closed, it returns the number at the
// time of closing, and an error.
func (c *connection) acknowledged() (n int64, err error) {
	if c == nil {
		return math.MaxInt64, nil // a test without a connection
	}
	raw, ok := c.Conn.(syscall.Conn)
	if !ok {
		return c.written(), nil // a test with connections in memory
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return c.ackedAtClose.Load(), err
	}
	written, unacked := c.written(), 0 // in this order: bytes written in between count as unacknowledged
	outer := control.Control(func(fd uintptr) { unacked, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	if err = cmp.Or(outer, err); err != nil {
		return c.ackedAtClose.Load(), err
	}
	return written - int64(unacked), nil
}

// countingListener is a listener whose connections count the bytes written.
type countingListener struct{ net.Listener }

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &connection{Conn: c}, nil
}

type connectionKey struct{}

// withConnection adds the TCP connection to the context of its requests.
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

// reset closes the connection and discards unacknowledged bytes, so that they never arrive.
func (c *connection) reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

// delivery is an answer with a job that may not have arrived yet.
type delivery struct {
	conn *connection
	end  int64 // offset of the answer's end on the connection; MaxInt64 while it is being written
	job  msg.ExecutionID
}

// maxAckPoll is the longest pause between two polls for an acknowledgement, for which the kernel has no event. Between processes of one
// machine the first poll finds it.
const maxAckPoll = 250 * time.Millisecond

// maxAckDelay is how long a kernel may delay an acknowledgement.
const maxAckDelay = 200 * time.Millisecond

// trackDelivery polls until the client's machine has acknowledged the complete answer. From then on the plugin has the job, and another
// GET for it comes from another process. A connection that breaks before that proves nothing.
func (e *endpoint) trackDelivery(d *delivery, written bool, end int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !written {
		delete(e.deliveries, d)
		return
	}
	d.end = max(end, d.conn.written())
	if e.closed { // Serve is ending and may already wait for tasks
		return
	}
	e.g.tasks.Go(func() {
		for wait := 100 * time.Microsecond; !e.checkDelivery(d); wait = min(2*wait, maxAckPoll) {
			select {
			case <-time.After(wait):
			case <-e.ended:
				return
			}
		}
	})
}

// checkDelivery asks the kernel whether the answer has arrived, and reports it to the session if so. It returns false if that is not known
// yet.
func (e *endpoint) checkDelivery(d *delivery) (known bool) {
	n, err := d.conn.acknowledged()
	e.mu.Lock()
	_, open := e.deliveries[d]
	arrived := n >= d.end
	known = !open || arrived || err != nil
	if known {
		delete(e.deliveries, d)
	}
	e.mu.Unlock()
	if open && arrived {
		e.markDelivered(d.job)
	}
	return known
}

// resolveDeliveries waits, before a GET is reported, until it is known whether earlier answers arrived. The GET may come from another
// process of the plugin, which must not get a job that an earlier process has. It resets connections whose answers are not acknowledged in
// time, so that they never arrive.
func (e *endpoint) resolveDeliveries() {
	var open []*delivery
	for start := time.Now(); time.Since(start) < maxAckDelay; time.Sleep(time.Millisecond) {
		e.mu.Lock()
		open = slices.Collect(maps.Keys(e.deliveries))
		e.mu.Unlock()
		if open = slices.DeleteFunc(open, e.checkDelivery); len(open) == 0 {
			return
		}
	}
	for _, d := range open {
		d.conn.reset()
		e.checkDelivery(d)
	}
}
