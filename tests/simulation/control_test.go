package simulation

import (
	"maps"
	"slices"
	"strings"
	"time"

	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

// The part of the checker that concerns the server's events.

const deletionMessage = "server deleted this runner: aborting its jobs and removing its data from this machine"

// configChange is a change of the runner's configuration.
type configChange struct {
	from    time.Time
	enabled bool
	scripts bool
}

// waitingJob is a confirmed job without an executor.
type waitingJob struct {
	since  time.Time
	script bool
}

// processStarted records that the runner starts with the saved configuration.
func (c *checker) processStarted() {
	c.configChanged(c.env.savedConfig)
	c.disturb()
	if !c.env.deletionRecorded {
		c.deletion = deletion{}
	}
}

// configChanged records the runner's configuration from now on.
func (c *checker) configChanged(config msg.Config) {
	c.config, c.configSince = config, time.Now()
	c.capacityHistory = append(c.capacityHistory, capacityChange{time.Now(), config.Capacity})
	c.configHistory = append(c.configHistory, configChange{time.Now(), config.Enabled, slices.Contains(config.Capabilities, "remote-script")})
}

// alwaysSince reports whether condition has held for every configuration since t, with 1 s of tolerance.
func (c *checker) alwaysSince(t time.Time, condition func(configChange) bool) bool {
	for i, change := range c.configHistory {
		if last := i+1 == len(c.configHistory); (last || !c.configHistory[i+1].from.Before(t.Add(-time.Second))) && !condition(change) {
			return false
		}
	}
	return len(c.configHistory) > 0
}

// checkControl checks that without faults the runner follows the server's events.
func (c *checker) checkControl() {
	if !c.deletion.began.IsZero() {
		return
	}
	if idle := c.longIdle(); c.undisturbedFor(10*time.Second) && len(idle) > 0 && len(c.alive) > c.config.Capacity && time.Since(c.configSince) > 10*time.Second {
		c.violate("I4: %v are alive, but the capacity is %d, and %v are idle", c.aliveExecutors(), c.config.Capacity, idle)
	}
	if !c.undisturbedFor(2 * time.Minute) {
		return
	}
	if got, want := c.config, c.env.serverConfig; time.Since(c.env.serverConfigSince) > time.Second && (got.Enabled != want.Enabled || got.Capacity != want.Capacity || got.Eviction != want.Eviction || !slices.Equal(got.Capabilities, want.Capabilities)) {
		c.violate("config: the runner has %+v, but the server's configuration is %+v", got, want)
	}
	c.checkStopped()
}

// longIdle returns the executors that have been idle for more than 30 s.
func (c *checker) longIdle() (ids []msg.ExecutorID) {
	for _, id := range c.aliveExecutors() {
		if since := c.idleSince[id]; c.isPolling[id] && !since.IsZero() && time.Since(since) > 30*time.Second {
			ids = append(ids, id)
		}
	}
	return ids
}

// jobStopped records that the server orders the stop of a job, and does so only by an event.
func (c *checker) jobStopped(id msg.ExecutionID) {
	if c.undisturbedFor(2*time.Minute) && c.env.sys != nil {
		c.stoppedAt[id] = time.Now()
	}
}

// checkStopped checks that, without faults, stop events take effect. The runner remembers a stop of an unknown job for 2 min.
func (c *checker) checkStopped() {
	for _, id := range slices.Sorted(maps.Keys(c.stoppedAt)) {
		since, a := c.stoppedAt[id], c.env.server.JobOf(id)
		switch {
		case time.Since(since) < 2*time.Minute:
			continue
		case !a.Confirmed || a.Execution != id || a.ConfirmedAt.Sub(since) > time.Minute || a.Forgotten:
		case a.Finish == nil:
			c.violate("I11: %s was stopped by an event but has no finish", a.ID)
		case a.Finish.Outcome == msg.Completed && c.stored[id].Sub(since) > time.Second:
			c.violate("I11: %s was stopped by an event but completed %v later", a.ID, c.stored[id].Sub(since))
		}
		delete(c.stoppedAt, id)
	}
}

// checkJobStart checks that the deletion, the capabilities and a disable allow the job to start.
func (c *checker) checkJobStart(id msg.ExecutionID) {
	if d := c.deletion; d.undisturbed(c) && time.Since(d.began) > 2*time.Second {
		c.violate("deletion: %s starts", id)
	}
	a := c.env.server.JobOf(id)
	if a.Kind != msg.Script {
		return
	}
	if c.alwaysSince(a.ConfirmedAt, func(change configChange) bool { return !change.scripts }) {
		c.violate("capability: script %s runs without the capability", id)
	}
	if c.alwaysSince(a.OfferedAt, func(change configChange) bool { return !change.enabled }) {
		c.violate("disable: script %s runs", id)
	}
}

// isWronglyRefused reports whether a script was refused although the runner had the capability.
func (c *checker) isWronglyRefused(a fakes.JobInfo) bool {
	return strings.Contains(a.Finish.Message, "runs no scripts") && c.alwaysSince(a.ConfirmedAt, func(change configChange) bool { return change.scripts })
}

// checkOrder is called when an executor is created for a job. No earlier script may be waiting then.
func (c *checker) checkOrder(id msg.ExecutionID) {
	delete(c.waitingJobs, id)
	if c.env.server.JobOf(id).Kind == msg.Script || !c.undisturbedFor(time.Minute) {
		return
	}
	for _, other := range slices.Sorted(maps.Keys(c.waitingJobs)) {
		job := c.waitingJobs[other]
		if job.script && time.Since(job.since) > time.Second && c.env.server.JobOf(other).Finish == nil {
			c.violate("order: task %s gets an executor, but script %s has been waiting for %v", id, other, time.Since(job.since))
			return
		}
	}
}
