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

// Driver is an engine and its driver in one.
type Driver struct {
	*Faults
	LogDelay func() time.Duration // until a printed entry is read and timestamped; nil: no delay
	programs sync.WaitGroup

	mu         sync.Mutex // guards the fields below
	imageCount int        // images so far, for unique ids
	local      map[string]*image
	registry   map[string]*image
	byID       map[msg.ImageID]*image
	pulling    map[string]*pull
	executors  map[msg.ExecutorID]*executor
	events     []Event
}

var _ driver.Driver = (*Driver)(nil)

// New returns an engine without images and executors.
func New() *Driver { return NewWithFaults(NewFaults(RealTime(), nil)) }

// NewWithFaults is New with the given faults and their scheduler.
func NewWithFaults(faults *Faults) *Driver {
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
	d.KillAll()
	d.programs.Wait()
}

// KillAll kills and removes all executors.
func (d *Driver) KillAll() {
	for _, e := range d.all() {
		d.forget(e.spec.ID)
	}
}

// Ready returns nil unless the engine is down.
func (d *Driver) Ready(ctx context.Context) error {
	return d.Do(ctx, Ready, func() error { return nil })
}

// Create creates an executor of an image that Pull returned.
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
		d.recordEvent(Created, spec.ID)
		return nil
	})
}

// Start runs the program.
func (d *Driver) Start(ctx context.Context, id msg.ExecutorID) error {
	return d.withExecutor(ctx, Start, id, (*executor).start)
}

// Wait waits for the program's end.
func (d *Driver) Wait(ctx context.Context, id msg.ExecutorID) (msg.Exit, error) {
	e, err := d.lookUp(ctx, Wait, id)
	if err != nil {
		return msg.Exit{}, err
	}
	return e.wait(ctx)
}

// Logs passes the program's output to emit.
func (d *Driver) Logs(ctx context.Context, id msg.ExecutorID, from msg.Position, emit func([]msg.LogEntry) error) error {
	e, err := d.lookUp(ctx, Logs, id)
	if err != nil {
		return err
	}
	if err := emit(nil); err != nil {
		return err
	}
	return e.logs(ctx, driver.NewCursor(from), emit)
}

// Signal sends the program a signal.
func (d *Driver) Signal(ctx context.Context, id msg.ExecutorID, s msg.Signal) error {
	return d.withExecutor(ctx, Signal, id, func(e *executor) { e.signal(s) })
}

// Processes counts the program and the processes that it has forked.
func (d *Driver) Processes(ctx context.Context, id msg.ExecutorID) (n int, err error) {
	err = d.withExecutor(ctx, Processes, id, func(e *executor) { n = e.processes() })
	return n, err
}

// Disk returns the number of bytes that the program has filled.
func (d *Driver) Disk(ctx context.Context, id msg.ExecutorID) (bytes int64, err error) {
	err = d.withExecutor(ctx, Disk, id, func(e *executor) { bytes = e.filled() })
	return bytes, err
}

// Remove kills the program and removes the executor.
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
	err = d.withExecutor(ctx, Inspect, id, func(e *executor) { c = e.container() })
	return c, err
}

// List returns the executors by id.
func (d *Driver) List(ctx context.Context) (list []msg.Container, err error) {
	err = d.Do(ctx, List, func() error { list = d.Containers(); return nil })
	if errors.Is(err, errEmpty) { // an empty answer is a valid list
		return nil, nil
	}
	return list, err
}

// Containers returns the executors that exist, regardless of faults.
func (d *Driver) Containers() (list []msg.Container) {
	for _, e := range d.all() {
		list = append(list, e.container())
	}
	return list
}

// Down takes the engine down: all new and pending calls fail with err, while executors keep running. A nil err brings it back.
func (d *Driver) Down(err error) {
	d.Faults.Down(err)
	for _, e := range d.all() {
		e.wake()
	}
}

// LosePower ends all running executors, as a power loss of the machine does.
func (d *Driver) LosePower() {
	for _, e := range d.all() {
		e.end(msg.Exit{Code: 255})
	}
}

// RemoveExecutor removes an executor externally.
func (d *Driver) RemoveExecutor(id msg.ExecutorID) { d.forget(id) }

// Restart restarts an executor externally, like docker restart -t 0, or docker start of one that has exited. It kills the
// process, whose exit is reported to pending waits, and starts the program again in the same executor with another StartedAt.
// The log and the disk usage are kept; unread signals and forked processes are not.
func (d *Driver) Restart(id msg.ExecutorID) {
	if e := d.find(id); e != nil {
		e.restart()
	}
}

// EndExecutor ends an executor externally if it runs.
func (d *Driver) EndExecutor(id msg.ExecutorID, exit msg.Exit) {
	if e := d.find(id); e != nil {
		e.end(exit)
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

func (d *Driver) withExecutor(ctx context.Context, op string, id msg.ExecutorID, act func(*executor)) error {
	return d.Do(ctx, op, func() error {
		e := d.find(id)
		if e == nil {
			return fmt.Errorf("%s executor %s: %w", op, id, msg.ErrNoExecutor)
		}
		act(e)
		return nil
	})
}

func (d *Driver) lookUp(ctx context.Context, op string, id msg.ExecutorID) (found *executor, err error) {
	err = d.withExecutor(ctx, op, id, func(e *executor) { found = e })
	return found, err
}
