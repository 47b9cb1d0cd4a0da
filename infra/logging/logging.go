// Package logging creates the runner's own log.
//
// The fields are the same in both formats: time, level, message, error, and where they apply:
//
//	execution  the id of an execution, as the spool names it
//	job        the server's id of a job
//	script     the server's id of a script, in the lines that the script prints
//	executor   the id of an executor
//	actor      the path of the actor that logs the line
//	from, to   the states of a transition
//	attempt    the number of an attempt, from 1
//	retry      the delay until the next attempt
//
// Times are RFC 3339 in UTC in JSON, and local with the date on a console. The log contains no secrets: msg.Secret prints and marshals
// as stars, and plugins' output passes the filter of package masking.
package logging

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
)

// Durations are written with their unit, such as "2.5s". zerolog has one setting for the whole process.
func init() { zerolog.DurationFieldFormat = zerolog.DurationFormatString }

// New returns a logger that writes to w. The format is console, json, or auto, which is console on a terminal and otherwise json. The
// level is trace, debug, info, warn, error or disabled.
func New(w io.Writer, format, level string) (zerolog.Logger, error) {
	return NewWithScripts(w, format, level, nil)
}

// NewWithScripts is like New, but writes the output of scripts to the writer scripts, at any level, instead of the log. If scripts is nil,
// it goes to the log.
func NewWithScripts(w io.Writer, format, level string, scripts io.Writer) (zerolog.Logger, error) {
	threshold, err := zerolog.ParseLevel(level)
	if err != nil || level == "" {
		return zerolog.Nop(), fmt.Errorf("unknown log level %q: use trace, debug, info, warn, error or disabled", level)
	}
	switch format {
	case "console":
		w = consoleWriter(w)
	case "auto":
		if isTerminal(w) {
			w = consoleWriter(w)
		}
	case "json":
	default:
		return zerolog.Nop(), fmt.Errorf("unknown log format %q: use auto, console or json", format)
	}
	if scripts != nil {
		w, threshold = scriptSplitter{w, threshold, scripts}, min(threshold, zerolog.InfoLevel)
	}
	return zerolog.New(w).Level(threshold).Hook(zerolog.HookFunc(addTimestamp)), nil
}

// scriptSplitter writes the lines that scripts print to another writer.
type scriptSplitter struct {
	io.Writer
	threshold zerolog.Level
	scripts   io.Writer
}

func (s scriptSplitter) WriteLevel(level zerolog.Level, line []byte) (int, error) {
	var entry struct{ Script, Message string }
	if err := json.Unmarshal(line, &entry); err == nil && entry.Script != "" {
		_, err := fmt.Fprintln(s.scripts, entry.Message)
		return len(line), err
	}
	if level < s.threshold {
		return len(line), nil
	}
	return s.Write(line)
}

// addTimestamp adds the time in milliseconds. zerolog's own timestamp has seconds, unless one changes it for the whole process.
func addTimestamp(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00"))
}

func consoleWriter(w io.Writer) io.Writer {
	return zerolog.ConsoleWriter{Out: w, NoColor: !isTerminal(w), TimeFormat: time.DateTime + ".000"}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(interface{ Fd() uintptr })
	return ok && isatty.IsTerminal(f.Fd())
}
