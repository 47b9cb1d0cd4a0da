package actors

import (
	"context"
	"errors"
	"strings"
	"time"

	msg "runnerd/messages"
)

// The executor's output and the logs of its jobs: reading, closing, and quoting.

func (readLogs) do(e *executor, c *executorCtx) {
	drv, logs, id := e.Driver, e.logs, e.id
	c.Stream("logs", 16, func(ctx context.Context, emit func(msg.ToExecutor) error) msg.ToExecutor {
		var spoolFailed bool // not the engine
		from := logs.rewind()
		err := drv.Logs(ctx, id, from, func(entries []msg.LogEntry) error {
			if len(entries) == 0 {
				return emit(msg.LogsStarted{})
			}
			grown, late, err := logs.write(entries)
			spoolFailed = err != nil
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
		return msg.LogsEnded{Err: err, SpoolFailed: spoolFailed}
	})
}

func (e *executor) logWritten(c *executorCtx, m msg.LogWritten) {
	if e.session.state == exited && !e.session.logsEnded { // more of the rest may follow
		c.After(string(limitTimer), drainTimeout, msg.LimitDue{})
	}
	e.reporter.Tell(msg.Report{Execution: m.Execution})
}

func (e *executor) closeLogLater(c *executorCtx, job msg.ExecutionID) {
	e.closeLogAfter(c, e.Limits.Quiet, msg.LogCloseDue{Execution: job, Since: time.Now()})
}

func (e *executor) closeLogAfter(c *executorCtx, d time.Duration, m msg.LogCloseDue) {
	c.After("close log "+string(m.Execution), d, m)
}

// closeLog closes the log of an idle executor's last job once the plugin has printed idleMarker, or was quiet for so long that it must be
// one that does not print it. While the output is not being read it is unknown whether the plugin is quiet.
func (e *executor) closeLog(c *executorCtx, m msg.LogCloseDue) {
	if e.readsSince.IsZero() || time.Since(e.readsSince) < e.Limits.Quiet {
		e.closeLogAfter(c, e.Limits.Quiet, m)
		return
	}
	since := m.Since
	if since.Before(e.readsSince) {
		since = e.readsSince
	}
	logs, job := e.logs, m.Execution
	c.Go("close log", func(context.Context) msg.ToExecutor {
		if wait := maxStampDelay - time.Since(since); wait > 0 && !logs.isComplete(job) {
			return msg.LogClosed{Execution: job, Since: m.Since, Wait: wait}
		}
		closed, err := logs.closeThrough(job)
		return msg.LogClosed{Execution: job, Closed: closed, Err: err}
	})
}

func (e *executor) logClosed(c *executorCtx, m msg.LogClosed) {
	e.reportClosed(m.Closed)
	switch {
	case m.Wait > 0:
		e.closeLogAfter(c, m.Wait, msg.LogCloseDue{Execution: m.Execution, Since: m.Since})
	case m.Err != nil:
		e.warn(c).Err(m.Err).Str("execution", string(m.Execution)).Msg("could not close a job's log; will retry")
		e.closeLogLater(c, m.Execution)
	default:
		e.countProcesses(c)
	}
}

// do closes the logs of all jobs but the newest. Several may be open, because a log stays open for some time after its job.
func (closeOlderLogs) do(e *executor, c *executorCtx) {
	for _, job := range e.Spool.JobsOf(e.id) {
		if job.Execution != e.session.last && !job.Log.Closed {
			e.closeLogLater(c, job.Execution)
		}
	}
}

// lastLines returns the last lines of the job's log, for the message of a job without a result.
func lastLines(spool Spool, job msg.ExecutionID) string {
	const maxBytes, maxLines = 1000, 5
	rec, ok := spool.Job(job)
	if !ok || rec.Log.Size == 0 {
		return ""
	}
	from := max(0, rec.Log.Size-maxBytes)
	text, err := spool.ReadLog(job, from, maxBytes)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(text), "�")), "\n")
	return ". Its last output:\n" + strings.Join(lines[max(0, len(lines)-maxLines):], "\n")
}
