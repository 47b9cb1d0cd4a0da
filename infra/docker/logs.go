package docker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"runnerd/infra/driver"
	msg "runnerd/messages"
)

const (
	batchSize = 64 << 10 // bytes of text at which a batch is handed on, though more could be read
	entryMax  = 1 << 20  // the engine splits lines at 16 KiB; what is longer is no log
	// gather is how long a batch may grow: plugins write some lines at a time, and to keep a batch takes two fsyncs.
	gather     = 5 * time.Millisecond
	stampSlack = 10 * time.Second // how far stamps may go back
)

// Logs hands on the executor's output, stdout and stderr in the order in which the engine has them. Where the engine has
// discarded output before it was read, a line in it says so.
//
// The engine's stream ends early when it shuts down in good order, and engines before 23 do not follow reliably (doubt). So
// the end is believed only when a reading that began after the executor's end finds nothing more.
func (d *Driver) Logs(ctx context.Context, id msg.ExecutorID, from msg.Position, emit func([]msg.LogEntry) error) error {
	step := "read the log of executor " + string(id)
	s := stream{engine: d.engine, from: from, emit: emit}
	for {
		before, err := d.inspect(ctx, id)
		if err != nil {
			return failed(ctx, step, err)
		}
		began := s.from
		err = s.read(ctx, before.ID)
		switch {
		case errors.Is(err, errDoubted):
			continue
		case err != nil:
			return d.failedFor(ctx, step, id, err)
		case s.from != began:
			continue
		case stateOf(before.State.Status) == msg.ContainerExited:
			return nil
		}
		if err := d.stillRuns(ctx, id, before.State); err != nil {
			return failed(ctx, step, err)
		}
	}
}

// stream reads one stream of the engine's after another.
type stream struct {
	engine   *client.Client
	from     msg.Position // behind what was handed on
	pardoned int64        // see doubt
	emit     func([]msg.LogEntry) error
}

// read hands on one stream, until its end or until it is doubted.
func (s *stream) read(ctx context.Context, containerID string) error {
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	opened := time.Now()
	body, err := s.engine.ContainerLogs(reading, containerID, container.LogsOptions{
		ShowStdout: true, ShowStderr: true, Follow: true, Timestamps: true, Since: since(s.from),
	})
	if err != nil {
		return err
	}
	defer body.Close()
	if err := s.emit(nil); err != nil {
		return err
	}
	quiet := time.AfterFunc(time.Hour, func() { stop(errDoubted) })
	defer quiet.Stop()
	r := logReader{
		ctx: reading, stream: body, in: bufio.NewReaderSize(body, batchSize), from: driver.From(s.from), behind: s.from.Time,
		doubt: doubt{opened: opened, pardoned: s.pardoned},
	}
	for total := 0; ; {
		quiet.Stop()
		if total >= muchOutput {
			quiet.Reset(quietFor)
		}
		batch, err := r.batch()
		quiet.Stop()
		s.pardoned = r.doubt.pardoned
		if len(batch) > 0 {
			s.from = behind(s.from, batch)
			total += sizeOf(batch)
			if err := s.emit(batch); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && errors.Is(context.Cause(reading), errDoubted):
			return errDoubted
		case err != nil:
			return err
		}
	}
}

func sizeOf(batch []msg.LogEntry) (size int) {
	for _, e := range batch {
		size += len(e.Text)
	}
	return size
}

func behind(p msg.Position, batch []msg.LogEntry) msg.Position {
	for _, e := range batch {
		if !e.Time.Equal(p.Time) {
			p = msg.Position{Time: e.Time}
		}
		p.Count, p.Skip = p.Count+1, 0
	}
	return p
}

// since begins before the position, so that stamps are made monotone as they were when it was taken: what lies between has
// the stamp that it had then, and the cursor leaves it out.
func since(from msg.Position) string {
	if from.Time.IsZero() {
		return ""
	}
	t := from.Time.Add(-stampSlack)
	return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond())
}

