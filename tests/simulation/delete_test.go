package simulation

import (
	"time"

	msg "runnerd/messages"
	"runnerd/spool/memfs"
	"runnerd/tests/fakes"
)

// The deletion of the runner by its server: what the simulated program does, and what the checker requires.

// onDeleted is called when the actors have finished the deletion.
func (e *env) onDeleted() {
	e.exitOnce(e.wipe)()
}

// wipe removes the runner's files except for the record of the deletion.
func (e *env) wipe() {
	e.checker.deletionEnded()
	_ = e.disk.Close()
	e.disk = memfs.New()
	e.savedConfig, e.wiped = msg.Config{}, true
}

// refuseBoot simulates the starts of a deleted runner. They fail until an operator removes the record of the deletion. The operator also
// removes the runner on the server if it is still registered.
func (e *env) refuseBoot() {
	e.trace.recordf("boot: the server has deleted this runner")
	if !e.deletionRecorded {
		e.checker.violate("deletion: the runner restarts without the record of the deletion")
	}
	e.schedule(e.randomDuration(time.Second, 10*time.Minute), "the record of the deletion is removed", func() {
		if !e.server.IsUnregistered() {
			e.server.RemoveRunner()
		}
		e.deletionRecorded, e.wiped = false, false
		e.boot()
	})
}

// maybeKillDuringUnregister kills the process around an unregister call. This call is so short that other kills rarely hit it.
func (e *env) maybeKillDuringUnregister() {
	process := e.process
	if e.faultsStopped || !e.faultOccurs(0.5) {
		return
	}
	e.schedule(e.randomDuration(0, 40*time.Millisecond), "kill -9 during unregister", func() {
		if e.process == process {
			e.endProcess("kill -9", false, 0)
		}
	})
}

// deletion is the checker's state of a deletion in progress.
type deletion struct {
	began     time.Time // zero: none in progress
	confirmed []msg.ExecutionID
}

// deletionBegan records the start of the deletion. The runner must report the jobs confirmed by then, unless a fault occurs.
func (c *checker) deletionBegan() {
	if c.deletion.began.IsZero() {
		c.deletion.began = time.Now()
		for _, job := range c.env.spool.Jobs() {
			if job.Stage >= msg.Confirmed {
				c.deletion.confirmed = append(c.deletion.confirmed, job.Execution)
			}
		}
	}
}

// undisturbed reports whether no fault has occurred since a minute before the deletion began.
func (d deletion) undisturbed(c *checker) bool {
	return !d.began.IsZero() && c.disturbedUntil.Before(d.began.Add(-time.Minute))
}

// deletionEnded checks the end of the deletion, before the process removes its files: no container is left. Jobs
// that are not reported by then never will be.
func (c *checker) deletionEnded() {
	if list := c.env.engine.Containers(); len(list) > 0 {
		c.violate("I10: the deleted runner leaves containers: %v", list)
	}
	for _, job := range c.env.spool.Jobs() {
		c.unreported[job.Execution] = true
	}
	if c.deletion.undisturbed(c) {
		for _, id := range c.deletion.confirmed {
			if c.unreported[id] {
				c.violate("deletion: %s was not reported", id)
			}
			if f := c.env.server.JobOf(id).Finish; f != nil && f.Outcome == msg.Completed && c.stored[id].Sub(c.deletion.began) > time.Second {
				c.violate("deletion: %s continued and completed", id)
			}
		}
	}
	c.deletion = deletion{}
}

// serverCalled checks that the runner may send this request now.
func (c *checker) serverCalled(op string) {
	d := &c.deletion
	switch {
	case op == fakes.Unregister && !c.env.deletionRecorded:
		c.violate("deletion: unregister before the deletion is recorded")
	case op == fakes.Register && c.env.deletionRecorded:
		c.violate("deletion: the runner registers again")
	case op == fakes.Reserve && !d.began.IsZero() && time.Since(d.began) > 2*time.Second:
		c.violate("deletion: the runner reserves jobs")
	case op == fakes.Reserve && !c.config.Enabled && time.Since(c.configSince) > 2*time.Second:
		c.violate("disable: the runner reserves jobs")
	}
}

// checkDeletionTime checks that a deletion takes at most as long as an abort may (I11).
func (c *checker) checkDeletionTime() {
	if d := c.deletion; !d.began.IsZero() && time.Since(d.began) > 2*time.Minute && c.undisturbedFor(2*time.Minute) && c.env.sys != nil {
		c.violate("deletion: takes more than 2 min")
	}
}
