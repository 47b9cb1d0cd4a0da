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
	parsed, err := zerolog.ParseLevel(c.Level)
	if err != nil {
		return zerolog.Nop(), fmt.Errorf("read the log level: %w", err)
	}
	out := zerolog.New(os.Stderr)
	if c.Format == "console" || c.Format == "auto" && isatty.IsTerminal(os.Stderr.Fd()) {
		out = zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: time.TimeOnly + ".000"})
	}
	return out.Level(parsed).With().Timestamp().Logger(), nil
}
