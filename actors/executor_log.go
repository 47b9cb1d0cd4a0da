package actors

import (
	"context"
	"errors"
	"strings"
	"time"

	msg "runnerd/messages"
)

// An executor's output, and the logs of its jobs: read, closed when all has been said, and quoted.

func (readLogs) do(e *executor, c *turn) {
	drv, logs, id := e.Driver, e.logs, e.id
	c.Stream("logs", 16, func(ctx context.Context, emit func(msg.ToExecutor) error) msg.ToExecutor {
		var ours bool // the spool did not take what the engine handed on
		from := logs.rewind()
		err := drv.Logs(ctx, id, from, func(entries []msg.LogEntry) error {
			if len(entries) == 0 {
				return emit(msg.LogsStarted{})
			}
			grown, late, err := logs.write(entries)
			ours = err != nil
			if late > 0 {
				err = errors.Join(err, emit(msg.LateOutput{Bytes: late}))
			}
			for _, job := range grown {
				if err := emit(msg.LogWritten{Execution: job}); err != nil {
					return err
				}
			}
			return err
		})
		return msg.LogsEnded{Err: err, Ours: ours}
	})
}

func (e *executor) logWritten(c *turn, m msg.LogWritten) {
	if e.session.state == exited && !e.session.logsEnded { // the rest still comes
		c.After(string(limitTimer), drainTimeout, msg.LimitPassed{})
	}
	e.reporter.Tell(msg.Report{Execution: m.Execution})
}

func (e *executor) closeLater(c *turn, job msg.ExecutionID) {
	e.closeIn(c, e.Limits.Quiet, msg.LogCloseDue{Execution: job, Since: time.Now()})
}

func (e *executor) closeIn(c *turn, d time.Duration, m msg.LogCloseDue) {
	c.After("close log "+string(m.Execution), d, m)
}

// closeLog: an idle executor has said all about its last job once it says that it goes for the next, or has been quiet for so long
// that it does not say such things. While its output is not read, nobody knows whether it is quiet.
func (e *executor) closeLog(c *turn, m msg.LogCloseDue) {
	if e.readsSince.IsZero() || time.Since(e.readsSince) < e.Limits.Quiet {
		e.closeIn(c, e.Limits.Quiet, m)
		return
	}
	since := m.Since
	if since.Before(e.readsSince) {
		since = e.readsSince
	}
	logs, job := e.logs, m.Execution
	c.Go("close log", func(context.Context) msg.ToExecutor {
		if left := maxStampDelay - time.Since(since); left > 0 && !logs.isComplete(job) {
			return msg.LogClosed{Execution: job, Since: m.Since, Wait: left}
		}
		closed, err := logs.closeThrough(job)
		return msg.LogClosed{Execution: job, Closed: closed, Err: err}
	})
}

func (e *executor) logClosed(c *turn, m msg.LogClosed) {
	e.reportClosed(m.Closed)
	switch {
	case m.Wait > 0:
		e.closeIn(c, m.Wait, msg.LogCloseDue{Execution: m.Execution, Since: m.Since})
	case m.Err != nil:
		e.warn(c).Err(m.Err).Str("job", string(m.Execution)).Msg("could not close the log of a job; will retry")
		e.closeLater(c, m.Execution)
	default:
		e.countProcesses(c)
	}
}

// do closes the logs of the jobs before its newest. As many may be open as end within the time that a log stays open.
func (closeOlderLogs) do(e *executor, c *turn) {
	for _, job := range e.Spool.JobsOf(e.id) {
		if job.Execution != e.session.last && !job.Log.Ended {
			e.closeLater(c, job.Execution)
		}
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
