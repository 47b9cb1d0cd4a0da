package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"

	msg "runnerd/messages"
	"runnerd/spool"
)

// spoolCommand inspects and repairs the spool, whether a runner runs or not.
type spoolCommand struct {
	Ls      lsCommand      `cmd:"" help:"List jobs, rejected jobs and unreadable records."`
	Show    showCommand    `cmd:"" help:"Show the steps and the log of a job."`
	Export  exportCommand  `cmd:"" help:"Write a job to a tar file, without its key: input and result stay encrypted."`
	Resend  resendCommand  `cmd:"" help:"Send the ending of a rejected job to the server again."`
	Discard discardCommand `cmd:"" help:"Delete an ended job, a rejected job or an unreadable record."`
}

// entryArg is the argument of a command on one entry of the spool.
type entryArg struct {
	stateFlags `embed:""`
	ID         string `arg:"" help:"Job id, execution id, or location as shown by 'runnerd spool ls'."`
}

type lsCommand struct {
	stateFlags `embed:""`
	Output     string `short:"o" enum:"table,json" default:"table" help:"Output format: table or json."`
}

type (
	showCommand struct {
		entryArg `embed:""`
		Log      bool `help:"Print the whole log and nothing else."`
	}
	exportCommand struct {
		entryArg `embed:""`
		File     string `short:"f" placeholder:"FILE" help:"File to create. Default: standard output."`
	}
	resendCommand struct {
		entryArg `embed:""`
	}
	discardCommand struct {
		entryArg `embed:""`
		Yes      bool `env:"-" help:"Do not ask for confirmation. The environment cannot set it."`
	}
)

// inspect calls look with all entries of the spool.
func (f stateFlags) inspect(look func(spool.FS, []spool.Entry) error) (err error) {
	files, err := f.openFiles()
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

// inspect calls look with the entry that the argument names. It fails unless there is exactly one.
func (t entryArg) inspect(look func(spool.FS, spool.Entry) error) error {
	return t.stateFlags.inspect(func(files spool.FS, all []spool.Entry) error {
		var matches []spool.Entry
		var locations []string
		for _, f := range all {
			if f.Matches(t.ID) {
				matches, locations = append(matches, f), append(locations, f.Location)
			}
		}
		switch len(matches) {
		case 0:
			return fmt.Errorf("there is no %q in the spool of %s; 'runnerd spool ls' lists its entries", t.ID, t.dir())
		case 1:
			return look(files, spool.InspectEntry(files, matches[0].Location))
		default:
			return fmt.Errorf("%q is ambiguous: choose one of %s", t.ID, strings.Join(locations, ", "))
		}
	})
}

// Run lists the entries.
func (c lsCommand) Run(out io.Writer) error {
	return c.inspect(func(_ spool.FS, all []spool.Entry) error {
		if c.Output == "json" {
			rows := make([]entryStatus, 0, len(all))
			for _, f := range all {
				rows = append(rows, newEntryStatus(f))
			}
			encoder := json.NewEncoder(out)
			encoder.SetIndent("", "  ")
			return encoder.Encode(rows)
		}
		t := newTable(out, time.Now())
		if len(all) == 0 {
			t.line("The spool is empty.")
			return nil
		}
		t.row("LOCATION", "JOB", "STAGE", "SINCE", "TYPE", "IMAGE", "NOTE")
		for _, f := range all {
			if f.Job.Execution == "" {
				t.row(f.Location, "-", "-", "-", "-", "-", entryNote(f))
				continue
			}
			t.row(f.Location, string(f.Job.ID), f.Job.Stage.String(), t.ago(newJobStatus(f.Job).Since), f.Job.TaskType, f.Job.Image, entryNote(f))
		}
		return t.Flush()
	})
}

// entryStatus is an entry in the output of `runnerd spool ls -o json`.
type entryStatus struct {
	Location string `json:"location"`
	*jobStatus
	Outcome msg.Outcome `json:"outcome,omitempty"`
	Result  int64       `json:"resultBytes,omitempty"`
	Answer  string      `json:"answer,omitempty"` // the server's answer to a rejected job
	Damage  string      `json:"damage,omitempty"` // why it cannot be read
}

func newEntryStatus(f spool.Entry) entryStatus {
	row := entryStatus{Location: f.Location, Outcome: f.Job.Ending.Outcome, Result: f.Result, Answer: f.Answer}
	if f.Job.Execution != "" {
		status := newJobStatus(f.Job)
		row.jobStatus = &status
	}
	if f.Damage != nil {
		row.Damage = f.Damage.Error()
	}
	return row
}

func entryNote(f spool.Entry) string {
	switch {
	case f.Damage != nil:
		return "cannot be read: " + f.Damage.Error()
	case f.Rejected():
		return "rejected: " + f.Answer
	case f.Job.Ending.Outcome != "":
		return string(f.Job.Ending.Outcome)
	}
	return abortNote(newJobStatus(f.Job))
}

// Run shows the entry.
func (c showCommand) Run(out io.Writer) error {
	return c.entryArg.inspect(func(files spool.FS, f spool.Entry) error {
		if c.Log {
			text, err := spool.InspectLog(files, f, f.Job.Log.Size)
			if err == nil {
				_, err = out.Write(text)
			}
			return err
		}
		t := newTable(out, time.Now())
		t.row("location", f.Location)
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
			t.line("\nend of its log:")
		}
		for line := range strings.Lines(string(text)) {
			t.row("  | " + strings.TrimSuffix(line, "\n"))
		}
		return t.Flush()
	})
}

func showJob(t *table, f spool.Entry) {
	j := f.Job
	t.row("job", string(j.ID))
	t.row("execution", string(j.Execution))
	t.row("type", fmt.Sprintf("%s %s, image %s", j.Kind, j.TaskType, j.Image))
	t.row("stage", j.Stage.String())
	t.row("executor", cmp.Or(string(j.Executor), "none"))
	if j.Ending.Outcome != "" {
		t.row("ending", fmt.Sprintf("%s, exit code %d  %s", j.Ending.Outcome, j.Ending.ExitCode, j.Ending.Message))
	}
	if j.HasResult {
		t.row("result", fmt.Sprintf("%d bytes, encrypted", f.Result))
	}
	t.row("log", fmt.Sprintf("%d bytes, of which the server has %d; the log %s", j.Log.Size, j.Log.Acked, map[bool]string{true: "is complete", false: "may grow"}[j.Log.Closed]))
	if f.Answer != "" {
		t.row("rejected", f.Answer)
	}
	t.line("")
	for _, s := range f.Steps {
		t.row(s.At.Local().Format("2006-01-02 15:04:05.000"), s.Text)
	}
}

// Run exports the entry.
func (c exportCommand) Run(out io.Writer) error {
	return c.entryArg.inspect(func(files spool.FS, f spool.Entry) (err error) {
		if c.File == "" {
			if file, ok := out.(*os.File); ok && isatty.IsTerminal(file.Fd()) {
				return errors.New("will not write a tar to a terminal: set --file, or redirect the output")
			}
			return spool.Export(files, f, out)
		}
		file, err := os.OpenFile(c.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("--file: %w; choose a file that does not exist and can be created", err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		return spool.Export(files, f, file)
	})
}
