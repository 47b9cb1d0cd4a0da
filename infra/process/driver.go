package process

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	msg "runnerd/messages"
)

// Options configures a Driver.
type Options struct {
	Dir    string            // the driver's directory, absolute; created if it is missing
	Images map[string]string // image reference → path of the executable
}

// Driver implements driver.Driver.
type Driver struct {
	dir      string
	images   map[string]string
	ctx      context.Context // ends with Close, which kills the children
	cancel   context.CancelFunc
	children sync.WaitGroup

	mu        sync.Mutex
	executors map[msg.ExecutorID]*executor // guarded by mu
}

var errClosed = errors.New("the process driver is closed")

// New opens the directory and kills the processes of earlier runners, whose executors are listed as exited.
func New(o Options) (*Driver, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the directory of child processes: %w", err)
	}
	if err := killOrphans(orphanMarker + "=" + o.Dir); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("list the child processes of earlier runs: %w", err)
	}
	d := &Driver{dir: o.Dir, images: o.Images, executors: map[msg.ExecutorID]*executor{}}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	for _, entry := range entries {
		e := newExecutor(filepath.Join(o.Dir, entry.Name()))
		e.StartedAt = e.created
		e.end(msg.Exit{Code: -1, At: time.Now().UTC()}, nil)
		d.executors[e.ID] = e
	}
	return d, nil
}

// Close kills the children. Pending waits return errClosed and not the exit.
func (d *Driver) Close() {
	d.mu.Lock()
	d.cancel()
	d.mu.Unlock()
	d.children.Wait()
}

// Ready returns nil, because there is no engine that could be down.
func (d *Driver) Ready(ctx context.Context) error { return context.Cause(ctx) }

// Pull checks that the executable exists. It ignores policy and secret.
func (d *Driver) Pull(ctx context.Context, image string, _ msg.PullPolicy, _ string) (msg.ImageID, error) {
	path, known := d.images[image]
	if !known {
		return "", fmt.Errorf("%w: no executable is configured for %s; configured images: %s; add it, or use a container engine",
			msg.ErrNoImage, image, strings.Join(slices.Sorted(maps.Keys(d.images)), ", "))
	}
	path, err := filepath.Abs(path)
	if err == nil {
		_, err = exec.LookPath(path)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w; build the executable, or correct its path", msg.ErrNoImage, err)
	}
	return msg.ImageID(path), context.Cause(ctx)
}

// List returns all executors.
func (d *Driver) List(ctx context.Context) ([]msg.Container, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []msg.Container
	for _, e := range d.executors {
		all = append(all, e.Container)
	}
	return all, context.Cause(ctx)
}

// Inspect returns one executor.
func (d *Driver) Inspect(ctx context.Context, id msg.ExecutorID) (msg.Container, error) {
	e, err := d.find(id)
	if err != nil {
		return msg.Container{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return e.Container, context.Cause(ctx)
}

func (d *Driver) find(id msg.ExecutorID) (*executor, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.executors[id]; e != nil {
		return e, nil
	}
	return nil, msg.ErrNoExecutor
}
