package gateway

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"runnerd/infra/contract"
	"runnerd/infra/litter"
	msg "runnerd/messages"
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

// HasResultFile reports whether the plugin left anything in its place.
func (g *Gateway) HasResultFile(id msg.ExecutorID) bool {
	e := g.find(id)
	if e == nil {
		return false
	}
	_, err := os.Lstat(filepath.Join(e.out(), resultFile))
	return !errors.Is(err, fs.ErrNotExist)
}

// ReadResult reads the result file. One that is too large and still being written is not a result yet: it is looked at again.
func (g *Gateway) ReadResult(id msg.ExecutorID, f msg.ResultFile) (msg.Delivery, error) {
	e := g.find(id)
	if e == nil {
		return msg.Delivery{}, errNotAdmitted(id)
	}
	defer e.readsFile()()
	body, err := readResult(e.out(), g.MaxResult)
	large, isLarge := errors.AsType[*tooLarge](err)
	switch {
	case isLarge && !f.Written && time.Since(large.modified) < settleTime:
		e.mu.Lock()
		e.lookIn(settleTime)
		e.mu.Unlock()
		return msg.Delivery{}, nil
	case isLarge:
		return msg.Delivery{Verdict: msg.TooLarge, Size: large.size, Limit: g.MaxResult}, nil
	case errors.Is(err, errNoResult):
		e.log.Debug().Err(err).Str("job", string(f.Execution)).Msg("result file ignored")
		return msg.Delivery{}, nil
	case err != nil:
		return msg.Delivery{}, fmt.Errorf("look for the result of job %s: %w", f.Execution, err)
	}
	got := msg.Delivery{Size: int64(len(body))}
	if result, ok := decode(g.known(f.Execution), body); ok {
		result.Via = msg.ViaFile
		got.Verdict, got.Result = msg.IsResult, result
	} else if e.provesNoStart(f, body) {
		got.Verdict = msg.NotStarted
	}
	return got, nil
}

// provesNoStart tells what the result file says by not being the result of the open job. Since that was handed out, the plugin has
// reported something with the key of the job before, or without any, as the Go SDK does that has had no job yet: so it did not
// get this one. It comes to that where the answer was lost together with the runner; else the callback says so (rule 4), or the
// GET is repeated.
func (e *endpoint) provesNoStart(f msg.ResultFile, body []byte) bool {
	if e.mode == msg.Files || len(body) == 0 || e.isOlder(f.Since) {
		return false
	}
	if f.Before == "" {
		r, err := contract.ParseResult(body)
		return err == nil && r.ExitCode != 0
	}
	_, ok := decode(e.g.known(f.Before), body)
	return ok
}

// isOlder reports whether the result file was there before that time: it could not be removed.
func (e *endpoint) isOlder(since time.Time) bool {
	const tick = 10 * time.Millisecond // of the clock that files are stamped with
	info, err := os.Lstat(filepath.Join(e.out(), resultFile))
	return err != nil || info.ModTime().Before(since.Add(-tick))
}

// ClearResults leaves nothing of the job before to the next. What cannot be removed cannot be taken for a result either: it is
// encrypted with another key.
func (g *Gateway) ClearResults(id msg.ExecutorID) {
	e := g.find(id)
	if e == nil {
		return
	}
	if err := empty(e.out()); err != nil && !os.IsNotExist(err) {
		e.log.Warn().Err(err).Msg("could not empty the result directory")
	}
}

// WriteInput leaves a job where a child process looks for it, and returns the variables that it needs.
func (g *Gateway) WriteInput(id msg.ExecutorID, execution msg.ExecutionID, input string) (map[string]string, error) {
	e := g.find(id)
	if e == nil {
		return nil, errNotAdmitted(id)
	}
	out, err := os.OpenRoot(e.out())
	if err != nil {
		return nil, fmt.Errorf("open result directory: %w", err)
	}
	defer func() { _ = out.Close() }()
	if err := out.WriteFile(inputFile, []byte(input), 0o644); err != nil {
		return nil, fmt.Errorf("write input: %w", err)
	}
	key := g.known(execution)
	return map[string]string{
		contract.SessionKey:  base64.StdEncoding.EncodeToString(key[:]),
		contract.CallbackURL: g.url(callbackPath, execution),
	}, nil
}

// watchFile hears of changes of the endpoint's result file from now on. mu is held.
func (g *Gateway) watchFile(e *endpoint) {
	out := e.out()
	if g.dirs[out] == e {
		return
	}
	if err := g.files.Add(out); err != nil {
		e.log.Warn().Err(err).Msg("could not watch the result directory: its file is read when the plugin asks or ends")
		return
	}
	g.dirs[out] = e
}

// watchFiles hears which result file has changed.
func (g *Gateway) watchFiles(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, ok := <-g.files.Events:
			if !ok {
				return nil
			}
			if filepath.Base(event.Name) == resultFile && event.Has(fsnotify.Create|fsnotify.Write) {
				g.changed(filepath.Dir(event.Name))
			}
		case err := <-g.files.Errors:
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				for _, e := range g.all() {
					e.fileChanged()
				}
			}
		}
	}
}

func (g *Gateway) changed(dir string) {
	g.mu.Lock()
	e := g.dirs[dir]
	g.mu.Unlock()
	if e != nil {
		e.fileChanged()
	}
}

// restMin is how long the file is left alone at least: a plugin makes it and writes to it, and that is one change.
const restMin = 5 * time.Millisecond

// readsFile lets nobody look at the file until the read ends, and then for four times as long as it took: a plugin that writes without
// end has a fifth of a core, and a result that is overwritten within 100 ms is still seen.
func (e *endpoint) readsFile() (end func()) {
	begun := time.Now()
	e.mu.Lock()
	e.fileRead = true
	e.mu.Unlock()
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		rest := min(max(4*time.Since(begun), restMin), time.Second)
		e.fileRests = time.Now().Add(rest)
		if e.fileDirty {
			e.lookIn(rest)
		}
		e.fileRead, e.fileDirty = false, false
	}
}

// fileChanged tells that the result file is worth a look, now or when that is due.
func (e *endpoint) fileChanged() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fileRead {
		e.fileDirty = true
		return
	}
	e.lookIn(time.Until(e.fileRests))
}

// lookIn tells after a while that the result file is worth a look. mu is held.
func (e *endpoint) lookIn(wait time.Duration) {
	switch {
	case e.closed:
	case wait <= 0:
		if !slices.Contains(e.queue.events, msg.SessionEvent(msg.ResultFileChanged{})) {
			e.queue.add(msg.ResultFileChanged{})
			e.fileRests = time.Now().Add(restMin)
		}
	case e.fileTimer == nil:
		e.fileTimer = time.AfterFunc(wait, func() {
			e.mu.Lock()
			e.fileTimer = nil
			e.mu.Unlock()
			e.fileChanged()
		})
	}
}
