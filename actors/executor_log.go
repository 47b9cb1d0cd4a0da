package actors

import (
	"context"
	"errors"
	"regexp"
	"slices"
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

// panicReason matches the line in which a crashed Go process says why, with or without the time that the log adds.
var panicReason = regexp.MustCompile(`^(?:\S+Z )?(?:panic|fatal error): `)

// lastLines returns the last lines of the job's log, for the message of a job without a result. If the process panicked, they begin with
// the reason, which is above the stack trace.
func lastLines(spool Spool, job msg.ExecutionID) string {
	const maxBytes, maxLines, maxTrace, maxReason = 1000, 5, 64 << 10, 500
	rec, ok := spool.Job(job)
	if !ok || rec.Log.Size == 0 {
		return ""
	}
	text, err := spool.ReadLog(job, max(0, rec.Log.Size-maxTrace), maxTrace)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(text), "�")), "\n")
	last := string(text[max(0, len(text)-maxBytes):])
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(last, "�")), "\n")
	lines = lines[max(0, len(lines)-maxLines):]
	for _, line := range slices.Backward(all[:max(0, len(all)-len(lines))]) {
		if panicReason.MatchString(line) {
			lines = append([]string{strings.ToValidUTF8(line[:min(len(line), maxReason)], ""), "…"}, lines[min(2, len(lines)):]...)
			break
		}
	}
	return ". Its last output:\n" + strings.Join(lines, "\n")
}
