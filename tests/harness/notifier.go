package harness

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// Notifier counts the notifications that jobs send to it, so that a test sees how often a job has run without asking the runner or the
// server.
type Notifier struct {
	Address string // host:port that jobs connect to

	mu     sync.Mutex
	counts map[string]int
}

// NewNotifier starts a notifier at this machine's address in the runner's network.
func (e *Env) NewNotifier() *Notifier {
	e.T.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(e.BridgeAddress(), "0"))
	Must(e.T, err)
	n := &Notifier{Address: listener.Addr().String(), counts: map[string]int{}}
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Go(func() { n.receive(c) })
		}
	})
	e.T.Cleanup(func() { Must(e.T, listener.Close()); connections.Wait() })
	return n
}

func (n *Notifier) receive(c net.Conn) {
	defer c.Close()
	name, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		fmt.Fprintln(os.Stderr, "notification without a name:", err)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.counts[name[:len(name)-1]]++
}

// Count returns the number of notifications with this name.
func (n *Notifier) Count(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.counts[name]
}

// SubmitSlow submits a slow job that notifies n with this name when it begins. It returns the task's id.
func (n *Notifier) SubmitSlow(e *Env, image, name string, steps int, delay time.Duration) string {
	e.T.Helper()
	return e.Submit(image, "sample.Slow", map[string]any{
		"steps": steps, "delayMillis": int(delay / time.Millisecond), "name": name, "notify": n.Address})
}
