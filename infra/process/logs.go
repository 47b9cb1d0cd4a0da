package process

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"runnerd/infra/driver"
	msg "runnerd/messages"
)

const (
	batchSize    = 256 << 10 // bytes of a read, and the maximum size of an entry
	pollInterval = 100 * time.Millisecond
)

// Logs passes the output after a position to emit and follows it until the child has exited. The bounds of entries depend only on
// the output, so that reading can resume exactly.
func (d *Driver) Logs(ctx context.Context, id msg.ExecutorID, from msg.Position, emit func([]msg.LogEntry) error) error {
	e, err := d.find(id)
	if err != nil {
		return err
	}
	output, err := os.OpenFile(e.output(), os.O_CREATE|os.O_RDONLY, 0o600) // the child may not have started yet
	if err != nil {
		return err
	}
	defer output.Close()
	if err := emit(nil); err != nil {
		return err
	}
	cursor, offset, wait := driver.NewCursor(from), int64(0), time.Duration(0)
	for ended := false; ; {
		select { // before reading, so that the output is complete once the child has exited
		case <-e.ended:
			ended = true
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		text, err := io.ReadAll(io.NewSectionReader(output, offset, batchSize))
		if err != nil {
			return fmt.Errorf("read the output of executor %s: %w", id, err)
		}
		more := len(text) == batchSize
		var batch []msg.LogEntry
		for line := range bytes.Lines(text) {
			if !bytes.HasSuffix(line, []byte("\n")) && len(line) < batchSize && (more || !ended) {
				break // the line is not complete yet
			}
			entry, isNew := cursor.Next(msg.LogEntry{Time: e.created.Add(time.Duration(offset)), Text: line})
			if isNew {
				batch = append(batch, entry)
			}
			offset += int64(len(line))
		}
		if len(batch) > 0 {
			if err := emit(batch); err != nil {
				return err
			}
		}
		switch {
		case more:
			wait = 0
		case ended:
			return nil
		default:
			wait = pollInterval
		}
	}
}
