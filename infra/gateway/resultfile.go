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
	"runnerd/infra/rmtree"
	msg "runnerd/messages"
)

// errNotRegular means that the result file is a link, a pipe or a directory.
var errNotRegular = errors.New("not a regular file")

// tooLargeError means that the result file is larger than Options.MaxResult.
type tooLargeError struct {
	size     int64
	modified time.Time
}

func (t *tooLargeError) Error() string { return fmt.Sprintf("the result file has %d bytes", t.size) }

// fileQuietTime is how long a result file that is too large must be unchanged before it is reported: its size is not final while the
// plugin writes it, and the plugin may overwrite it with a smaller result.
const fileQuietTime = 200 * time.Millisecond

// readResult reads the result file, up to max bytes, from a directory that a plugin controls. It follows no links out of the directory
// and never blocks. It returns nil if there is no file.
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
		return nil, fmt.Errorf("%w: mode %s", errNotRegular, info.Mode().Type())
	}
	// The plugin may have replaced the file by now: the root blocks links out of the directory, and O_NONBLOCK prevents waiting for a pipe.
	file, err := root.OpenFile(resultFile, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	if info, err = file.Stat(); err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: mode %s", errNotRegular, info.Mode().Type())
	}
	if info.Size() > max {
		return nil, &tooLargeError{size: info.Size(), modified: info.ModTime()}
	}
	return io.ReadAll(io.LimitReader(file, max))
}

// emptyDir removes everything that it can from a directory that a plugin controls.
func emptyDir(out string) error {
	root, err := os.OpenRoot(out)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return rmtree.Empty(root)
}

// HasResultFile reports whether anything exists at the path of the result file.
func (g *Gateway) HasResultFile(id msg.ExecutorID) bool {
	e := g.findEndpoint(id)
	if e == nil {
		return false
	}
	_, err := os.Lstat(filepath.Join(e.resultDir(), resultFile))
	return !errors.Is(err, fs.ErrNotExist)
}

// ReadResult reads the result file. If the file is too large but still being written, ReadResult returns no verdict and schedules another
// ResultFileChanged.
func (g *Gateway) ReadResult(id msg.ExecutorID, f msg.ResultFile) (msg.ReceivedBody, error) {
	e := g.findEndpoint(id)
	if e == nil {
		return msg.ReceivedBody{}, errNotAdmitted(id)
	}
	defer e.beginFileRead()()
	body, err := readResult(e.resultDir(), g.MaxResult)
	large, isLarge := errors.AsType[*tooLargeError](err)
	switch {
	case isLarge && !f.Written && time.Since(large.modified) < fileQuietTime:
		e.mu.Lock()
		e.scheduleFileEvent(fileQuietTime)
		e.mu.Unlock()
		return msg.ReceivedBody{}, nil
	case isLarge:
		return msg.ReceivedBody{Verdict: msg.TooLarge, Size: large.size, Limit: g.MaxResult}, nil
	case errors.Is(err, errNotRegular):
		e.log.Debug().Err(err).Str("execution", string(f.Execution)).Msg("result file ignored")
		return msg.ReceivedBody{}, nil
	case err != nil:
		return msg.ReceivedBody{}, fmt.Errorf("read result file of execution %s: %w", f.Execution, err)
	}
	got := msg.ReceivedBody{Size: int64(len(body))}
	if result, ok := decryptResult(g.jobKey(f.Execution), body); ok {
		result.Via = msg.ViaFile
		got.Verdict, got.Result = msg.IsResult, result
	} else if e.provesNotStarted(f, body) {
		got.Verdict = msg.NotStarted
	}
	return got, nil
}

// provesNotStarted reports whether the result file proves that the plugin did not receive the open job: since the hand-out, the plugin
// has reported an error with the key of the previous job or, as the Go SDK does before its first job, in plain text. This happens if the
// answer was lost in a crash of the runner. Otherwise a callback brings the proof (rule 4), or the plugin repeats its GET.
func (e *endpoint) provesNotStarted(f msg.ResultFile, body []byte) bool {
	if e.mode == msg.Files || len(body) == 0 || e.isOlderThan(f.Since) {
		return false
	}
	if f.Previous == "" {
		r, err := contract.ParseResult(body)
		return err == nil && r.ExitCode != 0
	}
	_, ok := decryptResult(e.g.jobKey(f.Previous), body)
	return ok
}

