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
	batchSize = 64 << 10 // bytes of text after which a batch is complete
	entryMax  = 1 << 20  // bytes; the engine splits lines at 16 KiB, so a longer entry is invalid
	// batchDelay is how long a batch may grow: plugins write several lines at a time, and storing a batch takes two fsyncs.
	batchDelay = 5 * time.Millisecond
	stampSlack = 10 * time.Second // how far timestamps may go back
)

// Logs passes the executor's output to emit, stdout and stderr in the engine's order. If the engine discarded output before it
// was read, a line in the output says so.
//
// A stream ends early when the engine shuts down, and engines before 23 do not follow reliably (streamCheck). Logs therefore
// returns nil only if a stream that was opened after the executor's exit has nothing new.
func (d *Driver) Logs(ctx context.Context, id msg.ExecutorID, from msg.Position, emit func([]msg.LogEntry) error) error {
	step := "read the log of executor " + string(id)
	f := logFollower{engine: d.engine, from: from, emit: emit}
	for {
		before, err := d.inspect(ctx, id)
		if err != nil {
			return wrapError(ctx, step, err)
		}
		began := f.from
		err = f.read(ctx, before.ID)
		switch {
		case errors.Is(err, errStreamSuspect):
			continue
		case err != nil:
			return d.wrapErrorFor(ctx, step, id, err)
		case f.from != began:
			continue
		case stateOf(before.State.Status) == msg.ContainerExited:
			return nil
		}
		if err := d.checkStreamEnd(ctx, id, before.State); err != nil {
			return wrapError(ctx, step, err)
		}
	}
}

// logFollower reads one log through one stream of the engine after another.
type logFollower struct {
	engine   *client.Client
	from     msg.Position // after the last entry passed to emit
	accepted int64        // streamCheck.accepted for the next stream
	emit     func([]msg.LogEntry) error
}

// read passes one stream to emit. It returns nil at the end of the stream and errStreamSuspect if the stream is abandoned.
func (f *logFollower) read(ctx context.Context, containerID string) error {
	streamCtx, abandon := context.WithCancelCause(ctx)
	defer abandon(nil)
	opened := time.Now()
	body, err := f.engine.ContainerLogs(streamCtx, containerID, container.LogsOptions{
		ShowStdout: true, ShowStderr: true, Follow: true, Timestamps: true, Since: since(f.from),
	})
	if err != nil {
		return err
	}
	defer body.Close()
	if err := f.emit(nil); err != nil {
		return err
	}
	silence := time.AfterFunc(time.Hour, func() { abandon(errStreamSuspect) })
	defer silence.Stop()
	r := logReader{
		ctx: streamCtx, stream: body, in: bufio.NewReaderSize(body, batchSize), cursor: driver.NewCursor(f.from), lastEmitted: f.from.Time,
		check: streamCheck{opened: opened, accepted: f.accepted},
	}
	for total := 0; ; {
		silence.Stop()
		if total >= muchOutput {
			silence.Reset(quietTimeout)
		}
		batch, err := r.batch()
		silence.Stop()
		f.accepted = r.check.accepted
		if len(batch) > 0 {
			f.from = advance(f.from, batch)
			total += sizeOf(batch)
			if err := f.emit(batch); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && errors.Is(context.Cause(streamCtx), errStreamSuspect):
			return errStreamSuspect
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

// advance returns the position after batch.
func advance(p msg.Position, batch []msg.LogEntry) msg.Position {
	for _, e := range batch {
		if !e.Time.Equal(p.Time) {
			p = msg.Position{Time: e.Time}
		}
		p.Count, p.Skip = p.Count+1, 0
	}
	return p
}

// since returns a time before the position, so that timestamps are made monotone in the same way as when the position was taken.
// The cursor skips the entries in between.
func since(from msg.Position) string {
	if from.Time.IsZero() {
		return ""
	}
	t := from.Time.Add(-stampSlack)
	return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond())
}

// checkStreamEnd returns an error if a stream ended without new output although the process still runs: opening another at once
// would not help.
func (d *Driver) checkStreamEnd(ctx context.Context, id msg.ExecutorID, before *container.State) error {
	now, err := d.inspect(ctx, id)
	if err == nil && stateOf(now.State.Status) != msg.ContainerExited && !restarted(before, now.State) {
		err = fmt.Errorf("the engine ended the stream, but the executor is %s", now.State.Status)
	}
	return err
}

// logReader reads the engine's stream. A frame is a header (kind, three zeros, length), a timestamp, a space and the text.
type logReader struct {
	ctx         context.Context
	stream      io.Reader
	in          *bufio.Reader // buffers stream
	cursor      *driver.Cursor
	lastEmitted time.Time // timestamp of the last emitted entry
	newest      time.Time // newest timestamp
	check       streamCheck
}

const (
	headerSize  = 8
	engineError = 3 // kind of a frame with the engine's error
)

// batch waits for one entry and returns it with all others that can be read without waiting, except those before the position.
// Entries that were read before an error are returned with it.
func (r *logReader) batch() (batch []msg.LogEntry, err error) {
	for size := 0; size < batchSize; {
		entry, err := r.entry()
		if err != nil {
			return batch, err
		}
		if entry, ok := r.cursor.Next(entry); ok {
			if r.cursor.Missed() {
				batch = append(batch, gapEntries(r.lastEmitted, entry.Time)...)
			}
			batch = append(batch, entry)
			r.lastEmitted = entry.Time
			size += len(entry.Text)
		}
		if !r.ready() {
			break
		}
	}
	return batch, nil
}

// ready reports whether a whole frame is buffered.
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
		return msg.LogEntry{}, fmt.Errorf("invalid log entry of %d bytes, more than %d", size, entryMax)
	}
	frame := make([]byte, size)
	if _, err := io.ReadFull(r.in, frame); err != nil {
		return msg.LogEntry{}, fmt.Errorf("read an entry of %d bytes: %w", size, unexpectedEOF(err))
	}
	if header[0] == engineError {
		return msg.LogEntry{}, fmt.Errorf("the engine failed to read the log: %s", frame)
	}
	return r.stamped(frame)
}

