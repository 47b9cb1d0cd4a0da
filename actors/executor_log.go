package actors

import (
	"context"
	"errors"
	"strings"
	"time"

	"runnerd/actors/shell"
	msg "runnerd/messages"
)

// An executor's output, and the logs of its jobs: read, closed when all has been said, and quoted.

func (e *executor) readLogs(c *shell.Ctx[msg.ToExecutor]) {
	drv, book, id := e.Driver, e.book, e.id
	c.Stream("logs", 16, func(ctx context.Context, emit func(msg.ToExecutor) error) msg.ToExecutor {
		from := book.rewind()
		return msg.LogsEnded{Err: drv.Logs(ctx, id, from, func(entries []msg.LogEntry) error {
			if len(entries) == 0 {
				return emit(msg.LogsBegun{})
			}
			grown, late, err := book.write(entries)
			if err != nil {
				err = &notKept{err}
			}
			if late > 0 {
				err = errors.Join(err, emit(msg.LateOutput{Bytes: late}))
			}
			for _, job := range grown {
				if err := emit(msg.LogWritten{Execution: job}); err != nil {
					return err
				}
			}
			return err
		})}
	})
}

// notKept is output that the engine has handed on and the spool has not taken.
type notKept struct{ error }

func (n *notKept) Unwrap() error { return n.error }

func (e *executor) logsRead(c *shell.Ctx[msg.ToExecutor], err error) {
	e.readsSince = time.Time{}
	if e.logsEnded { // too late
		return
	}
	if err != nil && !errors.Is(err, msg.ErrNoExecutor) {
		if _, ours := errors.AsType[*notKept](err); ours && e.state == gone {
			e.limit(c, afterExit) // it is not the engine that keeps us waiting
		}
		e.retry(c, "logs", err)
		return
	}
	e.logsEnded = true
	if e.exit != nil {
		e.examine(c)
	}
}

func (e *executor) closeLater(c *shell.Ctx[msg.ToExecutor], job msg.ExecutionID) {
	e.closeIn(c, e.Limits.Quiet, msg.LogCloseDue{Execution: job, Since: time.Now()})
}

func (e *executor) closeIn(c *shell.Ctx[msg.ToExecutor], d time.Duration, m msg.LogCloseDue) {
	c.After("close log "+string(m.Execution), d, m)
}

// closeLog: an executor that waits for its next job has said all about the last one, once it says that it goes for the next, or
// has been quiet for so long that it does not say such things. While its output is not read, nobody knows whether it is quiet.
func (e *executor) closeLog(c *shell.Ctx[msg.ToExecutor], m msg.LogCloseDue) {
	if e.readsSince.IsZero() || time.Since(e.readsSince) < e.Limits.Quiet {
		e.closeIn(c, e.Limits.Quiet, m)
		return
	}
	since := m.Since
	if since.Before(e.readsSince) {
		since = e.readsSince
	}
	if left := lag - time.Since(since); left > 0 && !e.book.parted(m.Execution) {
		e.closeIn(c, left, m)
		return
	}
	e.count(c)
	book, job := e.book, m.Execution
	c.Go("close log", func(context.Context) msg.ToExecutor {
		closed, err := book.closeThrough(job)
		return msg.LogClosed{Execution: job, Closed: closed, Err: err}
	})
}

func (e *executor) logClosed(c *shell.Ctx[msg.ToExecutor], m msg.LogClosed) {
	for _, job := range m.Closed {
		e.reporter.Tell(msg.Report{Execution: job})
	}
	if m.Err != nil {
		c.Log().Warn().Err(m.Err).Str("executor", string(e.id)).Str("job", string(m.Execution)).Msg("log is not closed yet")
		e.closeLater(c, m.Execution)
	}
}

// lastLines are the end of the job's log, for the message of a job that has no result.
func lastLines(spool Spool, job msg.ExecutionID) string {
	const most, lines = 1000, 5
	rec, ok := spool.Job(job)
	if !ok || rec.Log.Size == 0 {
		return ""
	}
	from := max(0, rec.Log.Size-most)
	text, err := spool.ReadLog(job, from, most)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(text), "�")), "\n")
	return ". Its last output:\n" + strings.Join(all[max(0, len(all)-lines):], "\n")
}
