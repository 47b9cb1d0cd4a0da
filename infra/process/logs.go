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
	batchSize = 256 << 10 // bytes read at once, and the most of a line that makes an entry
	lookEvery = 100 * time.Millisecond
)

// Logs hands on the output from a position on, and follows it until the child has ended. Where an entry ends depends on the output
// alone, so that reading goes on exactly where it stopped.
func (d *Driver) Logs(ctx context.Context, id msg.ExecutorID, from msg.Position, emit func([]msg.LogEntry) error) error {
	e, err := d.find(id)
	if err != nil {
		return err
	}
	output, err := os.OpenFile(e.output(), os.O_CREATE|os.O_RDONLY, 0o600) // the child may not have been started
	if err != nil {
		return err
	}
	defer output.Close()
	if err := emit(nil); err != nil {
		return err
	}
	cursor, offset, wait := driver.From(from), int64(0), time.Duration(0)
	for ended := false; ; {
		select { // before reading: what is read once the child has ended is all of it
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
				break // the rest of it comes later
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
			wait = lookEvery
		}
	}
}
