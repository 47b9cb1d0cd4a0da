package actors

import (
	"context"
	"time"

	"runnerd/infra/driver"
	msg "runnerd/messages"
)

// What an executor is measured for: processes that it should not have, and disk that it should not take.

// countProcesses looks, while the executor is idle and nobody waits for it, for processes that a job has left behind.
func (e *executor) countProcesses(c *turn) {
	census, can := e.Driver.(driver.Census)
	if !can || e.session.state != idle {
		return
	}
	id, seq := e.id, e.seq
	c.Go("count processes", func(ctx context.Context) msg.ToExecutor {
		ctx, cancel := context.WithTimeout(ctx, engineTimeout)
		defer cancel()
		n, err := census.Processes(ctx, id)
		return msg.ProcessCount{Seq: seq, Processes: n, Err: err}
	})
}

func (e *executor) processesCounted(c *turn, m msg.ProcessCount) {
	e.debug(c).Err(m.Err).Int("processes", m.Processes).Msg("processes counted")
	if m.Err == nil {
		e.dispatcher.Tell(msg.ProcessesCounted{Executor: e.id, Seq: m.Seq, Processes: m.Processes})
	}
}

// diskCheckInterval is how often an executor's disk is measured: what it takes in between is all that it can take too much.
const diskCheckInterval = 10 * time.Second

// do goes on whatever the executor does meanwhile: also one whose jobs are short, or that is idle, is measured.
func (checkDisk) do(e *executor, c *turn) {
	if e.DiskLimit > 0 && !e.checkingDisk {
		e.checkingDisk = true
		c.After("measure", diskCheckInterval, msg.CheckDiskDue{})
	}
}

func (e *executor) checkDisk(c *turn) {
	census, can := e.Driver.(driver.Census)
	if !can || !e.session.state.canHaveJob() {
		e.checkingDisk = false
		return
	}
	id, job := e.id, e.session.job.Execution
	c.Go("measure", func(ctx context.Context) msg.ToExecutor {
		ctx, cancel := context.WithTimeout(ctx, engineTimeout)
		defer cancel()
		bytes, err := census.Disk(ctx, id)
		return msg.DiskMeasured{Execution: job, Bytes: bytes, Err: err}
	})
}

// diskChecked logs an error once, as it may come for as long as the executor lives.
func (e *executor) diskChecked(c *turn, m msg.DiskMeasured) {
	e.checkingDisk = false
	if m.Err == nil {
		e.diskCheckFailed = false
		e.debug(c).Int64("bytes", m.Bytes).Msg("disk measured")
	} else if !e.diskCheckFailed {
		e.diskCheckFailed = true
		e.warn(c).Err(m.Err).Msg("could not measure an executor's disk usage: its limit is not enforced meanwhile")
	}
}
