package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"runnerd/infra/driver"
	msg "runnerd/messages"
)

const (
	entrySize = 16 << 10  // bytes of a line that make an entry
	batchSize = 256 << 10 // bytes handed on at once
	lookEvery = 100 * time.Millisecond
)

// Logs hands on the output from a position on, and follows it until the child has ended.
func (d *Driver) Logs(ctx context.Context, id msg.ExecutorID, from msg.Position, emit func([]msg.LogEntry) error) error {
	e, err := d.find(id)
	if err != nil {
		return err
	}
	select {
	case <-e.started:
	case <-e.removed:
		return msg.ErrNoExecutor
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-d.life.Done():
		return errClosed
	}
	f, err := os.Open(filepath.Join(e.dir, "output"))
	if err != nil {
		return fmt.Errorf("read the output of executor %s: %w", id, err)
	}
	defer f.Close()
	if err := emit(nil); err != nil {
		return err
	}
	r := reader{in: bufio.NewReaderSize(f, entrySize), stamp: e.process.Started, cursor: driver.From(from), emit: emit}
	return d.follow(ctx, e, &r)
}

func (d *Driver) follow(ctx context.Context, e *executor, r *reader) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		// Asked before reading: what is read then is all of it.
		over := closed(e.ended)
		if err := r.read(ctx, over); err != nil || over {
			return err
		}
		select {
		case <-look.C:
		case <-e.ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-d.life.Done():
			return errClosed
		}
	}
}

// reader makes entries of a file that grows.
type reader struct {
	in     *bufio.Reader
	part   []byte    // the beginning of the next entry
	stamp  time.Time // its stamp
	cursor *driver.Cursor
	emit   func([]msg.LogEntry) error
	batch  []msg.LogEntry
	size   int // of batch, in bytes
}

// read hands on all entries that are complete, with last also what is left.
func (r *reader) read(ctx context.Context, last bool) error {
	for ctx.Err() == nil {
		piece, err := r.in.ReadSlice('\n')
		if room := entrySize - len(r.part); len(piece) > room {
			r.add(append(r.part, piece[:room]...))
			piece = piece[room:]
		}
		r.part = append(r.part, piece...)
		ended := errors.Is(err, io.EOF)
		if err == nil || len(r.part) == entrySize || ended && last && len(r.part) > 0 {
			r.add(r.part)
		}
		if r.size >= batchSize || ended {
			if err := r.flush(); err != nil {
				return err
			}
		}
		if ended {
			return nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("read the output: %w", err)
		}
	}
	return context.Cause(ctx)
}

func (r *reader) add(text []byte) {
	if entry, ok := r.cursor.Next(msg.LogEntry{Time: r.stamp, Text: text}); ok {
		r.batch = append(r.batch, entry)
		r.size += len(entry.Text)
	}
	r.stamp = r.stamp.Add(time.Duration(len(text)))
	r.part = nil
}

func (r *reader) flush() error {
	if len(r.batch) == 0 {
		return nil
	}
	batch := r.batch
	r.batch, r.size = nil, 0
	return r.emit(batch)
}