// stillRuns is an error if the engine ended a log, with nothing in it, of a process that has not ended: to read it again at
// once would not help.
func (d *Driver) stillRuns(ctx context.Context, id msg.ExecutorID, before *container.State) error {
	now, err := d.inspect(ctx, id)
	if err == nil && stateOf(now.State.Status) != msg.ContainerExited && !restarted(before, now.State) {
		err = fmt.Errorf("the engine ended it, though the executor is %s", now.State.Status)
	}
	return err
}

// logReader reads the engine's stream: frames of a header (kind, three zeros, length) and a stamp, a space and text.
type logReader struct {
	ctx    context.Context
	stream io.Reader
	in     *bufio.Reader // of stream
	from   *driver.Cursor
	behind time.Time // stamp of the last entry that was handed on
	last   time.Time // newest stamp so far
	doubt  doubt
}

const (
	headerSize  = 8
	engineError = 3 // kind of a frame in which the engine says why it cannot go on
)

// batch returns at least one frame's entry, unless it lies before the position, and what else can be read without waiting. The
// error comes with the entries before it.
func (r *logReader) batch() (batch []msg.LogEntry, err error) {
	for size := 0; size < batchSize; {
		entry, err := r.entry()
		if err != nil {
			return batch, err
		}
		if entry, ok := r.from.Next(entry); ok {
			if r.from.Missed() {
				batch = append(batch, missing(r.behind, entry.Time)...)
			}
			batch = append(batch, entry)
			r.behind = entry.Time
			size += len(entry.Text)
		}
		if !r.ready() {
			break
		}
	}
	return batch, nil
}

func (r *logReader) ready() bool {
	if r.in.Buffered() < headerSize {
		return false
	}
	header, err := r.in.Peek(headerSize)
	return err == nil && r.in.Buffered()-headerSize >= int(binary.BigEndian.Uint32(header[4:]))
}

func (r *logReader) entry() (msg.LogEntry, error) {
	header, err := r.header()
	if err != nil {
		return msg.LogEntry{}, err
	}
	size := binary.BigEndian.Uint32(header[4:])
	if size > entryMax {
		return msg.LogEntry{}, fmt.Errorf("the engine sends an entry of %d bytes", size)
	}
	frame := make([]byte, size)
	if _, err := io.ReadFull(r.in, frame); err != nil {
		return msg.LogEntry{}, fmt.Errorf("read an entry of %d bytes: %w", size, noEOF(err))
	}
	if header[0] == engineError {
		return msg.LogEntry{}, fmt.Errorf("the engine cannot read it: %s", frame)
	}
	return r.stamped(frame)
}

// header waits, where nothing has been read ahead, for a frame, and then a moment for those that follow it. A plugin that
// writes without a pause is not waited for.
func (r *logReader) header() (header [headerSize]byte, err error) {
	if r.in.Buffered() > 0 {
		_, err = io.ReadFull(r.in, header[:])
		return header, err
	}
	began := time.Now()
	if _, err = io.ReadFull(r.stream, header[:]); err != nil || time.Since(began) < gather {
		return header, err
	}
	select {
	case <-time.After(gather):
	case <-r.ctx.Done(): // the next read says so
	}
	return header, nil
}

func (r *logReader) stamped(frame []byte) (msg.LogEntry, error) {
	stamp, text, ok := bytes.Cut(frame, []byte(" "))
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if !ok || err != nil {
		return msg.LogEntry{}, fmt.Errorf("the engine sends an entry without a stamp: %.40q", frame)
	}
	if r.doubt.about(at, text) {
		return msg.LogEntry{}, errDoubted
	}
	if at.After(r.last) {
		r.last = at
	}
	return msg.LogEntry{Time: r.last, Text: text}, nil
}

// missing tells of output that the engine discarded, once where it begins and once where it ends: these may be in the logs of
// two jobs. The stamps are none that an entry has, because a position counts the entries of a stamp.
func missing(from, to time.Time) []msg.LogEntry {
	told := []msg.LogEntry{{Time: from.Add(1), Text: []byte("runnerd: output is missing from here: the Docker Engine discarded it before it was read\n")}}
	if to.Sub(from) > 2 {
		told = append(told, msg.LogEntry{Time: to.Add(-1), Text: []byte("runnerd: output is missing up to here: the Docker Engine discarded it before it was read\n")})
	}
	return told
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
