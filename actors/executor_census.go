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

// measureEvery is how often an executor's disk is looked at: what it takes in between is all that it can take too much.
const measureEvery = 10 * time.Second

// measureLater goes on whatever the executor does meanwhile: also one whose jobs are short, or that waits, is looked at.
func (e *executor) measureLater(c *shell.Ctx[msg.ToExecutor]) {
	if e.DiskLimit > 0 && !e.measuring {
		e.measuring = true
		c.After("measure", measureEvery, msg.MeasureDue{})
	}
}

func (e *executor) measure(c *shell.Ctx[msg.ToExecutor]) {
	census, can := e.Driver.(driver.Census)
	if !can || !e.state.works() {
		e.measuring = false
		return
	}
	id, job := e.id, msg.ExecutionID("")
	if e.job != nil {
		job = e.job.job.Execution
	}
	c.Go("measure", func(ctx context.Context) msg.ToExecutor {
		ctx, cancel := context.WithTimeout(ctx, engineAnswers)
		defer cancel()
		bytes, err := census.Disk(ctx, id)
		return msg.Measured{Execution: job, Bytes: bytes, Err: err}
	})
}

// diskFull is why an executor takes no more jobs. Its last one came meanwhile, and is not failed for it, also after a restart.
const diskFull = "it filled the disk"

// measured ends an executor that fills the disk, and fails its job: the others and the runner need the disk too.
func (e *executor) measured(c *shell.Ctx[msg.ToExecutor], m msg.Measured) {
	e.measuring = false
	if !e.state.works() {
		return
	}
	e.sayMeasured(c, m)
	switch wrote := m.Bytes - e.foreign; {
	case m.Err != nil || wrote <= e.DiskLimit:
	case e.job == nil:
		e.stop(c, fmt.Sprintf("it filled the disk while it had no job: %d bytes, and it may write %d", m.Bytes, e.DiskLimit))
		return
	case e.state == running && e.job.job.Execution == m.Execution && e.job.verdict == nil && (e.retire != diskFull || e.foreign > 0):
		e.takeNoMore(c, diskFull)
		e.conclude(c, msg.Ending{Outcome: msg.Failed, Message: fmt.Sprintf("the plugin has written %d bytes to disk and was stopped: "+
			"an executor may write %d. Let it write less, or raise the limit", wrote, e.DiskLimit)})
		return
	default: // this job came meanwhile, and may not be the one that did it
		e.foreign = m.Bytes
		if e.retire == "" {
			e.takeNoMore(c, diskFull)
		}
	}
	e.measureLater(c)
}

// sayMeasured says an error aloud once, as it may come for as long as the executor lives.
func (e *executor) sayMeasured(c *shell.Ctx[msg.ToExecutor], m msg.Measured) {
	if m.Err == nil {
		delete(e.failed, "measure")
		c.Log().Debug().Str("executor", string(e.id)).Int64("bytes", m.Bytes).Msg("disk measured")
		return
	}
	if e.failed["measure"]++; e.failed["measure"] == 1 {
		c.Log().Warn().Err(m.Err).Str("executor", string(e.id)).Msg("cannot measure what the executor takes of the disk: its limit is not kept meanwhile")
	}
}
