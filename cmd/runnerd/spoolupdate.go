package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"runnerd/infra/control"
	msg "runnerd/messages"
	"runnerd/spool"
)

// Run sends the ending of a rejected job again.
func (c resendCommand) Run(ctx context.Context, out io.Writer) error {
	return c.entryArg.inspect(func(_ spool.FS, f spool.Entry) error {
		if !f.Rejected() {
			return fmt.Errorf("%s was not rejected by the server: the runner sends its ending without this command", f.Location)
		}
		running, err := c.changeSpool(ctx, control.NewClient(c.dir()).Resend, (*spool.Spool).Resend, f.Location)
		if err != nil {
			return err
		}
		when := "is being sent again"
		if !running {
			when = "will be sent again when the runner starts"
		}
		fmt.Fprintf(out, "The ending of job %s %s. If the server rejects it again, it returns to rejected/.\n", f.Job.ID, when)
		return nil
	})
}

// Run deletes the entry after a confirmation.
func (c discardCommand) Run(ctx context.Context, out io.Writer, in io.Reader) error {
	return c.entryArg.inspect(func(_ spool.FS, f spool.Entry) error {
		if ended := f.Rejected() || f.Corrupt() || f.Job.Stage >= msg.Ended; !ended {
			return fmt.Errorf("%s has not ended (%s), and the server waits for its ending: abort it on the server", f.Location, f.Job.Stage)
		}
		fmt.Fprintf(out, "%s will be lost: %s.\n", f.Location, lossText(f))
		if !c.Yes && !confirmed(out, in) {
			return errors.New("Nothing discarded. --yes skips the question.")
		}
		_, err := c.changeSpool(ctx, control.NewClient(c.dir()).Discard, (*spool.Spool).Discard, f.Location)
		if err == nil {
			fmt.Fprintln(out, "Discarded.")
		}
		return err
	})
}

// lossText says what is lost with an entry.
func lossText(f spool.Entry) string {
	if f.Job.Execution == "" {
		return "the remains of an unreadable record"
	}
	text := fmt.Sprintf("the ending of job %s (%s): %s", f.Job.ID, f.Job.TaskType, f.Job.Ending.Outcome)
	if f.Job.HasResult {
		text += fmt.Sprintf(", with a result of %d bytes", f.Result)
	}
	if f.Job.Stage != msg.Finished {
		text += ", not accepted by the server"
	}
	return text + fmt.Sprintf("; %d bytes of its log, of which the server has %d", f.Job.Log.Size, f.Job.Log.Acked)
}

func confirmed(out io.Writer, in io.Reader) bool {
	fmt.Fprint(out, "Type yes to discard it: ")
	answer, _ := bufio.NewReader(in).ReadString('\n') // an error counts as no
	return strings.TrimSpace(answer) == "yes"
}

// changeSpool sends a change to the runner, or opens and locks the spool itself if no runner runs.
func (f stateFlags) changeSpool(ctx context.Context, ask func(context.Context, string) error, do func(*spool.Spool, string) (msg.ExecutionID, error),
	location string) (running bool, err error) {
	if err := ask(ctx, location); !errors.Is(err, control.ErrNoRunner) {
		return true, err
	}
	files, err := spool.Dir(filepath.Join(f.dir(), "spool"))
	if err != nil {
		return false, err
	}
	s, err := spool.Open(files, spool.Options{})
	if err != nil {
		return false, errors.Join(err, files.Close())
	}
	_, err = do(s, location)
	return false, errors.Join(err, s.Close())
}
