package fake

import (
	"context"
	"time"
)

// Scheduler decides when the fakes act and what time it is. RealTime is for tests that run in goroutines. The simulation has its
// own scheduler, which runs one action after another in an order that depends on a seed.
type Scheduler interface {
	// Do runs fn, an action on shared state that does not block.
	Do(what string, fn func())
	// Until calls try, which is an action too, until it reports done: at once, and whenever the returned channel is closed or the
	// returned time has come. If ctx has ended and try is still not done, it returns the context's cause.
	Until(ctx context.Context, what string, try Try) error
	// Go runs fn concurrently with the caller.
	Go(name string, fn func())
}

// Try reports whether a wait is done, and when to try again: when changed is closed, or at the time again unless that is zero.
type Try func() (done bool, changed <-chan struct{}, again time.Time)

// RealTime returns a Scheduler that uses goroutines and package time, with or without a synctest bubble.
func RealTime() Scheduler { return realTime{} }

type realTime struct{}

func (realTime) Do(_ string, fn func()) { fn() }
func (realTime) Go(_ string, fn func()) { go fn() }

func (realTime) Until(ctx context.Context, _ string, try Try) error {
	for {
		done, changed, again := try()
		switch {
		case done:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		waitForChange(ctx, changed, again)
	}
}

func waitForChange(ctx context.Context, changed <-chan struct{}, again time.Time) {
	var due <-chan time.Time
	if !again.IsZero() {
		timer := time.NewTimer(time.Until(again))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-changed:
	case <-due:
	case <-ctx.Done():
	}
}
