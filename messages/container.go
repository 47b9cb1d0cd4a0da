package messages

import (
	"errors"
	"time"
)

// The words between an executor and its driver.

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
	Labels map[string]string // for people; those that runnerd itself goes by are the driver's
}

// ContainerState is what an engine says of an executor.
type ContainerState string

const (
	ContainerCreated ContainerState = "created"
	ContainerRunning ContainerState = "running"
	ContainerExited  ContainerState = "exited"
)

// Container is an executor as its engine sees it.
type Container struct {
	ID    ExecutorID
	State ContainerState
	Image ImageID
}

// Exit is how an executor ended.
type Exit struct {
	Code int  // 128 + n: ended by signal n; -1: nobody knows
	OOM  bool // for want of memory; an engine may learn that too late to say so
	At   time.Time
}

// LogEntry is a piece of an executor's output. A line may come in several.
type LogEntry struct {
	Time time.Time // the engine's stamp; never goes back within one executor
	Text []byte    // with its newline, where it has one
}

// Signal is one that the stop sequence uses. Never SIGINT: the Python SDK then reports success with outputs missing.
type Signal string

const (
	SIGABRT Signal = "SIGABRT"
	SIGTERM Signal = "SIGTERM"
	SIGKILL Signal = "SIGKILL"
)

// ErrNoExecutor is what a driver answers about an executor that it does not have. An engine that does not answer is another
// error: it says nothing about the executor.
var ErrNoExecutor = errors.New("no such executor")

// ErrNoImage is wrapped by a pull of an image that does not exist or must not be read.
var ErrNoImage = errors.New("no such image")
