package fake

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	msg "runnerd/messages"
)

// Program is what an executor of an image does.
type Program struct {
	Prints      []string      // lines, at the start
	RunFor      time.Duration // zero: until a signal ends it
	ExitCode    int           // after RunFor
	OOM         bool          // after RunFor it is killed for want of memory
	IgnoresStop bool          // SIGABRT and SIGTERM have no effect

	// Run, where there is one, is the program after its prints, and returns the exit code. Its context ends when the
	// executor is killed or removed. It gets SIGABRT and SIGTERM by World.Signal, unless it IgnoresStop.
	Run func(context.Context, *World) int
}

// World is what a Run function sees of the executor that it is in.
type World struct {
	Spec msg.ExecutorSpec

	executor *executor
	process  int // which of its processes this is, from 1
}

// Print writes text to the executor's output, as one entry of the log. False: the executor has ended.
func (w *World) Print(text string) (printed bool) {
	w.executor.engine.stage.Do("print", func() { printed = w.executor.print(w.process, text) })
	return printed
}

// Fill writes to the disk.
func (w *World) Fill(bytes int64) {
	w.executor.engine.stage.Do("fill", func() {
		w.executor.engine.mu.Lock()
		defer w.executor.engine.mu.Unlock()
		w.executor.disk += bytes
	})
}

// Fork leaves a process behind.
func (w *World) Fork() {
	w.executor.engine.stage.Do("fork", func() {
		w.executor.engine.mu.Lock()
		defer w.executor.engine.mu.Unlock()
		w.executor.left++
	})
}

// Signal takes the oldest signal that has come; empty: none.
func (w *World) Signal() msg.Signal { return w.executor.nextSignal(w.process) }

// Wake makes what waits in Until try again.
func (w *World) Wake() { w.executor.wake() }

// Until is that of the stage, for a program: it tries again when a signal has come, too, or somebody has called Wake.
func (w *World) Until(ctx context.Context, what string, try func() (done bool, again time.Time)) error {
	return w.executor.engine.stage.Until(ctx, what, func() (bool, <-chan struct{}, time.Time) {
		changed := w.executor.look(0).changed
		done, again := try()
		return done, changed, again
	})
}

// An Image is a Program, and what pulling it is like.
type Image struct {
	Program
	PullTakes time.Duration
	Secret    string // name of the only credential that may pull it; empty: anybody may
}

type image struct {
	Image
	id msg.ImageID
}

// Load puts an image where the engine has it already, and returns its id. The reference moves if another image had it.
func (d *Driver) Load(ref string, i Image) msg.ImageID {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.keep(d.local, ref, i)
}

// Push puts an image where the engine has to pull it from.
func (d *Driver) Push(ref string, i Image) msg.ImageID {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.keep(d.registry, ref, i)
}

func (d *Driver) keep(shelf map[string]*image, ref string, i Image) msg.ImageID {
	d.made++
	id := msg.ImageID(fmt.Sprintf("sha256:%x", sha256.Sum256(fmt.Append(nil, ref, d.made))))
	shelf[ref] = &image{Image: i, id: id}
	d.byID[id] = shelf[ref]
	return id
}
