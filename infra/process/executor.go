package process

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	msg "runnerd/messages"
)

// executor is one child, from its directory to its removal.
type executor struct {
	dir   string
	spec  msg.ExecutorSpec
	stamp time.Time // of the first byte of its output

	started chan struct{} // closed once child stands
	ended   chan struct{} // closed once exit stands
	removed chan struct{} // closed by Remove

	mu    sync.Mutex  // also keeps the child from being reaped while it is signalled
	gone  bool        // guarded by mu: it does not start any more
	child *os.Process // written once, before started is closed
	since time.Time   // when the child was started; written once, before started is closed
	exit  msg.Exit    // written once, before ended is closed
}

// newExecutor is the executor of a directory.
func newExecutor(dir string) *executor {
	id, created, _ := strings.Cut(filepath.Base(dir), ".")
	nanoseconds, _ := strconv.ParseInt(created, 10, 64)
	return &executor{dir: dir, spec: msg.ExecutorSpec{ID: msg.ExecutorID(id)}, stamp: time.Unix(0, nanoseconds).UTC(),
		started: make(chan struct{}), ended: make(chan struct{}), removed: make(chan struct{})}
}

func (e *executor) output() string { return filepath.Join(e.dir, "output") }

func (e *executor) state() msg.ContainerState {
	switch {
	case closed(e.ended):
		return msg.ContainerExited
	case closed(e.started):
		return msg.ContainerRunning
	}
	return msg.ContainerCreated
}

func (e *executor) container() msg.Container {
	c := msg.Container{ID: e.spec.ID, State: e.state(), Image: e.spec.Image}
	if c.State != msg.ContainerCreated {
		c.StartedAt = e.since
	}
	return c
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Create makes the executor's directory. Repeated for the same id it is the same executor.
func (d *Driver) Create(ctx context.Context, spec msg.ExecutorSpec) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.executors[spec.ID] != nil {
		return nil
	}
	e := newExecutor(filepath.Join(d.dir, fmt.Sprintf("%s.%d", spec.ID, time.Now().UnixNano())))
	e.spec = spec
	if err := os.Mkdir(e.dir, 0o700); err != nil {
		return fmt.Errorf("create executor %s: %w", spec.ID, err)
	}
	d.executors[spec.ID] = e
	return nil
}

// Start starts the child. Repeated: no effect.
func (d *Driver) Start(ctx context.Context, id msg.ExecutorID) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	e, err := d.find(id)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.gone:
		return msg.ErrNoExecutor
	case closed(e.started):
		return nil
	case d.life.Err() != nil:
		return errClosed
	}
	if err := d.launch(e); err != nil {
		return fmt.Errorf("start executor %s: %w", id, err)
	}
	return nil
}

// await waits for an event of the executor.
func (d *Driver) await(ctx context.Context, e *executor, event <-chan struct{}) error {
	select {
	case <-event:
	case <-e.removed:
		if !closed(event) {
			return msg.ErrNoExecutor
		}
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-d.life.Done():
	}
	return context.Cause(d.life) // the end of a child that was killed with the driver is not its executor's
}

// Wait returns how the child ended.
func (d *Driver) Wait(ctx context.Context, id msg.ExecutorID) (msg.Exit, error) {
	e, err := d.find(id)
	if err != nil {
		return msg.Exit{}, err
	}
	if err := d.await(ctx, e, e.ended); err != nil {
		return msg.Exit{}, err
	}
	return e.exit, nil
}

// Signal signals the child; SIGKILL its whole group. One that has ended or not begun: no effect.
func (d *Driver) Signal(ctx context.Context, id msg.ExecutorID, s msg.Signal) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	e, err := d.find(id)
	if err != nil {
		return err
	}
	if err := e.signal(s); err != nil {
		return fmt.Errorf("signal executor %s: %w", id, err)
	}
	return nil
}

// Remove kills what runs and deletes what is kept. Repeated: no effect.
func (d *Driver) Remove(ctx context.Context, id msg.ExecutorID) error {
	e, err := d.find(id)
	if err != nil {
		return nil
	}
	e.mu.Lock()
	e.gone = true
	e.mu.Unlock()
	if e.state() == msg.ContainerRunning {
		if err := e.signal(msg.SIGKILL); err != nil {
			return fmt.Errorf("remove executor %s: %w", id, err)
		}
		if err := d.await(ctx, e, e.ended); err != nil {
			return fmt.Errorf("remove executor %s: %w", id, err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.executors[id] != e {
		return nil
	}
	if err := os.RemoveAll(e.dir); err != nil {
		return fmt.Errorf("remove executor %s: %w", id, err)
	}
	delete(d.executors, id)
	close(e.removed)
	return nil
}
