package driver

import (
	"context"
	"errors"
	"sync"
)

// SingleFlight runs a function once for concurrent callers with the same key. The end of a caller's context ends only that
// caller's wait. The function is cancelled when the last caller gives up, so that nobody joins a stalled call. The zero value is
// ready to use.
type SingleFlight[T any] struct {
	mu    sync.Mutex
	calls map[string]*call[T]
}

type call[T any] struct {
	waiters int // guarded by SingleFlight.mu
	cancel  context.CancelCauseFunc
	done    chan struct{} // closed once value and err are set
	value   T
	err     error
}

var errNoWaiters = errors.New("all callers have given up")

// Do runs work and returns its result, or joins the call with this key that is in progress.
func (f *SingleFlight[T]) Do(ctx context.Context, key string, work func(context.Context) (T, error)) (T, error) {
	c := f.join(ctx, key, work)
	defer f.leave(key, c)
	select {
	case <-c.done:
		return c.value, c.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

func (f *SingleFlight[T]) join(ctx context.Context, key string, work func(context.Context) (T, error)) *call[T] {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.calls[key]
	if c == nil {
		var workCtx context.Context
		c = &call[T]{done: make(chan struct{})}
		workCtx, c.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
		if f.calls == nil {
			f.calls = map[string]*call[T]{}
		}
		f.calls[key] = c
		go func() {
			defer close(c.done)
			c.value, c.err = work(workCtx)
			f.forget(key, c)
		}()
	}
	c.waiters++
	return c
}

func (f *SingleFlight[T]) leave(key string, c *call[T]) {
	f.mu.Lock()
	c.waiters--
	last := c.waiters == 0
	f.mu.Unlock()
	if last {
		f.forget(key, c)
		c.cancel(errNoWaiters)
	}
}

// forget makes the next Do start a new call.
func (f *SingleFlight[T]) forget(key string, c *call[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls[key] == c {
		delete(f.calls, key)
	}
}
