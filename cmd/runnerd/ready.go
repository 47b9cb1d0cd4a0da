package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"runnerd/infra/health"
	"runnerd/infra/systemd"
	msg "runnerd/messages"
)

// healthDoor answers /live and /ready, and tells a service manager the same, from before there is anything that could be ready
// until all is stopped.
type healthDoor struct {
	against atomic.Pointer[func() []string] // says what stands against being ready
	latest  atomic.Pointer[[]string]        // what stood against it when that changed last
	changed chan struct{}                   // has room for one
	stop    context.CancelFunc              // nil: not open
	ended   chan error                      // one, after stop
}

func newHealthDoor() healthDoor { return healthDoor{changed: make(chan struct{}, 1)} }

func (h *healthDoor) ask(against func() []string) { h.against.Store(&against) }

// note does not block.
func (h *healthDoor) note(against []string) {
	h.latest.Store(&against)
	select {
	case h.changed <- struct{}{}:
	default: // somebody is about to look
	}
}

func (h *healthDoor) waitsFor(reason string) {
	h.ask(func() []string { return []string{reason} })
	h.note([]string{reason})
}

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
	var doors errgroup.Group
	doors.Go(func() error { return health.Serve(serving, listener, health.Handler(h.reasons)) })
	doors.Go(func() error { d.tellManager(serving); return nil })
	go func() { h.ended <- doors.Wait() }()
	return nil
}

func (h *healthDoor) reasons() []string { return (*h.against.Load())() }

// tellManager says in a line how the runner fares whenever that changes, until ctx ends.
func (d *daemon) tellManager(ctx context.Context) {
	if !systemd.Managed() {
		return
	}
	for said := ""; ; {
		select {
		case <-d.health.changed:
		case <-ctx.Done():
			return
		}
		if now := cmp.Or(strings.Join(*d.health.latest.Load(), "; "), "ready"); now != said {
			said = now
			d.noted(systemd.Status(now))
		}
	}
}

// noted: a manager that cannot be told is no reason to end.
func (d *daemon) noted(err error) {
	if err != nil {
		d.log.Warn().Err(err).Msg("the service manager does not hear how the runner fares")
	}
}

// notReady asks the runner why it is not ready; one that does not answer within a moment is not.
func (d *daemon) notReady() []string {
	status, err := ask(context.Background(), d, func(reply func(msg.Status)) msg.ToRunner { return msg.StatusRequested{Reply: reply} })
	if err != nil {
		return []string{err.Error()}
	}
	return status.NotReady
}
