package fake

import (
	"cmp"
	"context"
	"errors"
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
	*Faults
	Lag      func() time.Duration // until an entry that is printed now is read, and stamped; nil: none
	programs sync.WaitGroup

	mu        sync.Mutex // guards what follows
	made      int        // images so far: ids are drawn from it
	local     map[string]*image
	registry  map[string]*image
	byID      map[msg.ImageID]*image
	pulling   map[string]*pull
	executors map[msg.ExecutorID]*executor
	events    []Event
}

var _ driver.Driver = (*Driver)(nil)

// New is an engine without images and executors.
func New() *Driver { return NewOn(On(Live(), nil)) }

// NewOn is New, on the stage of these faults.
func NewOn(faults *Faults) *Driver {
	return &Driver{
		Faults:    faults,
		local:     map[string]*image{},
		registry:  map[string]*image{},
		byID:      map[msg.ImageID]*image{},
		pulling:   map[string]*pull{},
		executors: map[msg.ExecutorID]*executor{},
	}
}

// Close kills all executors and waits for their Run functions.
func (d *Driver) Close() {
	d.Halt()
	d.programs.Wait()
}

// Halt kills all executors, and forgets them.
func (d *Driver) Halt() {
	for _, e := range d.all() {
		d.forget(e.spec.ID)
	}
}

// Ready is nil unless the engine is Down.
func (d *Driver) Ready(ctx context.Context) error {
	return d.Do(ctx, Ready, func() error { return nil })
}

// Create makes an executor of an image that Pull returned.
func (d *Driver) Create(ctx context.Context, spec msg.ExecutorSpec) error {
	return d.Do(ctx, Create, func() error {
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
	return d.with(ctx, Start, id, (*executor).start)
}

// Wait waits for the program's end.
func (d *Driver) Wait(ctx context.Context, id msg.ExecutorID) (msg.Exit, error) {
	e, err := d.reach(ctx, Wait, id)
	if err != nil {
		return msg.Exit{}, err
	}
	return e.wait(ctx)
}

// Logs hands on what the program prints.
func (d *Driver) Logs(ctx context.Context, id msg.ExecutorID, from msg.Position, emit func([]msg.LogEntry) error) error {
	e, err := d.reach(ctx, Logs, id)
	if err != nil {
		return err
	}
	if err := emit(nil); err != nil {
		return err
	}
	return e.logs(ctx, driver.From(from), emit)
}

// Signal sends the program a signal.
func (d *Driver) Signal(ctx context.Context, id msg.ExecutorID, s msg.Signal) error {
	return d.with(ctx, Signal, id, func(e *executor) { e.signal(s) })
}

// Processes counts the program and what it has left behind.
func (d *Driver) Processes(ctx context.Context, id msg.ExecutorID) (n int, err error) {
	err = d.with(ctx, Census, id, func(e *executor) { n = e.processes() })
	return n, err
}

// Disk is what the program has filled.
func (d *Driver) Disk(ctx context.Context, id msg.ExecutorID) (bytes int64, err error) {
	err = d.with(ctx, Disk, id, func(e *executor) { bytes = e.filled() })
	return bytes, err
}

// Remove kills the program, and forgets the executor.
func (d *Driver) Remove(ctx context.Context, id msg.ExecutorID) error {
	return d.Do(ctx, Remove, func() error { d.forget(id); return nil })
}

func (d *Driver) forget(id msg.ExecutorID) {
	d.mu.Lock()
	e := d.executors[id]
	delete(d.executors, id)
	d.mu.Unlock()
	if e != nil {
		e.remove()
	}
}

// Inspect returns one executor.
func (d *Driver) Inspect(ctx context.Context, id msg.ExecutorID) (c msg.Container, err error) {
	err = d.with(ctx, Inspect, id, func(e *executor) { c = e.container() })
	return c, err
}

// List returns the executors by id.
func (d *Driver) List(ctx context.Context) (list []msg.Container, err error) {
	err = d.Do(ctx, List, func() error { list = d.Containers(); return nil })
	if errors.Is(err, errEmpty) { // which is a list, too
		return nil, nil
	}
	return list, err
}

// Containers is the truth, whatever an engine would answer.
func (d *Driver) Containers() (list []msg.Container) {
	for _, e := range d.all() {
		list = append(list, e.container())
	}
	return list
}

// Down makes the engine stop answering: every call that is made or under way fails with err. The executors live on. Nil
// brings it back.
func (d *Driver) Down(err error) {
	d.Faults.Down(err)
	for _, e := range d.all() {
		e.wake()
	}
}

// LosePower ends all executors that run, as the machine's end does.
func (d *Driver) LosePower() {
	for _, e := range d.all() {
		e.end(msg.Exit{Code: 255})
	}
}

// Vanish takes an executor away as somebody else may.
func (d *Driver) Vanish(id msg.ExecutorID) { d.forget(id) }

// Restart is docker restart -t 0, or docker start of an executor that has ended: what runs is killed and its end is reported
// to those who wait for it, and at once the program runs again from its beginning, in the same executor, with another StartedAt.
// The log and the disk stay; signals that were not looked at, and processes left behind, do not.
func (d *Driver) Restart(id msg.ExecutorID) {
	if e := d.find(id); e != nil {
		e.restart()
	}
}

// Fell is an executor's end that nobody of the runner asked for, if it runs.
func (d *Driver) Fell(id msg.ExecutorID, how msg.Exit) {
	if e := d.find(id); e != nil {
		e.end(how)
	}
}

func (d *Driver) all() []*executor {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.SortedFunc(maps.Values(d.executors), func(a, b *executor) int {
		return cmp.Compare(a.spec.ID, b.spec.ID)
	})
}

func (d *Driver) find(id msg.ExecutorID) *executor {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.executors[id]
}

func (d *Driver) with(ctx context.Context, verb string, id msg.ExecutorID, act func(*executor)) error {
	return d.Do(ctx, verb, func() error {
		e := d.find(id)
		if e == nil {
			return fmt.Errorf("%s executor %s: %w", verb, id, msg.ErrNoExecutor)
		}
		act(e)
		return nil
	})
}

func (d *Driver) reach(ctx context.Context, verb string, id msg.ExecutorID) (found *executor, err error) {
	err = d.with(ctx, verb, id, func(e *executor) { found = e })
	return found, err
}
