package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"runnerd/infra/litter"
)

// errNoResult: what stands in the place of the result file is none, whatever the plugin means by it.
var errNoResult = errors.New("not a result")

// tooLarge: what stands there is more than this runner takes.
type tooLarge struct {
	size     int64
	modified time.Time
}

func (t *tooLarge) Error() string { return fmt.Sprintf("the result file has %d bytes", t.size) }

// settleTime is how long a result file that is too large must have been left alone: one that is still being written has no size
// to name yet, and one that is overwritten may fit.
const settleTime = 200 * time.Millisecond

// readResult reads the result file in a directory that belongs to a plugin: no links, no pipes, nothing that blocks, and
// not more than max. Nil: there is none.
func readResult(out string, max int64) ([]byte, error) {
	root, err := os.OpenRoot(out)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	info, err := root.Lstat(resultFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: the result file is %s", errNoResult, info.Mode().Type())
	}
	// It may be another one by now: the root keeps a link from leading out, and O_NONBLOCK a pipe from holding us.
	file, err := root.OpenFile(resultFile, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	if info, err = file.Stat(); err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: the result file is %s", errNoResult, info.Mode().Type())
	}
	if info.Size() > max {
		return nil, &tooLarge{size: info.Size(), modified: info.ModTime()}
	}
	return io.ReadAll(io.LimitReader(file, max))
}

// empty removes all that is in a directory that belongs to a plugin, however much it is. What cannot be removed is left.
func empty(out string) error {
	root, err := os.OpenRoot(out)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return litter.Empty(root)
}

// watchFiles hears which result directory has changed. The doors look for themselves: one that is slow keeps nobody
// waiting.
func (g *Gateway) watchFiles(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, ok := <-g.files.Events:
			if !ok {
				return nil
			}
			g.changed(filepath.Dir(event.Name))
		case err := <-g.files.Errors:
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				g.allChanged()
			}
		}
	}
}

func (g *Gateway) changed(dir string) {
	g.mu.Lock()
	d := g.dirs[dir]
	g.mu.Unlock()
	if d != nil {
		d.fileChanged()
	}
}

func (g *Gateway) allChanged() {
	for _, d := range g.all() {
		d.fileChanged()
	}
}

func (d *door) fileChanged() {
	select {
	case d.poke <- struct{}{}:
	default:
	}
}

// watchFile looks at the result file whenever it changes, until the job is closed. mu is held.
func (d *door) watchFile() {
	if d.stopFile != nil {
		return
	}
	out := d.out()
	d.g.mu.Lock()
	d.g.dirs[out] = d
	d.g.mu.Unlock()
	if err := d.g.files.Add(out); err != nil {
		d.log.Warn().Err(err).Msg("cannot watch the result directory: its file is read when the plugin asks or ends")
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.stopFile = cancel
	go d.lookOut(ctx)
}

// leaveFile ends watchFile. mu is held.
func (d *door) leaveFile() {
	if d.stopFile == nil {
		return
	}
	d.stopFile()
	d.stopFile = nil
	out := d.out()
	_ = d.g.files.Remove(out) // it may be gone
	d.g.mu.Lock()
	delete(d.g.dirs, out)
	d.g.mu.Unlock()
}

// lookOut looks after every change. It rests four times as long as a look took: a plugin that writes without end has a fifth
// of a core, and a result that is overwritten within 100 ms is still seen.
func (d *door) lookOut(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.poke:
		}
		begun := time.Now()
		err := d.look()
		rest := 4 * time.Since(begun)
		if err != nil {
			d.log.Warn().Err(err).Msg("cannot take the result file, trying again")
			d.fileChanged()
			rest = time.Second
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(max(rest, 5*time.Millisecond), time.Second)):
		}
	}
}
