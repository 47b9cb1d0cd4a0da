package main

import (
	"fmt"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
)

// newLog writes to stderr: what a command prints for the user goes to stdout.
func newLog(c LogConfig) (zerolog.Logger, error) {
	level, err := zerolog.ParseLevel(c.Level)
	if err != nil {
		return zerolog.Nop(), fmt.Errorf("read the log level: %w", err)
	}
	log, terminal := zerolog.New(os.Stderr), isatty.IsTerminal(os.Stderr.Fd())
	if c.Format == "console" || c.Format == "auto" && terminal {
		log = zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: time.TimeOnly + ".000", NoColor: !terminal})
	}
	return log.Level(level).Hook(zerolog.HookFunc(stamp)), nil
}

// stamp is here because zerolog's own has seconds, unless one changes it for the whole process.
func stamp(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00"))
}
