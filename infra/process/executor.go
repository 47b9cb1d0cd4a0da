package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	msg "runnerd/messages"
)

// executor is one child, from its directory to its removal.
type executor struct {
	dir     string
	created time.Time // stamp of the first byte of its output
	env     map[string]string

	msg.Container             // guarded by Driver.mu
	process       *os.Process // guarded by Driver.mu; there while the executor is running

	ended chan struct{} // closed once exit and err are there
	exit  msg.Exit
	err   error // in place of exit, if it was removed before its start
}

// newExecutor is the executor of a directory.
func newExecutor(dir string) *executor {
	id, created, _ := strings.Cut(filepath.Base(dir), ".")
	nanoseconds, _ := strconv.ParseInt(created, 10, 64)
	return &executor{dir: dir, created: time.Unix(0, nanoseconds).UTC(), ended: make(chan struct{}),
		Container: msg.Container{ID: msg.ExecutorID(id), State: msg.ContainerCreated}}
}

func (e *executor) output() string { return filepath.Join(e.dir, "output") }

// end tells all who wait. Driver.mu is held.
func (e *executor) end(exit msg.Exit, err error) {
	e.State, e.exit, e.err = msg.ContainerExited, exit, err
	close(e.ended)
}

// Create makes the executor's directory. Repeated for the same id it is the same executor.
func (d *Driver) Create(_ context.Context, spec msg.ExecutorSpec) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.executors[spec.ID] != nil {
		return nil
	}
	e := newExecutor(filepath.Join(d.dir, fmt.Sprintf("%s.%d", spec.ID, time.Now().UnixNano())))
	e.Image, e.env = spec.Image, spec.Env
	if err := os.Mkdir(e.dir, 0o700); err != nil {
		return err
	}
	d.executors[spec.ID] = e
	return nil
}

// Start starts the child. Repeated: no effect. The kernel kills the child when the thread that started it ends, so that thread is
// kept until the child has ended.
func (d *Driver) Start(_ context.Context, id msg.ExecutorID) error {
	e, err := d.find(id)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life.Err() != nil {
		return errClosed
	}
	if e.State != msg.ContainerCreated {
		return nil
	}
	started := make(chan error)
	d.children.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		child, err := d.launch(e)
		started <- err
		if err == nil {
			d.watch(e, child)
		}
	})
	return <-started
}

// launch starts the child, with the environment of its spec and the least that a program needs, and nothing of runnerd's own.
// Driver.mu is held.
func (d *Driver) launch(e *executor) (*exec.Cmd, error) {
	output, err := os.OpenFile(e.output(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	child := exec.CommandContext(d.life, string(e.Image))
	child.Dir, child.Stdout, child.Stderr = e.dir, output, output
	child.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + e.dir, markName + "=" + d.dir}
	for name, value := range e.env { // of a name that comes twice, the last counts
		child.Env = append(child.Env, name+"="+value)
	}
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := child.Start(); err != nil {
		return nil, err
	}
	e.process, e.State, e.StartedAt = child.Process, msg.ContainerRunning, time.Now()
	return child, nil
}

// watch waits for the child, kills what it has left in its group, and keeps how it ended. Before the dead child is reaped, its pid
// names its group and nobody else's.
func (d *Driver) watch(e *executor, child *exec.Cmd) {
	for unix.Waitid(unix.P_PID, child.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		continue
	}
	_ = unix.Kill(-child.Process.Pid, unix.SIGKILL)
	_ = child.Wait() // its error is the exit code
	exit := msg.Exit{Code: child.ProcessState.ExitCode(), At: time.Now().UTC()}
	if status := child.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		exit.Code = 128 + int(status.Signal())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	e.end(exit, nil)
}

// Wait returns how the child ended.
func (d *Driver) Wait(ctx context.Context, id msg.ExecutorID) (msg.Exit, error) {
	e, err := d.find(id)
	if err != nil {
		return msg.Exit{}, err
	}
	select {
	case <-e.ended:
	case <-d.life.Done():
	case <-ctx.Done():
		return msg.Exit{}, context.Cause(ctx)
	}
	if d.life.Err() != nil { // the end of a child that was killed with the driver is not its executor's
		return msg.Exit{}, errClosed
	}
	return e.exit, e.err
}

// Signal signals the child. One that has ended or not begun: no effect.
func (d *Driver) Signal(_ context.Context, id msg.ExecutorID, s msg.Signal) error {
	e, err := d.find(id)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.State != msg.ContainerRunning {
		return nil
	}
	if err := e.process.Signal(unix.SignalNum(string(s))); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Remove kills what runs and deletes what is kept. Repeated: no effect.
func (d *Driver) Remove(ctx context.Context, id msg.ExecutorID) error {
	e, err := d.find(id)
	if err != nil {
		return nil
	}
	d.mu.Lock()
	switch e.State {
	case msg.ContainerCreated:
		e.end(msg.Exit{}, msg.ErrNoExecutor) // and so it cannot start any more
	case msg.ContainerRunning:
		_ = e.process.Kill() // its error: it has ended
	case msg.ContainerExited:
	}
	d.mu.Unlock()
	select {
	case <-e.ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := os.RemoveAll(e.dir); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.executors, id)
	return nil
}
