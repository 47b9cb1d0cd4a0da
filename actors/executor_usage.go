package actors

import (
	"context"
	"time"

	"runnerd/infra/driver"
	msg "runnerd/messages"
)

// Measurements of an executor: leftover processes and disk usage.

// countProcesses counts the processes of an idle executor, to find those that a job left behind.
func (e *executor) countProcesses(c *executorCtx) {
	reader, ok := e.Driver.(driver.UsageReader)
	if !ok || e.session.state != idle {
		return
	}
	id, seq := e.id, e.seq
	c.Go("count processes", func(ctx context.Context) msg.ToExecutor {
		ctx, cancel := context.WithTimeout(ctx, engineTimeout)
		defer cancel()
		n, err := reader.Processes(ctx, id)
		return msg.ProcessCount{Seq: seq, Processes: n, Err: err}
	})
}

func (e *executor) processesCounted(c *executorCtx, m msg.ProcessCount) {
	e.debug(c).Err(m.Err).Int("processes", m.Processes).Msg("processes counted")
	if m.Err == nil {
		e.dispatcher.Tell(msg.ProcessesCounted{Executor: e.id, Seq: m.Seq, Processes: m.Processes})
	}
}

// diskCheckInterval is the interval between disk checks. An executor can exceed its limit by what it writes in one interval.
const diskCheckInterval = 10 * time.Second

// do schedules a disk check. It does not depend on the executor's state, so that one with short jobs, or an idle one, is checked too.
func (checkDisk) do(e *executor, c *executorCtx) {
	if e.DiskLimit > 0 && !e.checkingDisk {
		e.checkingDisk = true
		c.After("measure", diskCheckInterval, msg.CheckDiskDue{})
	}
}

func (e *executor) checkDisk(c *executorCtx) {
	reader, ok := e.Driver.(driver.UsageReader)
	if !ok || !e.session.state.canHaveJob() {
		e.checkingDisk = false
		return
	}
	id, job := e.id, e.session.job.Execution
	c.Go("measure", func(ctx context.Context) msg.ToExecutor {
		ctx, cancel := context.WithTimeout(ctx, engineTimeout)
		defer cancel()
		bytes, err := reader.Disk(ctx, id)
		return msg.DiskMeasured{Execution: job, Bytes: bytes, Err: err}
	})
}

// diskChecked logs only the first of several errors in a row, because they may last as long as the executor.
func (e *executor) diskChecked(c *executorCtx, m msg.DiskMeasured) {
	e.checkingDisk = false
	if m.Err == nil {
		e.diskCheckFailed = false
		e.debug(c).Int64("bytes", m.Bytes).Msg("disk measured")
	} else if !e.diskCheckFailed {
		e.diskCheckFailed = true
		e.warn(c).Err(m.Err).Msg("could not measure an executor's disk usage; its limit is not enforced meanwhile")
	}
}
