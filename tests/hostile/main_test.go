// Package hostile has a plugin that wants what is not its own, or more than its share, and a server that names things as nobody
// should. It runs with the real binary on a real engine (package rig); the plugin is in plugin/, and tells what each attempt got.
//
// Beside each attempt that must fail, the same attempt at what the plugin may have or do succeeds: an attempt that fails because
// it is made wrongly proves nothing.
package hostile

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"

	"runnerd/infra/devserver"
	"runnerd/tests/rig"
)

// shop is nil if no engine answers.
var shop *rig.Shop

var plugin string // the image of the hostile plugin

func TestMain(m *testing.M) { os.Exit(rig.Main(m, stock)) }

func stock(ctx context.Context, s *rig.Shop) (err error) {
	shop = s
	plugin, err = s.BuildPlugin(ctx, "hostile", "plugin")
	return err
}

// attempt is what the plugin tries; see its type-definitions.yaml.
type attempt struct {
	what   string
	target string
	with   string
	size   int
	gate   *gate // where it waits
}

func (a attempt) submit(w *rig.World) (task string) {
	w.T.Helper()
	set := map[string]any{"what": a.what, "target": a.target, "with": a.with, "size": a.size}
	if a.gate != nil {
		set["tell"] = a.gate.address
	}
	return w.Submit(plugin, "hostile.Try", set)
}

// got is what a completed attempt tells.
func got(w *rig.World, task string) string {
	w.T.Helper()
	view := w.Finished(task)
	if view.State != devserver.Completed {
		w.T.Fatalf("task %s is %s: %s\n%s", task, view.State, view.Message, w.Log(task))
	}
	return fmt.Sprint(view.OutputProperties["got"])
}

func (a attempt) got(w *rig.World) string {
	w.T.Helper()
	return got(w, a.submit(w))
}

// gate stops whoever comes, at this machine's address in the runner's network.
type gate struct {
	address string
	open    func() // for all, for ever
}

func newGate(w *rig.World) *gate {
	w.T.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(w.Bridge(), "0"))
	rig.Must(w.T, err)
	opened := make(chan struct{})
	g := &gate{address: listener.Addr().String(), open: sync.OnceFunc(func() { close(opened) })}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { <-opened; _ = c.Close() })
		}
	})
	w.T.Cleanup(func() { g.open(); rig.Must(w.T, listener.Close()); all.Wait() })
	return g
}
