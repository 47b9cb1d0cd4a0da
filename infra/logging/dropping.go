package logging

import (
	"bytes"
	"os"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

const (
	queuedLines  = 4096
	closeTimeout = time.Second
)

// DroppingWriter writes lines to a file without making the caller wait: a pipe that nobody reads must not block the runner. It drops
// lines while its queue of 4,096 is full, and then logs how many.
type DroppingWriter struct {
	file    *os.File
	lines   chan []byte // nil: the end
	dropped atomic.Int64
	done    chan struct{} // closed after the last line
}

// NewDroppingWriter starts a writer, which Close stops. The format is that of the log (see New).
func NewDroppingWriter(file *os.File, format string) (*DroppingWriter, error) {
	log, err := New(file, format, "warn")
	if err != nil {
		return nil, err
	}
	w := &DroppingWriter{file: file, lines: make(chan []byte, queuedLines), done: make(chan struct{})}
	go w.copy(log)
	return w, nil
}

// Write queues or drops the line. It never fails.
func (w *DroppingWriter) Write(line []byte) (int, error) {
	select {
	case w.lines <- bytes.Clone(line):
	default:
		w.dropped.Add(1)
	}
	return len(line), nil
}

// Fd returns the descriptor of the file, so that the format can depend on it.
func (w *DroppingWriter) Fd() uintptr { return w.file.Fd() }

func (w *DroppingWriter) copy(log zerolog.Logger) {
	defer close(w.done)
	for line := range w.lines {
		if line == nil {
			return
		}
		_, _ = w.file.Write(line) // there is nowhere to report a failure
		if dropped := w.dropped.Swap(0); dropped > 0 {
			log.Warn().Int64("lines", dropped).Msg("dropped lines of the log, because it is read too slowly")
		}
	}
}

// Close writes the queued lines, for at most a second.
func (w *DroppingWriter) Close() error {
	timeout := time.After(closeTimeout)
	select {
	case w.lines <- nil:
	case <-timeout:
		return nil
	}
	select {
	case <-w.done:
	case <-timeout:
	}
	return nil
}
