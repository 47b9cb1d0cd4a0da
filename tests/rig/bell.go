package rig

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// Bell counts who rings: a job says for itself that it has run.
type Bell struct {
	Address string // for a job to tell, sample.Slow's property

	mu    sync.Mutex
	rings map[string]int
}

// Bell hangs one at this machine's address in the runner's network.
func (w *World) Bell() *Bell {
	w.T.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(w.Bridge(), "0"))
	Must(w.T, err)
	b := &Bell{Address: listener.Addr().String(), rings: map[string]int{}}
	var hearing sync.WaitGroup
	hearing.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			hearing.Go(func() { b.hear(c) })
		}
	})
	w.T.Cleanup(func() { Must(w.T, listener.Close()); hearing.Wait() })
	return b
}

func (b *Bell) hear(c net.Conn) {
	defer c.Close()
	name, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		fmt.Fprintln(os.Stderr, "somebody rings and does not say who:", err)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rings[name[:len(name)-1]]++
}

// Rings says how often somebody of this name has rung.
func (b *Bell) Rings(name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rings[name]
}

// Ring is a slow job that rings the bell with this name when it begins.
func (b *Bell) Ring(w *World, image, name string, steps int, delay time.Duration) string {
	w.T.Helper()
	return w.Submit(image, "sample.Slow", map[string]any{
		"steps": steps, "delayMillis": int(delay / time.Millisecond), "name": name, "tell": b.Address})
}
