package fake

import (
	"context"
	"fmt"
	"time"
)

// Verb names a method of the driver.
type Verb string

const (
	Ready  Verb = "ready"
	Pull   Verb = "pull"
	Create Verb = "create"
	Start  Verb = "start"
	Wait   Verb = "wait"
	Logs   Verb = "logs"
	Signal Verb = "signal"
	Remove Verb = "remove"
	List   Verb = "list"
)

// Call is what becomes of one call.
type Call struct {
	Takes      time.Duration // before it is done
	Stalls     bool          // it is never done: the caller has to give up
	Fails      error         // it is not done, and says so
	AnswerLost error         // it is done, and answers this
}

// Script says what becomes of the next calls of verb, in order. The calls after them are as usual.
func (d *Driver) Script(verb Verb, calls ...Call) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.scripts[verb] = append(d.scripts[verb], calls...)
}

// Down makes the engine stop answering: every call that is made or under way fails with err. The executors live on. Nil
// brings it back.
func (d *Driver) Down(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = err
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *Driver) do(ctx context.Context, verb Verb, act func() error) error {
	call, err := d.next(verb)
	if err == nil {
		err = call.begin(ctx)
	}
	if err == nil {
		err = ctxErr(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	if err := act(); err != nil {
		return err
	}
	return call.AnswerLost
}

// begin is what comes before a call is done.
func (c Call) begin(ctx context.Context) error {
	if c.Stalls {
		<-ctx.Done()
	}
	if c.Takes > 0 {
		if err := pass(ctx, c.Takes); err != nil {
			return err
		}
	}
	return c.Fails
}

func (d *Driver) next(verb Verb) (call Call, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if queue := d.scripts[verb]; len(queue) > 0 {
		call, d.scripts[verb] = queue[0], queue[1:]
	}
	return call, d.down
}

func ctxErr(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// engine returns what is closed when the engine goes or comes back, and the error of one that is away.
func (d *Driver) engine() (<-chan struct{}, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed, d.down
}
