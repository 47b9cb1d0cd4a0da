package fake

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"runnerd/infra/driver"
	msg "runnerd/messages"
)

// Driver is an engine and the driver for it in one.
type Driver struct {
	pulling driver.Flight[msg.ImageID]

	mu        sync.Mutex // guards what follows
	made      int        // images so far: ids are drawn from it
	local     map[string]*image
	registry  map[string]*image
	byID      map[msg.ImageID]*image
	pulls     map[string]int
	executors map[msg.ExecutorID]*executor
	scripts   map[Verb][]Call
	events    []Event
	down      error
	changed   chan struct{} // closed and replaced when down changes
}

var _ driver.Driver = (*Driver)(nil)

// New is an engine without images and executors.
func New() *Driver {
	return &Driver{
		local:     map[string]*image{},
		registry:  map[string]*image{},
		byID:      map[msg.ImageID]*image{},
		pulls:     map[string]int{},
		executors: map[msg.ExecutorID]*executor{},
		scripts:   map[Verb][]Call{},
		changed:   make(chan struct{}),
	}
}

// Close kills all executors and waits for their Run functions.
func (d *Driver) Close() {
	for _, e := range d.all() {
		e.remove()
		e.programs.Wait()
	}
}

// Ready is nil unless the engine is Down.
func (d *Driver) Ready(ctx context.Context) error {
	return d.do(ctx, Ready, func() error { return nil })
}

// Pull copies from the registry to the engine as policy says.
func (d *Driver) Pull(ctx context.Context, ref string, policy msg.PullPolicy, secret string) (msg.ImageID, error) {
	var id msg.ImageID
	err := d.do(ctx, Pull, func() (err error) {
		if i := d.find(d.local, ref); i != nil && policy != msg.PullAlways {
			id = i.id
			return nil
		}
		if policy == msg.PullNever {
			return fmt.Errorf("pull %s: %w: it is not here, and must not be pulled", ref, msg.ErrNoImage)
		}
		id, err = d.pulling.Do(ctx, ref+" "+secret, func(ctx context.Context) (msg.ImageID, error) {
			return d.fetch(ctx, ref, secret)
		})
		return err
	})
	return id, err
}

func (d *Driver) fetch(ctx context.Context, ref, secret string) (msg.ImageID, error) {
	i := d.find(d.registry, ref)
	if i == nil || i.Secret != "" && i.Secret != secret {
		return "", fmt.Errorf("pull %s: %w: nobody has it", ref, msg.ErrNoImage)
	}
	if err := pass(ctx, i.PullTakes); err != nil {
		return "", fmt.Errorf("pull %s: %w", ref, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.local[ref] = i
	d.pulls[ref]++
	return i.id, nil
}

// Create makes an executor of an image that Pull returned.
func (d *Driver) Create(ctx context.Context, spec msg.ExecutorSpec) error {
	return d.do(ctx, Create, func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.executors[spec.ID] != nil {
			return nil
		}
		i := d.byID[spec.Image]
		if i == nil {
			return fmt.Errorf("create executor %s: %w: %s", spec.ID, msg.ErrNoImage, spec.Image)
		}
		d.executors[spec.ID] = newExecutor(d, spec, i.Program)
		d.note(Created, spec.ID)
		return nil
	})
}

// Start runs the program.
func (d *Driver) Start(ctx context.Context, id msg.ExecutorID) error {
	return d.with(ctx, Start, id, func(e *executor) error { e.start(); return nil })
}

// Wait waits for the program's end.
func (d *Driver) Wait(ctx context.Context, id msg.ExecutorID) (exit msg.Exit, err error) {
	err = d.with(ctx, Wait, id, func(e *executor) error {
		exit, err = e.wait(ctx)
		return err
	})
	return exit, err
}

// Logs hands on what the program prints.
func (d *Driver) Logs(ctx context.Context, id msg.ExecutorID, from msg.Position, emit func([]msg.LogEntry) error) error {
	return d.with(ctx, Logs, id, func(e *executor) error { return e.logs(ctx, driver.From(from), emit) })
}

// Signal sends the program a signal.
func (d *Driver) Signal(ctx context.Context, id msg.ExecutorID, s msg.Signal) error {
	return d.with(ctx, Signal, id, func(e *executor) error { e.signal(s); return nil })
}

// Remove kills the program, and forgets the executor.
func (d *Driver) Remove(ctx context.Context, id msg.ExecutorID) error {
	return d.do(ctx, Remove, func() error {
		d.mu.Lock()
		e := d.executors[id]
		delete(d.executors, id)
		d.mu.Unlock()
		if e != nil {
			e.remove()
		}
		return nil
	})
}

// List returns the executors by id.
func (d *Driver) List(ctx context.Context) ([]msg.Container, error) {
	var list []msg.Container
	err := d.do(ctx, List, func() error {
		for _, e := range d.all() {
			list = append(list, e.container())
		}
		return nil
	})
	return list, err
}

func (d *Driver) all() []*executor {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.SortedFunc(maps.Values(d.executors), func(a, b *executor) int {
		return cmp.Compare(a.spec.ID, b.spec.ID)
	})
}

func (d *Driver) find(shelf map[string]*image, ref string) *image {
	d.mu.Lock()
	defer d.mu.Unlock()
	return shelf[ref]
}

func (d *Driver) with(ctx context.Context, verb Verb, id msg.ExecutorID, act func(*executor) error) error {
	return d.do(ctx, verb, func() error {
		d.mu.Lock()
		e := d.executors[id]
		d.mu.Unlock()
		if e == nil {
			return fmt.Errorf("%s executor %s: %w", verb, id, msg.ErrNoExecutor)
		}
		return act(e)
	})
}

// pass lets time go by.
func pass(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
