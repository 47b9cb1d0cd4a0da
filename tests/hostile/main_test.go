// Package hostile tests a plugin that attempts to get more than its own data and resources, and a server with hostile ids and names. It
// runs the real binary with a real engine (package harness). The plugin is in plugin/ and returns what each attempt got.
//
// Each attempt that must fail has a control, the same attempt at something that is allowed, because an attempt that is
// made wrongly would fail as well.
package hostile

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"

	"runnerd/infra/devserver"
	"runnerd/tests/harness"
)

// shared is nil if no engine answers.
var shared *harness.Harness

var plugin string // the image of the hostile plugin

func TestMain(m *testing.M) { os.Exit(harness.Main(m, buildImages)) }

func buildImages(ctx context.Context, s *harness.Harness) (err error) {
	shared = s
	plugin, err = s.BuildPluginImage(ctx, "hostile", "plugin")
	return err
}

// attempt is the input of one attempt: of type try in the plugin's main.go.
type attempt struct {
	what   string
	target string
	with   string
	size   int
	gate   *gate // the gate at which the attempt waits; nil: none
}

func (a attempt) submit(env *harness.Env) (task string) {
	env.T.Helper()
	set := map[string]any{"what": a.what, "target": a.target, "with": a.with, "size": a.size}
	if a.gate != nil {
		set["gate"] = a.gate.address
	}
	return env.Submit(plugin, "hostile.Try", set)
}

// resultOf waits for an attempt and returns its output.
func resultOf(env *harness.Env, task string) string {
	env.T.Helper()
	view := env.WaitFinished(task)
	if view.State != devserver.Completed {
		env.T.Fatalf("task %s is %s: %s\n%s", task, view.State, view.Message, env.TaskLog(task))
	}
	return fmt.Sprint(view.OutputProperties["got"])
}

func (a attempt) run(env *harness.Env) string {
	env.T.Helper()
	return resultOf(env, a.submit(env))
}

// gate blocks attempts that connect to it, at this machine's address in the runner's network.
type gate struct {
	address string
	open    func() // lets all attempts continue, those that connect later too
}

func newGate(env *harness.Env) *gate {
	env.T.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(env.BridgeAddress(), "0"))
	harness.Must(env.T, err)
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
	env.T.Cleanup(func() { g.open(); harness.Must(env.T, listener.Close()); all.Wait() })
	return g
}
