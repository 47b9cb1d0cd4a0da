package fakes

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Call is what becomes of one call.
type Call struct {
	Takes      time.Duration // before it is done
	Stalls     bool          // it is never done: the caller has to give up
	Fails      error         // it is not done, and says so
	AnswerLost error         // it is done, and answers this
}

// Faults are the calls that do not go as usual.
type Faults struct {
	mu      sync.Mutex
	scripts map[string][]Call
	down    error
}

// Script says what becomes of the next calls of op, in order. The calls after them are as usual.
func (f *Faults) Script(op string, calls ...Call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.scripts == nil {
		f.scripts = map[string][]Call{}
	}
	f.scripts[op] = append(f.scripts[op], calls...)
}

// Down makes every call fail with err until it is nil again.
func (f *Faults) Down(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = err
}

func (f *Faults) do(ctx context.Context, op string, act func() error) error {
	call, err := f.next(op)
	if err == nil {
		err = call.begin(ctx)
	}
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := act(); err != nil {
		return err
	}
	return call.AnswerLost
}

func (f *Faults) next(op string) (call Call, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if queue := f.scripts[op]; len(queue) > 0 {
		call, f.scripts[op] = queue[0], queue[1:]
	}
	return call, f.down
}

func (c Call) begin(ctx context.Context) error {
	if c.Stalls {
		<-ctx.Done()
	}
	if err := pass(ctx, c.Takes); err != nil {
		return err
	}
	return c.Fails
}

// pass lets time go by.
func pass(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// breaches are what must never happen, in the order of happening.
type breaches struct {
	mu   sync.Mutex
	list []string
}

func (b *breaches) add(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, time.Now().UTC().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// Breaches lists what an invariant forbids and happened all the same.
func (b *breaches) Breaches() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.list...)
}
