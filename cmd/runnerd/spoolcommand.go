package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mattn/go-isatty"

	msg "runnerd/messages"
	"runnerd/spool"
)

// spoolCommand looks at what a runner keeps, and mends it. It works beside a runner and without one.
type spoolCommand struct {
	Ls      lsCommand      `cmd:"" help:"List the jobs, what the server refused, and what could not be read."`
	Show    showCommand    `cmd:"" help:"Show what happened to a job, step by step."`
	Export  exportCommand  `cmd:"" help:"Write a tar of a job, without its key: input and result stay encrypted."`
	Resend  resendCommand  `cmd:"" help:"Send the ending of a job that the server refused once more."`
	Discard discardCommand `cmd:"" help:"Take away for good: a job that is over, one that was refused, or what could not be read."`
}

// thing is the argument of a command about one thing in the spool.
type thing struct {
	stateFlags `embed:""`
	ID         string `arg:"" help:"A job's id on the server, its execution id, or its place as 'spool ls' shows it."`
}

type lsCommand struct {
	stateFlags `embed:""`
	Output     string `short:"o" enum:"table,json" default:"table" help:"table, for people, or json."`
}

type (
	showCommand struct {
		thing `embed:""`
		Log   bool `help:"All of its log, and nothing else."`
	}
	exportCommand struct {
		thing `embed:""`
		File  string `short:"f" placeholder:"FILE" help:"Where to write it. Default: the standard output."`
	}
	resendCommand struct {
		thing `embed:""`
	}
	discardCommand struct {
		thing `embed:""`
		Yes   bool `help:"Do not ask."`
	}
)

// inspect calls with all that is in the spool.
func (f stateFlags) inspect(look func(spool.FS, []spool.Found) error) (err error) {
	files, err := f.files()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	found, err := spool.Inspect(files)
	if err != nil {
		return err
	}
	return look(files, found)
}

// inspect calls with the thing, if there is only one that it may be.
func (t thing) inspect(look func(spool.FS, spool.Found) error) error {
	return t.stateFlags.inspect(func(files spool.FS, all []spool.Found) error {
		var meant []spool.Found
		var places []string
		for _, f := range all {
			if f.Is(t.ID) {
				meant, places = append(meant, f), append(places, f.Place)
			}
		}
		switch len(meant) {
		case 0:
			return fmt.Errorf("the spool in %s has nothing of the name %q; 'runnerd spool ls' lists what there is", t.dir(), t.ID)
		case 1:
			return look(files, spool.Examine(files, meant[0].Place))
		default:
			return fmt.Errorf("%q may be any of %s: give one of these", t.ID, strings.Join(places, ", "))
		}
	})
}

// Run lists.
func (c lsCommand) Run(out io.Writer) error {
	return c.inspect(func(_ spool.FS, all []spool.Found) error {
		if c.Output == "json" {
			rows := make([]foundStatus, 0, len(all))
			for _, f := range all {
				rows = append(rows, statusOfFound(f))
			}
			text := json.NewEncoder(out)
			text.SetIndent("", "  ")
			return text.Encode(rows)
		}
		t := &table{Writer: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), now: time.Now()}
		if len(all) == 0 {
			t.line("The spool is empty.")
			return nil
		}
		t.row("PLACE", "JOB", "STAGE", "SINCE", "TYPE", "IMAGE", "NOTE")
		for _, f := range all {
			if f.Job.Execution == "" {
				t.row(f.Place, "-", "-", "-", "-", "-", note(f))
				continue
			}
			t.row(f.Place, string(f.Job.ID), f.Job.Stage.String(), t.ago(statusOf(f.Job).Since), f.Job.TaskType, f.Job.Image, note(f))
		}
		return t.Flush()
	})
}

// foundStatus is what `runnerd spool ls -o json` prints of each.
type foundStatus struct {
	Place string `json:"place"`
	*jobStatus
	Outcome msg.Outcome `json:"outcome,omitempty"`
	Result  int64       `json:"resultBytes,omitempty"`
	Answer  string      `json:"answer,omitempty"` // of the server that refused it
	Damage  string      `json:"damage,omitempty"` // why it cannot be read
}

func statusOfFound(f spool.Found) foundStatus {
	row := foundStatus{Place: f.Place, Outcome: f.Job.Ending.Outcome, Result: f.Result, Answer: f.Answer}
	if f.Job.Execution != "" {
		of := statusOf(f.Job)
		row.jobStatus = &of
	}
	if f.Damage != nil {
		row.Damage = f.Damage.Error()
	}
	return row
}

func note(f spool.Found) string {
	switch {
	case f.Damage != nil:
		return "cannot be read: " + f.Damage.Error()
	case f.Rejected():
		return "refused: " + f.Answer
	case f.Job.Ending.Outcome != "":
		return string(f.Job.Ending.Outcome)
	}
	return abortOf(statusOf(f.Job))
}

// Run shows.
func (c showCommand) Run(out io.Writer) error {
	return c.thing.inspect(func(files spool.FS, f spool.Found) error {
		if c.Log {
			text, err := spool.InspectLog(files, f, f.Job.Log.Size)
			if err == nil {
				_, err = out.Write(text)
			}
			return err
		}
		t := &table{Writer: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), now: time.Now()}
		t.row("place", f.Place)
		if f.Damage != nil {
			t.row("damage", f.Damage.Error())
		}
		if f.Job.Execution == "" {
			return t.Flush()
		}
		showJob(t, f)
		text, err := spool.InspectLog(files, f, 2000)
		if err != nil {
			return err
		}
		if len(text) > 0 {
			t.line("\nthe end of its log:")
		}
		for line := range strings.Lines(string(text)) {
			t.row("  | " + strings.TrimSuffix(line, "\n"))
		}
		return t.Flush()
	})
}

func showJob(t *table, f spool.Found) {
	j := f.Job
	t.row("job", string(j.ID))
	t.row("execution", string(j.Execution))
	t.row("what", fmt.Sprintf("%s %s, image %s", j.Kind, j.TaskType, j.Image))
	t.row("stage", j.Stage.String())
	t.row("executor", cmp.Or(string(j.Executor), "none"))
	if j.Ending.Outcome != "" {
		t.row("ending", fmt.Sprintf("%s, exit code %d  %s", j.Ending.Outcome, j.Ending.ExitCode, j.Ending.Message))
	}
	if j.HasResult {
		t.row("result", fmt.Sprintf("%d bytes, encrypted", f.Result))
	}
	t.row("log", fmt.Sprintf("%d bytes, of which the server has %d; it %s", j.Log.Size, j.Log.Acked, map[bool]string{true: "is complete", false: "may grow"}[j.Log.Ended]))
	if f.Answer != "" {
		t.row("refused", f.Answer)
	}
	t.line("")
	for _, s := range f.Steps {
		t.row(s.At.Local().Format("2006-01-02 15:04:05.000"), s.Text)
	}
}

// Run exports.
func (c exportCommand) Run(out io.Writer) error {
	return c.thing.inspect(func(files spool.FS, f spool.Found) (err error) {
		if c.File == "" {
			if file, ok := out.(*os.File); ok && isatty.IsTerminal(file.Fd()) {
				return errors.New("a tar is nothing for a terminal: give --file, or redirect the output")
			}
			return spool.Export(files, f, out)
		}
		file, err := os.OpenFile(c.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("export: %w: give a --file that can be made, and is not there yet", err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		return spool.Export(files, f, file)
	})
}
