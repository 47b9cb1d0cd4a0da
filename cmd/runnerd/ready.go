package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"runnerd/actors/actorrt"
	"runnerd/infra/health"
	"runnerd/infra/systemd"
	msg "runnerd/messages"
)

// healthServer serves /live and /ready and reports the same to the service manager. It starts before the first step of the start that may
// wait, and runs until the actors have stopped.
type healthServer struct {
	notReadyFunc atomic.Pointer[func() []string] // returns why the runner is not ready
	lastReasons  atomic.Pointer[[]string]        // the reasons at their last change
	changed      chan struct{}                   // buffers one
	stop         context.CancelFunc              // nil: not open
	done         chan error                      // gets one error after stop
}

func newHealthServer() healthServer { return healthServer{changed: make(chan struct{}, 1)} }

func (h *healthServer) setNotReadyFunc(reasons func() []string) { h.notReadyFunc.Store(&reasons) }

// update records changed reasons. It does not block.
func (h *healthServer) update(reasons []string) {
	h.lastReasons.Store(&reasons)
	select {
	case h.changed <- struct{}{}:
	default: // a change is already signaled
	}
}

func (h *healthServer) setNotReady(reason string) {
	h.setNotReadyFunc(func() []string { return []string{reason} })
	h.update([]string{reason})
}

// openHealth runs before the steps that may wait, so that /ready can say what the runner waits for.
func (d *daemon) openHealth(ctx context.Context) error {
	listener, err := net.Listen("tcp", d.config.Self.Health)
	if err != nil {
		return fmt.Errorf("--health-address is %s: %w; set another", d.config.Self.Health, err)
	}
	h := &d.health
	h.setNotReady("the runner is starting")
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	h.stop, h.done = stop, make(chan error, 1)
	var group errgroup.Group
	group.Go(func() error { return health.Serve(serving, listener, health.Handler(d.notLive, h.reasons)) })
	group.Go(func() error { d.notifyManager(serving); return nil })
	go func() { h.done <- group.Wait() }()
	return nil
}

func (h *healthServer) reasons() []string { return (*h.notReadyFunc.Load())() }

// notifyManager reports the reasons to the service manager whenever they change, until ctx ends.
func (d *daemon) notifyManager(ctx context.Context) {
	if !systemd.Managed() {
		return
	}
	for last := ""; ; {
		select {
		case <-d.health.changed:
		case <-ctx.Done():
			return
		}
		if now := cmp.Or(strings.Join(*d.health.lastReasons.Load(), "; "), "ready"); now != last {
			last = now
			d.logNotifyError(systemd.Status(now))
		}
	}
}

// logNotifyError only logs, because the runner works without its service manager.
func (d *daemon) logNotifyError(err error) {
	if err != nil {
		d.log.Warn().Err(err).Msg("could not notify the service manager")
	}
}

// turnLimit is how long an actor may take for one message. The longest turns wait for the disk; a restart helps against a longer one.
const turnLimit = 2 * time.Minute

// notLive names the actors that are stuck in one message.
func (d *daemon) notLive() []string {
	tree := d.tree.Load()
	if tree == nil {
		return nil
	}
	return stuckActors(tree.system.Tree(), time.Now())
}

func stuckActors(nodes []actorrt.NodeStatus, now time.Time) (stuck []string) {
	for _, n := range nodes {
		if busy := now.Sub(n.BusySince); n.Busy != "" && busy > turnLimit {
			stuck = append(stuck, fmt.Sprintf("the actor %s has been busy with %s for %v, more than %v", n.Path, n.Busy, busy.Round(time.Second), turnLimit))
		}
		stuck = append(stuck, stuckActors(n.Children, now)...)
	}
	return stuck
}

// notReady returns why the runner is not ready. A runner that does not answer is not ready.
func (d *daemon) notReady() []string {
	status, err := askRunner(context.Background(), d, func(reply func(msg.Status)) msg.ToRunner { return msg.StatusRequested{Reply: reply} })
	if err != nil {
		return []string{err.Error()}
	}
	return status.NotReady
}
