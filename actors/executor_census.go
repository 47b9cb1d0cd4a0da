package actors

import (
	"context"
	"fmt"
	"time"

	"runnerd/actors/shell"
	"runnerd/infra/driver"
	msg "runnerd/messages"
)

// What an executor is looked into for: processes that it should not have, and disk that it should not take.

// count looks, while the executor waits and nobody waits for it, for processes that a job has left behind.
func (e *executor) count(c *shell.Ctx[msg.ToExecutor]) {
	census, can := e.Driver.(driver.Census)
	if !can || e.state != idle {
		return
	}
	id, seq := e.id, e.seq
	c.Go("count", func(ctx context.Context) msg.ToExecutor {
		ctx, cancel := context.WithTimeout(ctx, engineAnswers)
		defer cancel()
		n, err := census.Processes(ctx, id)
		return msg.Counted{Seq: seq, Processes: n, Err: err}
	})
}

// measureEvery is how often a running executor's disk is looked at: what it takes in between is all that it can take too much.
const measureEvery = 10 * time.Second

func (e *executor) measure(c *shell.Ctx[msg.ToExecutor]) {
	census, can := e.Driver.(driver.Census)
	if !can || e.state != running || e.job == nil {
		return
	}
	id, job := e.id, e.job.job.Execution
	c.Go("measure", func(ctx context.Context) msg.ToExecutor {
		ctx, cancel := context.WithTimeout(ctx, engineAnswers)
		defer cancel()
		bytes, err := census.Disk(ctx, id)
		return msg.Measured{Execution: job, Bytes: bytes, Err: err}
	})
}

// measured fails the job of an executor that fills the disk: the others and the runner need it too.
func (e *executor) measured(c *shell.Ctx[msg.ToExecutor], m msg.Measured) {
	if e.job == nil || e.job.job.Execution != m.Execution || e.job.verdict != nil {
		return
	}
	if m.Err == nil && m.Bytes > e.DiskLimit {
		e.takeNoMore(c, "it filled the disk")
		e.conclude(c, msg.Ending{Outcome: msg.Failed, Message: fmt.Sprintf("the plugin has written %d bytes to disk and was stopped: "+
			"an executor may write %d. Let it write less, or raise the limit", m.Bytes, e.DiskLimit)})
		return
	}
	c.After("measure", measureEvery, msg.MeasureDue{})
}
