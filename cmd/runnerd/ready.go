package main

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"runnerd/actors/shell"
	"runnerd/infra/health"
	msg "runnerd/messages"
)

// healthDoor answers /live and /ready, from before there is anything that could be ready until all is stopped.
type healthDoor struct {
	against atomic.Pointer[func() []string] // says what stands against being ready
	stop    context.CancelFunc              // nil: not open
	ended   chan error                      // one, after stop
}

func (h *healthDoor) ask(against func() []string) { h.against.Store(&against) }

func (h *healthDoor) waitsFor(reason string) { h.ask(func() []string { return []string{reason} }) }

// openHealth comes before all that may be waited for: a runner that waits for its engine says so.
func (d *daemon) openHealth(ctx context.Context) error {
	listener, err := net.Listen("tcp", d.config.Self.Health)
	if err != nil {
		return fmt.Errorf("serve health: %w: give another --health-address", err)
	}
	h := &d.health
	h.waitsFor("the runner is starting")
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	h.stop, h.ended = stop, make(chan error, 1)
	go func() {
		h.ended <- health.Serve(serving, listener, health.Handler(func() []string { return (*h.against.Load())() }))
	}()
	return nil
}

// notReady asks the runner why it is not ready; one that does not answer within a moment is not.
func (d *daemon) notReady() []string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	status, err := shell.Ask(ctx, d.root, func(reply func(msg.Status)) msg.ToRunner { return msg.StatusWanted{Reply: reply} })
	if err != nil {
		return []string{"the runner does not answer: " + err.Error()}
	}
	return status.NotReady
}
