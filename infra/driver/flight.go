package driver

import (
	"context"
	"errors"
	"sync"
)

// Flight does a piece of work once for however many want it at the same time. A waiter's context ends its own waiting only;
// the work is given up when the last waiter has gone, so that work which stalls is not joined for ever. The zero value is
// ready.
type Flight[T any] struct {
	mu    sync.Mutex
	calls map[string]*call[T]
}

type call[T any] struct {
	waiters int // guarded by Flight.mu
	giveUp  context.CancelCauseFunc
	done    chan struct{} // closed once value and err are there
	value   T
	err     error
}

var errNobodyWaits = errors.New("nobody waits for it any more")

// Do returns what work of this key returns: its own, or that which is under way.
func (f *Flight[T]) Do(ctx context.Context, key string, work func(context.Context) (T, error)) (T, error) {
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

func (f *Flight[T]) join(ctx context.Context, key string, work func(context.Context) (T, error)) *call[T] {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.calls[key]
	if c == nil {
		var working context.Context
		c = &call[T]{done: make(chan struct{})}
		working, c.giveUp = context.WithCancelCause(context.WithoutCancel(ctx))
		if f.calls == nil {
			f.calls = map[string]*call[T]{}
		}
		f.calls[key] = c
		go func() {
			defer close(c.done)
			c.value, c.err = work(working)
			f.forget(key, c)
		}()
	}
	c.waiters++
	return c
}

func (f *Flight[T]) leave(key string, c *call[T]) {
	f.mu.Lock()
	c.waiters--
	last := c.waiters == 0
	f.mu.Unlock()
	if last {
		f.forget(key, c)
		c.giveUp(errNobodyWaits)
	}
}

// forget makes the next Do begin anew.
func (f *Flight[T]) forget(key string, c *call[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls[key] == c {
		delete(f.calls, key)
	}
}
