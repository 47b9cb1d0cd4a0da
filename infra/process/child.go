package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	msg "runnerd/messages"
)

// process tells a child from any other process that has or had its pid.
type process struct {
	Started time.Time `json:"started"`
	PID     int       `json:"pid,omitempty"`
	Boot    string    `json:"boot,omitempty"`
	Ticks   uint64    `json:"ticks,omitempty"` // its start in clock ticks since the boot: field 22 of /proc/<pid>/stat
}

var errNoProcess = errors.New("no such process")

// identify fills in boot and start time of the process that has the pid now.
func (p *process) identify() error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Errorf("read the boot id: %w", err)
	}
	p.Boot = strings.TrimSpace(string(boot))
	p.Ticks, err = startTicks(p.PID)
	return err
}

func startTicks(pid int) (uint64, error) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return 0, errNoProcess
	}
	if err != nil {
		return 0, fmt.Errorf("read the start of process %d: %w", pid, err)
	}
	// The second field is a name that may contain anything; it ends at the last parenthesis.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return 0, fmt.Errorf("read the start of process %d: /proc has no such field", pid)
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// open returns a handle that means this process for ever, or errNoProcess.
func (p process) open() (*os.File, error) {
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) || p.PID == 0 {
		return nil, errNoProcess
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	handle := os.NewFile(uintptr(fd), "pidfd")
	now := process{PID: p.PID}
	if err := now.identify(); err != nil || now.Boot != p.Boot || now.Ticks != p.Ticks {
		handle.Close()
		if err == nil {
			err = errNoProcess // another has its pid
		}
		return nil, err
	}
	return handle, nil
}

// signal reaches the process, and with SIGKILL all of its group.
func (p process) signal(s msg.Signal) error {
	number := unix.SignalNum(string(s))
	if number == 0 {
		return fmt.Errorf("%q is no signal", s)
	}
	handle, err := p.open()
	if errors.Is(err, errNoProcess) {
		return nil
	}
	if err != nil {
		return err
	}
	defer handle.Close()
	if s == msg.SIGKILL {
		err = unix.Kill(-p.PID, number)
	} else {
		err = unix.PidfdSendSignal(int(handle.Fd()), number, nil, 0)
	}
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// await returns when the process has ended; it may not have been reaped.
func await(ctx context.Context, handle *os.File) error {
	conn, err := handle.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for a process: %w", err)
	}
	defer context.AfterFunc(ctx, func() { _ = handle.SetReadDeadline(time.Unix(1, 0)) })()
	err = conn.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 && err == nil
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// watch waits for the child and records how it ended. cmd is nil for one of an earlier runnerd.
func (d *Driver) watch(e *executor, cmd *exec.Cmd) {
	if handle, err := e.process.open(); err == nil {
		_ = await(d.life, handle)
		handle.Close()
	}
	if d.life.Err() != nil {
		return // the child goes on
	}
	// While the dead child is not reaped, its pid names its group and nobody else's.
	_ = unix.Kill(-e.process.PID, unix.SIGKILL)
	exit := msg.Exit{Code: -1}
	if cmd != nil {
		_ = cmd.Wait() // its error is the exit code
		exit.Code = exitCode(cmd.ProcessState)
	}
	exit.At = time.Now().UTC()
	e.end(exit)
}

func exitCode(s *os.ProcessState) int {
	if status, ok := s.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return s.ExitCode()
}
