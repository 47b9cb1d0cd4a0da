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

// executor is a child process with its directory.
type executor struct {
	dir     string
	created time.Time // timestamp of the first byte of output
	env     map[string]string

	msg.Container             // guarded by Driver.mu
	process       *os.Process // guarded by Driver.mu; set while the executor is running

	ended chan struct{} // closed once exit and err are set
	exit  msg.Exit
	err   error // set instead of exit if the executor was removed before its start
}

// newExecutor returns the executor of a directory.
func newExecutor(dir string) *executor {
	id, created, _ := strings.Cut(filepath.Base(dir), ".")
	nanoseconds, _ := strconv.ParseInt(created, 10, 64)
	return &executor{dir: dir, created: time.Unix(0, nanoseconds).UTC(), ended: make(chan struct{}),
		Container: msg.Container{ID: msg.ExecutorID(id), State: msg.ContainerCreated}}
}

func (e *executor) output() string { return filepath.Join(e.dir, "output") }

// end sets the exit and ends pending waits. The caller holds Driver.mu.
func (e *executor) end(exit msg.Exit, err error) {
	e.State, e.exit, e.err = msg.ContainerExited, exit, err
	close(e.ended)
}

// Create creates the executor's directory. It has no effect if an executor with this id exists.
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

// Start starts the child. It has no effect on an executor that was started before. The kernel kills a child when the thread that
// started it ends, so Start locks that thread until the child has exited.
func (d *Driver) Start(_ context.Context, id msg.ExecutorID) error {
	e, err := d.find(id)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() != nil {
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

// launch starts the child with the environment of its spec, PATH and HOME, and without runnerd's environment. The caller holds
// Driver.mu.
func (d *Driver) launch(e *executor) (*exec.Cmd, error) {
	output, err := os.OpenFile(e.output(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer output.Close()
	child := exec.CommandContext(d.ctx, string(e.Image))
	child.Dir, child.Stdout, child.Stderr = e.dir, output, output
	child.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + e.dir, orphanMarker + "=" + d.dir}
	for name, value := range e.env { // the last value of a name counts
		child.Env = append(child.Env, name+"="+value)
	}
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := child.Start(); err != nil {
		return nil, err
	}
	e.process, e.State, e.StartedAt = child.Process, msg.ContainerRunning, time.Now()
	return child, nil
}

// watch waits for the child, kills the rest of its process group and records its exit. It kills the group before it reaps the
// child, because the pid cannot be reused until then.
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

// Wait waits for the child's exit and returns it.
func (d *Driver) Wait(ctx context.Context, id msg.ExecutorID) (msg.Exit, error) {
	e, err := d.find(id)
	if err != nil {
		return msg.Exit{}, err
	}
	select {
	case <-e.ended:
	case <-d.ctx.Done():
	case <-ctx.Done():
		return msg.Exit{}, context.Cause(ctx)
	}
	if d.ctx.Err() != nil { // Close killed the child; that is not its executor's exit
		return msg.Exit{}, errClosed
	}
	return e.exit, e.err
}

// Signal sends the child a signal. It has no effect on a child that does not run.
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

// Remove kills the child and deletes its directory. It has no effect if the executor does not exist.
func (d *Driver) Remove(ctx context.Context, id msg.ExecutorID) error {
	e, err := d.find(id)
	if err != nil {
		return nil
	}
	d.mu.Lock()
	switch e.State {
	case msg.ContainerCreated:
		e.end(msg.Exit{}, msg.ErrNoExecutor) // so that it cannot start
	case msg.ContainerRunning:
		_ = e.process.Kill() // fails if it has exited
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
