package messages

import (
	"errors"
	"time"
)

// Types exchanged between the actors and the driver.

// Mount makes a file or directory of the host visible in an executor.
type Mount struct {
	Source, Target string // absolute
	ReadOnly       bool
}

// ExecutorSpec is what a driver needs to create an executor.
type ExecutorSpec struct {
	ID     ExecutorID
	Image  ImageID // from Pull
	Limits Limits
	Env    map[string]string
	Mounts []Mount
	Labels map[string]string // informational; the driver adds those that runnerd relies on
}

// ContainerState is the state of a container, as the engine reports it.
type ContainerState string

const (
	ContainerCreated ContainerState = "created"
	ContainerRunning ContainerState = "running"
	ContainerExited  ContainerState = "exited"
)

// Container is an executor as its engine sees it.
type Container struct {
	ID        ExecutorID
	State     ContainerState
	Image     ImageID
	StartedAt time.Time // of its current or last process; changes with a restart; zero: not started yet
}

// Exit is how an executor ended.
type Exit struct {
	Code int  // 128 + n: ended by signal n; -1: unknown
	OOM  bool // it ran out of memory; an engine may detect that too late to report it
	At   time.Time
}

// LogEntry is a part of an executor's output. A line may be split over several entries.
type LogEntry struct {
	Time time.Time // the engine's timestamp; never decreases within one executor
	Text []byte    // including its newline, if it has one
}

// Signal is a signal of the stop sequence. SIGINT is not one: the Python SDK answers it by reporting success with outputs missing.
type Signal string

const (
	SIGABRT Signal = "SIGABRT"
	SIGTERM Signal = "SIGTERM"
	SIGKILL Signal = "SIGKILL"
)

// ErrNoExecutor is returned by a driver that does not have the executor. An engine that does not respond causes another error,
// which says nothing about the executor.
var ErrNoExecutor = errors.New("no such executor")

// ErrNoImage is wrapped by the error of a pull when the image does not exist or access to it is denied.
var ErrNoImage = errors.New("no such image")