// header reads a frame's header. If nothing is buffered, it waits for the frame and then batchDelay for those that follow, except
// for a plugin that writes without a pause.
func (r *logReader) header() (header [headerSize]byte, err error) {
	if r.in.Buffered() > 0 {
		_, err = io.ReadFull(r.in, header[:])
		return header, err
	}
	began := time.Now()
	if _, err = io.ReadFull(r.stream, header[:]); err != nil || time.Since(began) < batchDelay {
		return header, err
	}
	select {
	case <-time.After(batchDelay):
	case <-r.ctx.Done(): // the next read returns the error
	}
	return header, nil
}

func (r *logReader) stamped(frame []byte) (msg.LogEntry, error) {
	stamp, text, ok := bytes.Cut(frame, []byte(" "))
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if !ok || err != nil {
		return msg.LogEntry{}, fmt.Errorf("log entry without a timestamp: %.40q", frame)
	}
	if r.check.suspect(at, text) {
		return msg.LogEntry{}, errStreamSuspect
	}
	if at.After(r.newest) {
		r.newest = at
	}
	return msg.LogEntry{Time: r.newest, Text: text}, nil
}

// gapEntries returns the entries that report discarded output, one at the start of the gap and one at its end, because the two
// may be in the logs of different jobs. Their timestamps differ from those of all other entries, because a position counts the entries of
// a timestamp.
func gapEntries(from, to time.Time) []msg.LogEntry {
	entries := []msg.LogEntry{{Time: from.Add(1), Text: []byte("runnerd: output is missing from here: the Docker Engine discarded it before it was read\n")}}
	if to.Sub(from) > 2 {
		entries = append(entries, msg.LogEntry{Time: to.Add(-1), Text: []byte("runnerd: output is missing up to here: the Docker Engine discarded it before it was read\n")})
	}
	return entries
}

func unexpectedEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
