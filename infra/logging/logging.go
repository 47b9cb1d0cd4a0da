// Package logging makes the runner's own log.
//
// The schema, the same in both formats: time, level, message (lower-case clauses), error, and where they apply
//
//	job        the execution id of a job, as the spool names it
//	id         the server's id of that job, where it comes in
//	script     the server's id of a script, in the lines that it prints
//	executor   the id of an executor
//	actor      who says it, by its place in the tree
//	from, to   the states of a move
//	attempt    the number of a try, from 1
//
// Secrets do not come here: msg.Secret prints and marshals as stars. What plugins print passes the filter of package masking
// before it is logged.
package logging

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
)

// New makes a logger that writes to w. format is console (for people), json (for machines), or auto: console on a terminal.
// level is one of zerolog's names: trace, debug, info, warn, error, disabled.
func New(w io.Writer, format, level string) (zerolog.Logger, error) {
	return NewWithScripts(w, format, level, nil)
}

// NewWithScripts is New, but what scripts print goes to scripts and not into the log, whatever the level; nil: it does not.
func NewWithScripts(w io.Writer, format, level string, scripts io.Writer) (zerolog.Logger, error) {
	threshold, err := zerolog.ParseLevel(level)
	if err != nil || level == "" {
		return zerolog.Nop(), fmt.Errorf("the log level %q is unknown; use trace, debug, info, warn, error or disabled", level)
	}
	switch format {
	case "console":
		w = console(w)
	case "auto":
		if terminal(w) {
			w = console(w)
		}
	case "json":
	default:
		return zerolog.Nop(), fmt.Errorf("the log format %q is unknown; use auto, console or json", format)
	}
	if scripts != nil {
		w, threshold = apart{w, threshold, scripts}, min(threshold, zerolog.InfoLevel)
	}
	return zerolog.New(w).Level(threshold).Hook(zerolog.HookFunc(stamp)), nil
}

// apart keeps the lines of scripts apart.
type apart struct {
	io.Writer
	threshold zerolog.Level
	scripts   io.Writer
}

func (a apart) WriteLevel(level zerolog.Level, line []byte) (int, error) {
	var said struct{ Script, Message string }
	if err := json.Unmarshal(line, &said); err == nil && said.Script != "" {
		_, err := fmt.Fprintln(a.scripts, said.Message)
		return len(line), err
	}
	if level < a.threshold {
		return len(line), nil
	}
	return a.Write(line)
}

// stamp is here because zerolog's own has seconds, unless one changes it for the whole process.
func stamp(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00"))
}

func console(w io.Writer) io.Writer {
	return zerolog.ConsoleWriter{Out: w, NoColor: !terminal(w), TimeFormat: time.TimeOnly + ".000"}
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
