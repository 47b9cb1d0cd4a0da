package fake

import (
	"context"
	"time"
)

// Stage is what the fakes act on: who acts when, and what time it is, is not theirs to decide. Live serves tests that run in
// goroutines; a simulation has a stage of its own, on which one deed comes after another in an order that a seed decides.
type Stage interface {
	// Do runs fn, a deed that touches what others touch too. It does not block.
	Do(what string, fn func())
	// Until repeats a try, which is a deed as well, until it is done: at once, when what it returned is closed, and at the time
	// that it returned. When ctx has ended, and then try is not done either, it returns the cause.
	Until(ctx context.Context, what string, try Try) error
	// Go starts what goes on beside the caller.
	Go(name string, fn func())
}

// Try says whether what is waited for is so, and when to try again: when changed is closed, or at a time that is not zero.
type Try func() (done bool, changed <-chan struct{}, again time.Time)

// Live is a stage of goroutines and package time, alone or in a synctest bubble.
func Live() Stage { return live{} }

type live struct{}

func (live) Do(_ string, fn func()) { fn() }
func (live) Go(_ string, fn func()) { go fn() }

func (live) Until(ctx context.Context, _ string, try Try) error {
	for {
		done, changed, again := try()
		switch {
		case done:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		await(ctx, changed, again)
	}
}

func await(ctx context.Context, changed <-chan struct{}, again time.Time) {
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
