package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"runnerd/infra/driver"
	msg "runnerd/messages"
)

const (
	entrySize = 16 << 10  // bytes of a line that make an entry
	batchSize = 256 << 10 // bytes read at once
	lookEvery = 100 * time.Millisecond
)

// Logs hands on the output from a position on, and follows it until the child has ended.
func (d *Driver) Logs(ctx context.Context, id msg.ExecutorID, from msg.Position, emit func([]msg.LogEntry) error) error {
	e, err := d.find(id)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(e.output(), os.O_CREATE|os.O_RDONLY, 0o600) // the child may not have been started
	if err != nil {
		return fmt.Errorf("read the output of executor %s: %w", id, err)
	}
	defer f.Close()
	if err := emit(nil); err != nil {
		return err
	}
	return follow(ctx, e, &reader{Reader: f, piece: make([]byte, batchSize), stamp: e.created, cursor: driver.From(from)}, emit)
}

func (e *executor) hasEnded() bool {
	select {
	case <-e.ended:
		return true
	default:
		return false
	}
}

// reader makes entries of an output that grows.
type reader struct {
	io.Reader
	piece  []byte // what a read fills
	rest   []byte // the beginning of the next entry
	stamp  time.Time
	cursor *driver.Cursor
}

func follow(ctx context.Context, e *executor, r *reader, emit func([]msg.LogEntry) error) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for ctx.Err() == nil {
		over := e.hasEnded() // asked before reading: what is read then is all of it
		batch, err := r.read(over)
		ended := errors.Is(err, io.EOF)
		if err != nil && !ended {
			return fmt.Errorf("read the output of executor %s: %w", e.ID, err)
		}
		if len(batch) > 0 {
			if err := emit(batch); err != nil {
				return err
			}
		}
		if ended && over {
			return nil
		}
		if ended {
			select {
			case <-look.C:
			case <-e.ended:
			case <-ctx.Done():
			}
		}
	}
	return context.Cause(ctx)
}

// read returns the next entries that are complete, with over also the last one.
func (r *reader) read(over bool) (batch []msg.LogEntry, err error) {
	n, err := r.Read(r.piece)
	r.rest = append(r.rest, r.piece[:n]...)
	for {
		size := entryIn(r.rest, over && errors.Is(err, io.EOF))
		if size == 0 {
			return batch, err
		}
		if entry, ok := r.cursor.Next(msg.LogEntry{Time: r.stamp, Text: bytes.Clone(r.rest[:size])}); ok {
			batch = append(batch, entry)
		}
		r.rest, r.stamp = r.rest[size:], r.stamp.Add(time.Duration(size))
	}
}

// entryIn is the size of the entry that text begins with; zero: it is not complete, and more may come.
func entryIn(text []byte, isAll bool) int {
	newline := bytes.IndexByte(text[:min(len(text), entrySize)], '\n')
	switch {
	case newline >= 0:
		return newline + 1
	case len(text) >= entrySize:
		return entrySize
	case isAll:
		return len(text)
	}
	return 0
}
