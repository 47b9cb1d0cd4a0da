package fake

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	msg "runnerd/messages"
)

// Program says what the executors of an image do.
type Program struct {
	Prints      []string      // lines that it prints first
	RunFor      time.Duration // zero: until a signal ends it
	ExitCode    int           // after RunFor
	OOM         bool          // after RunFor it is killed because it is out of memory
	IgnoresStop bool          // SIGABRT and SIGTERM have no effect

	// Run, if set, runs after Prints and returns the exit code. Its context ends when the executor is killed or removed.
	// Process.Signal returns SIGABRT and SIGTERM to it, unless IgnoresStop is set.
	Run func(context.Context, *Process) int
}

// Process gives a Run function access to its executor.
type Process struct {
	Spec msg.ExecutorSpec

	executor *executor
	number   int // 1-based, among the executor's processes
}

// Print writes text to the executor's output, as one entry of the log. It returns false if the executor has exited.
func (w *Process) Print(text string) (printed bool) {
	w.executor.engine.scheduler.Do("print", func() { printed = w.executor.print(w.number, text) })
	return printed
}

// Fill adds bytes to the executor's disk usage.
func (w *Process) Fill(bytes int64) {
	w.executor.engine.scheduler.Do("fill", func() {
		w.executor.engine.mu.Lock()
		defer w.executor.engine.mu.Unlock()
		w.executor.disk += bytes
	})
}

// Fork adds a process to the executor.
func (w *Process) Fork() {
	w.executor.engine.scheduler.Do("fork", func() {
		w.executor.engine.mu.Lock()
		defer w.executor.engine.mu.Unlock()
		w.executor.forked++
	})
}

// Signal returns the oldest unread signal, or "" if there is none.
func (w *Process) Signal() msg.Signal { return w.executor.nextSignal(w.number) }

// Wake makes pending calls of Until try again.
func (w *Process) Wake() { w.executor.wake() }

// Until is Scheduler.Until for a program. It also tries again after a signal or a call of Wake.
func (w *Process) Until(ctx context.Context, what string, try func() (done bool, again time.Time)) error {
	return w.executor.engine.scheduler.Until(ctx, what, func() (bool, <-chan struct{}, time.Time) {
		changed := w.executor.snapshot(0).changed
		done, again := try()
		return done, changed, again
	})
}

// Image is a Program with the properties of its pull.
type Image struct {
	Program
	PullDelay time.Duration
	Secret    string // name of the credential that is needed to pull it; empty: none
}

type image struct {
	Image
	id msg.ImageID
}

// Load adds a local image and returns its id. It replaces an image with the same reference.
func (d *Driver) Load(ref string, i Image) msg.ImageID {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.addImage(d.local, ref, i)
}

// Push adds an image to the registry and returns its id.
func (d *Driver) Push(ref string, i Image) msg.ImageID {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.addImage(d.registry, ref, i)
}

func (d *Driver) addImage(images map[string]*image, ref string, i Image) msg.ImageID {
	d.imageCount++
	id := msg.ImageID(fmt.Sprintf("sha256:%x", sha256.Sum256(fmt.Append(nil, ref, d.imageCount))))
	images[ref] = &image{Image: i, id: id}
	d.byID[id] = images[ref]
	return id
}
