package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	msg "runnerd/messages"
)

// launch starts the child. mu is held. The kernel kills the child when the thread that started it ends, so that thread is kept
// until the child has ended, and only then.
func (d *Driver) launch(e *executor) error {
	output, err := os.OpenFile(e.output(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer output.Close()
	cmd := exec.Command(string(e.spec.Image))
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = e.dir, e.environment(), output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	d.waits.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			e.watch(cmd)
		}
	})
	if err := <-started; err != nil {
		return err
	}
	e.child, e.since = cmd.Process, time.Now()
	close(e.started)
	return nil
}

// watch waits for the child and keeps how it ended. Before the dead child is reaped, its pid names its group and nobody else's.
func (e *executor) watch(cmd *exec.Cmd) {
	for unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		continue
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	_ = cmd.Wait() // its error is the exit code
	e.exit = msg.Exit{Code: exitCode(cmd.ProcessState), At: time.Now().UTC()}
	close(e.ended)
}

func exitCode(s *os.ProcessState) int {
	if status, ok := s.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return s.ExitCode()
}

// signal reaches the child, and with SIGKILL all of its group. One that has ended or not begun: no effect.
func (e *executor) signal(s msg.Signal) error {
	number := unix.SignalNum(string(s))
	if number == 0 {
		return fmt.Errorf("%q is no signal", s)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state() != msg.ContainerRunning {
		return nil
	}
	if number == unix.SIGKILL {
		return unix.Kill(-e.child.Pid, number)
	}
	return e.child.Signal(number)
}

// rounds bounds how often killLeft looks again, for what was started while it looked.
const rounds = 10

// killLeft kills what the executors of an earlier runner have left: all processes with the mark of one of them.
func killLeft(dir string) error {
	for range rounds {
		paths, err := filepath.Glob("/proc/[0-9]*/environ")
		if err != nil {
			return err
		}
		left := 0
		for _, path := range paths {
			if killMarked(path, markName+"="+dir+"/") {
				left++
			}
		}
		if left == 0 {
			return nil
		}
	}
	return errors.New("they do not end, or start others faster than they are killed: end them by hand")
}

// killMarked kills the process of an environment, and waits for its end, if it has the mark. It is opened before its environment
// is read: another one that gets its pid meanwhile is left alone.
func killMarked(environ, mark string) bool {
	pid, err := strconv.Atoi(filepath.Base(filepath.Dir(environ)))
	if err != nil {
		return false
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false // it has ended
	}
	defer unix.Close(fd)
	env, err := os.ReadFile(environ)
	marked := func(variable string) bool {
		executor, is := strings.CutPrefix(variable, mark)
		return is && !strings.Contains(executor, "/")
	}
	if err != nil || !slices.ContainsFunc(strings.Split(string(env), "\x00"), marked) {
		return false // it has ended, or is somebody else's
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return false
	}
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Second.Milliseconds()))
	return true
}
