package fake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Verbs of the driver, for Script.
const (
	Ready   = "ready"
	Pull    = "pull"
	Create  = "create"
	Start   = "start"
	Wait    = "wait"
	Logs    = "logs"
	Signal  = "signal"
	Census  = "census"
	Disk    = "disk"
	Remove  = "remove"
	Inspect = "inspect"
	List    = "list"
)

// Call is what becomes of one call.
type Call struct {
	Takes       time.Duration // before it is done
	Stalls      bool          // it is never done: the caller has to give up
	Fails       error         // it is not done, and says so
	Empty       bool          // it is not done, and the answer is empty, as a proxy's may be: a list of none, else an error
	AnswerTakes time.Duration // after it is done
	AnswerLost  error         // it is done, and answers this
}

// errEmpty is an answer in which there is nothing about what was asked for.
var errEmpty = errors.New("the answer is empty")

// Faults are the calls of something that do not go as usual.
type Faults struct {
	stage Stage
	fate  func(op string) Call

	mu      sync.Mutex // guards what follows
	scripts map[string][]Call
	down    error
	calls   map[string][]time.Time
}

// On are the faults of something that acts on a stage. fate says what becomes of a call that has no script; nil: the usual.
func On(stage Stage, fate func(op string) Call) *Faults {
	return &Faults{stage: stage, fate: fate, scripts: map[string][]Call{}, calls: map[string][]time.Time{}}
}

// Script says what becomes of the next calls of op, in order.
func (f *Faults) Script(op string, calls ...Call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scripts[op] = append(f.scripts[op], calls...)
}

// Down makes every call that begins fail with err, until that is nil again.
func (f *Faults) Down(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = err
}

// Do is a call of op that does something at once.
func (f *Faults) Do(ctx context.Context, op string, act func() error) error {
	return f.Until(ctx, op, func() (bool, <-chan struct{}, time.Time, error) { return true, nil, time.Time{}, act() })
}

// Until is a call of op that waits for something.
func (f *Faults) Until(ctx context.Context, op string, try func() (done bool, changed <-chan struct{}, again time.Time, err error)) (err error) {
	var call *Call
	var due time.Time
	var acted bool
	ended := f.stage.Until(ctx, op, func() (done bool, changed <-chan struct{}, again time.Time) {
		if call == nil {
			call = new(f.next(op))
			due = time.Now().Add(call.Takes)
		}
		switch {
		case ctx.Err() != nil:
			err = fmt.Errorf("%s: %w", op, context.Cause(ctx))
		case call.Stalls:
			return false, nil, time.Time{}
		case time.Now().Before(due):
			return false, nil, due
		case acted:
		case call.Fails != nil:
			err = fmt.Errorf("%s: %w", op, call.Fails)
		case call.Empty:
			err = fmt.Errorf("%s: %w", op, errEmpty)
		default:
			done, changed, again, err = try()
			if !done && err == nil {
				return false, changed, again
			}
			err = cmp.Or(err, call.AnswerLost)
			if acted = call.AnswerTakes > 0; acted {
				due = time.Now().Add(call.AnswerTakes)
				return false, nil, due
			}
		}
		return true, nil, time.Time{}
	})
	if err == nil && ended != nil {
		err = fmt.Errorf("%s: %w", op, ended)
	}
	return err
}

// Calls returns when op was called.
func (f *Faults) Calls(op string) []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls[op])
}

func (f *Faults) next(op string) Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[op] = append(f.calls[op], time.Now())
	switch queue := f.scripts[op]; {
	case f.down != nil:
		return Call{Fails: f.down}
	case len(queue) > 0:
		f.scripts[op] = queue[1:]
		return queue[0]
	case f.fate != nil:
		return f.fate(op)
	}
	return Call{}
}

// isDown is nil unless it is.
func (f *Faults) isDown() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down
}
