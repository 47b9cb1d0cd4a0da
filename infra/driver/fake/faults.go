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

// Names of the driver's methods for Script.
const (
	Ready     = "ready"
	Pull      = "pull"
	Create    = "create"
	Start     = "start"
	Wait      = "wait"
	Logs      = "logs"
	Signal    = "signal"
	Processes = "processes"
	Disk      = "disk"
	Remove    = "remove"
	Inspect   = "inspect"
	List      = "list"
)

// Call scripts the behavior of one call.
type Call struct {
	Delay       time.Duration // before the call takes effect
	Stalls      bool          // the call blocks until its context ends
	Err         error         // the call has no effect and returns this
	EmptyAnswer bool          // no effect and an empty answer, as from a proxy: List returns none, other methods an error
	AnswerDelay time.Duration // after the call has taken effect
	AnswerErr   error         // the call takes effect but returns this
}

// errEmpty is the error for an empty answer.
var errEmpty = errors.New("the answer is empty")

// Faults injects faults into calls.
type Faults struct {
	scheduler Scheduler
	decide    func(op string) Call

	mu      sync.Mutex // guards the fields below
	scripts map[string][]Call
	down    error
	calls   map[string][]time.Time
}

// NewFaults returns Faults that use a scheduler. decide returns the behavior of a call without a script; nil: no faults.
func NewFaults(scheduler Scheduler, decide func(op string) Call) *Faults {
	return &Faults{scheduler: scheduler, decide: decide, scripts: map[string][]Call{}, calls: map[string][]time.Time{}}
}

// Script sets the behavior of the next calls of op, in order.
func (f *Faults) Script(op string, calls ...Call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scripts[op] = append(f.scripts[op], calls...)
}

// Down makes all new calls fail with err. A nil err ends that.
func (f *Faults) Down(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = err
}

// Do runs a call of op that does not block.
func (f *Faults) Do(ctx context.Context, op string, act func() error) error {
	return f.Until(ctx, op, func() (bool, <-chan struct{}, time.Time, error) { return true, nil, time.Time{}, act() })
}

// Until runs a call of op that repeats try until it is done; see Scheduler.Until.
func (f *Faults) Until(ctx context.Context, op string, try func() (done bool, changed <-chan struct{}, again time.Time, err error)) (err error) {
	var call *Call
	var due time.Time
	var acted bool
	waitErr := f.scheduler.Until(ctx, op, func() (done bool, changed <-chan struct{}, again time.Time) {
		if call == nil {
			call = new(f.next(op))
			due = time.Now().Add(call.Delay)
		}
		switch {
		case ctx.Err() != nil:
			err = fmt.Errorf("%s: %w", op, context.Cause(ctx))
		case call.Stalls:
			return false, nil, time.Time{}
		case time.Now().Before(due):
			return false, nil, due
		case acted:
		case call.Err != nil:
			err = fmt.Errorf("%s: %w", op, call.Err)
		case call.EmptyAnswer:
			err = fmt.Errorf("%s: %w", op, errEmpty)
		default:
			done, changed, again, err = try()
			if !done && err == nil {
				return false, changed, again
			}
			err = cmp.Or(err, call.AnswerErr)
			if acted = call.AnswerDelay > 0; acted {
				due = time.Now().Add(call.AnswerDelay)
				return false, nil, due
			}
		}
		return true, nil, time.Time{}
	})
	if err == nil && waitErr != nil {
		err = fmt.Errorf("%s: %w", op, waitErr)
	}
	return err
}

// Calls returns the times at which op was called.
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
		return Call{Err: f.down}
	case len(queue) > 0:
		f.scripts[op] = queue[1:]
		return queue[0]
	case f.decide != nil:
		return f.decide(op)
	}
	return Call{}
}

// downErr returns the error of Down, or nil.
func (f *Faults) downErr() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.down
}
