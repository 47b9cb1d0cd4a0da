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

// Run sends again.
func (c resendCommand) Run(ctx context.Context, out io.Writer) error {
	return c.thing.inspect(func(_ spool.FS, f spool.Found) error {
		if !f.Rejected() {
			return fmt.Errorf("%s was not refused by the server: what is over is sent by itself, again and again", f.Place)
		}
		alive, err := c.change(ctx, control.NewClient(c.dir()).Resend, (*spool.Spool).Resend, f.Place)
		if err != nil {
			return err
		}
		when := "is being sent once more"
		if !alive {
			when = "will be sent once more when the runner starts"
		}
		fmt.Fprintf(out, "The ending of job %s %s. If the server refuses it again, it comes back to rejected/.\n", f.Job.ID, when)
		return nil
	})
}

// Run discards.
func (c discardCommand) Run(ctx context.Context, out io.Writer, in io.Reader) error {
	return c.thing.inspect(func(_ spool.FS, f spool.Found) error {
		if over := f.Rejected() || f.Corrupt() || f.Job.Stage >= msg.Ended; !over {
			return fmt.Errorf("%s is not over, but %s: the server waits for its end; abort it there", f.Place, f.Job.Stage)
		}
		fmt.Fprintf(out, "%s will be lost: %s.\n", f.Place, loss(f))
		if !c.Yes && !agreed(out, in) {
			return errors.New("nothing was discarded; --yes does not ask")
		}
		_, err := c.change(ctx, control.NewClient(c.dir()).Discard, (*spool.Spool).Discard, f.Place)
		if err == nil {
			fmt.Fprintln(out, "Discarded.")
		}
		return err
	})
}

// loss says what goes with a thing.
func loss(f spool.Found) string {
	if f.Job.Execution == "" {
		return "all that is left of something that could not be read"
	}
	what := fmt.Sprintf("how job %s (%s) ended: %s", f.Job.ID, f.Job.TaskType, f.Job.Ending.Outcome)
	if f.Job.HasResult {
		what += fmt.Sprintf(", with a result of %d bytes", f.Result)
	}
	if f.Job.Stage != msg.Finished {
		what += ", which the server has not accepted"
	}
	return what + fmt.Sprintf("; and %d bytes of its log, of which the server has %d", f.Job.Log.Size, f.Job.Log.Acked)
}

func agreed(out io.Writer, in io.Reader) bool {
	fmt.Fprint(out, "Type yes to discard it: ")
	answer, _ := bufio.NewReader(in).ReadString('\n') // what cannot be read is no yes
	return strings.TrimSpace(answer) == "yes"
}

// change asks the runner that lives, or takes the spool's lock where none does.
func (f stateFlags) change(ctx context.Context, ask func(context.Context, string) error, do func(*spool.Spool, string) (msg.ExecutionID, error),
	place string) (alive bool, err error) {
	if err := ask(ctx, place); !errors.Is(err, control.ErrNoRunner) {
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
	_, err = do(s, place)
	return false, errors.Join(err, s.Close())
}