// isOlderThan reports whether the result file was written before a time, or does not exist. A file that ClearResults could
// not remove is older than the next hand-out.
func (e *endpoint) isOlderThan(since time.Time) bool {
	const tick = 10 * time.Millisecond // granularity of file times
	info, err := os.Lstat(filepath.Join(e.resultDir(), resultFile))
	return err != nil || info.ModTime().Before(since.Add(-tick))
}

// ClearResults empties the result directory before the next job. A file that it cannot remove is never mistaken for the next job's
// result, because it is encrypted with another key.
func (g *Gateway) ClearResults(id msg.ExecutorID) {
	e := g.findEndpoint(id)
	if e == nil {
		return
	}
	if err := emptyDir(e.resultDir()); err != nil && !os.IsNotExist(err) {
		e.log.Warn().Err(err).Msg("could not empty the result directory")
	}
}

// WriteInput writes a job's input to the file that a child process reads, and returns the environment variables that it needs.
func (g *Gateway) WriteInput(id msg.ExecutorID, execution msg.ExecutionID, input string) (map[string]string, error) {
	e := g.findEndpoint(id)
	if e == nil {
		return nil, errNotAdmitted(id)
	}
	out, err := os.OpenRoot(e.resultDir())
	if err != nil {
		return nil, fmt.Errorf("open result directory: %w", err)
	}
	defer func() { _ = out.Close() }()
	if err := out.WriteFile(inputFile, []byte(input), 0o644); err != nil {
		return nil, fmt.Errorf("write input: %w", err)
	}
	key := g.jobKey(execution)
	return map[string]string{
		contract.SessionKey:  base64.StdEncoding.EncodeToString(key[:]),
		contract.CallbackURL: g.jobURL(callbackRoute, execution),
	}, nil
}

// watchResultFile starts watching the endpoint's result directory. The caller holds mu.
func (g *Gateway) watchResultFile(e *endpoint) {
	out := e.resultDir()
	if g.resultDirs[out] == e {
		return
	}
	if err := g.watcher.Add(out); err != nil {
		e.log.Warn().Err(err).Msg("could not watch the result directory; its file is read at the plugin's next request or its end")
		return
	}
	g.resultDirs[out] = e
}

// watchResultFiles reports changes of result files until ctx ends.
func (g *Gateway) watchResultFiles(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case event, ok := <-g.watcher.Events:
			if !ok {
				return nil
			}
			if filepath.Base(event.Name) == resultFile && event.Has(fsnotify.Create|fsnotify.Write) {
				g.resultFileChanged(filepath.Dir(event.Name))
			}
		case err := <-g.watcher.Errors:
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				for _, e := range g.allEndpoints() {
					e.reportFileChange()
				}
			}
		}
	}
}

func (g *Gateway) resultFileChanged(dir string) {
	g.mu.Lock()
	e := g.resultDirs[dir]
	g.mu.Unlock()
	if e != nil {
		e.reportFileChange()
	}
}

// minFileInterval is the minimum time between two reports of a file's changes. Creating and writing the file then count as one change.
const minFileInterval = 5 * time.Millisecond

// beginFileRead delays reports of changes until the read ends, and then for four times the duration of the read, between 5 ms and 1 s. So a
// plugin that writes constantly costs at most a fifth of a core, and a result that is overwritten after 100 ms or later is still
// read, unless a read takes 20 ms or more.
func (e *endpoint) beginFileRead() (end func()) {
	start := time.Now()
	e.mu.Lock()
	e.readingFile = true
	e.mu.Unlock()
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		pause := min(max(4*time.Since(start), minFileInterval), time.Second)
		e.nextFileRead = time.Now().Add(pause)
		if e.fileDirty {
			e.scheduleFileEvent(pause)
		}
		e.readingFile, e.fileDirty = false, false
	}
}

// reportFileChange queues ResultFileChanged, now or when the next read is allowed.
func (e *endpoint) reportFileChange() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.readingFile {
		e.fileDirty = true
		return
	}
	e.scheduleFileEvent(time.Until(e.nextFileRead))
}

// scheduleFileEvent queues ResultFileChanged after a delay. The caller holds mu.
func (e *endpoint) scheduleFileEvent(wait time.Duration) {
	switch {
	case e.closed:
	case wait <= 0:
		if !slices.Contains(e.queue.events, msg.SessionEvent(msg.ResultFileChanged{})) {
			e.queue.add(msg.ResultFileChanged{})
			e.nextFileRead = time.Now().Add(minFileInterval)
		}
	case e.fileTimer == nil:
		e.fileTimer = time.AfterFunc(wait, func() {
			e.mu.Lock()
			e.fileTimer = nil
			e.mu.Unlock()
			e.reportFileChange()
		})
	}
}
