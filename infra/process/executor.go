package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	msg "runnerd/messages"
)

// executor is one child, from its record to its removal.
type executor struct {
	dir  string
	spec msg.ExecutorSpec

	started chan struct{} // closed once process stands
	ended   chan struct{} // closed once exit stands
	removed chan struct{} // closed by Remove

	process process  // written once, before started is closed
	exit    msg.Exit // written once, before ended is closed

	mu   sync.Mutex // of Start and Remove
	gone bool       // guarded by mu
}

func newExecutor(dir string, spec msg.ExecutorSpec) *executor {
	return &executor{dir: dir, spec: spec,
		started: make(chan struct{}), ended: make(chan struct{}), removed: make(chan struct{})}
}

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
		c.StartedAt = e.process.Started
	}
	return c
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Create keeps the spec. Repeated for the same id it is the same executor.
func (d *Driver) Create(ctx context.Context, spec msg.ExecutorSpec) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !filepath.IsLocal(string(spec.ID)) || strings.ContainsAny(string(spec.ID), "/.") {
		return fmt.Errorf("create executor %q: an id is lower-case letters and digits", spec.ID)
	}
	if _, err := executable(spec.Image); err != nil {
		return fmt.Errorf("create executor %s: %w", spec.ID, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.executors[spec.ID] != nil {
		return nil
	}
	e := newExecutor(filepath.Join(d.dir, string(spec.ID)), spec)
	if err := os.MkdirAll(e.dir, 0o700); err != nil {
		return fmt.Errorf("create executor %s: %w", spec.ID, err)
	}
	if err := e.write("spec.json", spec); err != nil {
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
	if e.gone {
		return msg.ErrNoExecutor
	}
	if closed(e.started) {
		return nil
	}
	cmd, err := e.launch()
	if err != nil {
		return fmt.Errorf("start executor %s: %w", id, err)
	}
	close(e.started)
	d.waits.Go(func() { d.watch(e, cmd) })
	return nil
}

// launch starts the process and records it. The record without a pid comes first: no crash makes it run twice.
func (e *executor) launch() (*exec.Cmd, error) {
	path, err := executable(e.spec.Image)
	if err != nil {
		return nil, err
	}
	output, err := os.OpenFile(filepath.Join(e.dir, "output"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	p := process{Started: time.Now().UTC()}
	if err := e.write("process.json", p); err != nil {
		return nil, err
	}
	cmd := exec.Command(path)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = e.dir, e.environment(), output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, withoutRecord(err, e.dir)
	}
	p.PID = cmd.Process.Pid
	if err = p.identify(); err == nil {
		err = e.write("process.json", p)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, withoutRecord(err, e.dir)
	}
	e.process = p
	e.forgetKey()
	return cmd, nil
}

// withoutRecord takes the record back where no process came of it, so that the start may be repeated.
func withoutRecord(cause error, dir string) error {
	if err := os.Remove(filepath.Join(dir, "process.json")); err != nil {
		return fmt.Errorf("%w; and its record stays: %w", cause, err)
	}
	return cause
}

// Wait returns how the child ended.
func (d *Driver) Wait(ctx context.Context, id msg.ExecutorID) (msg.Exit, error) {
	e, err := d.find(id)
	if err != nil {
		return msg.Exit{}, err
	}
	select {
	case <-e.ended:
		return e.exit, nil
	case <-e.removed:
		if closed(e.ended) {
			return e.exit, nil
		}
		return msg.Exit{}, msg.ErrNoExecutor
	case <-ctx.Done():
		return msg.Exit{}, context.Cause(ctx)
	case <-d.life.Done():
		return msg.Exit{}, errClosed
	}
}

// Signal signals the child; SIGKILL its whole group. One that has ended or not begun: no effect.
func (d *Driver) Signal(ctx context.Context, id msg.ExecutorID, s msg.Signal) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	e, err := d.find(id)
	if err != nil || e.state() != msg.ContainerRunning {
		return err
	}
	if err := e.process.signal(s); err != nil {
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
		if err := d.kill(ctx, e); err != nil {
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

func (d *Driver) kill(ctx context.Context, e *executor) error {
	if err := e.process.signal(msg.SIGKILL); err != nil {
		return err
	}
	select {
	case <-e.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-d.life.Done():
		return errClosed
	}
}
