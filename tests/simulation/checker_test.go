package simulation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
	"runnerd/spool"
	"runnerd/tests/fakes"
)

// checker checks the invariants. It is notified of everything within the action in which it happens.
type checker struct {
	env        *env
	violations []string
	counts     map[string]int
	tasks      int

	disturbedUntil  time.Time // end of the last fault
	events          int       // number of the engine's events checked so far
	alive           map[msg.ExecutorID]bool
	capacityHistory []capacityChange             // as the runner knew it
	decidedAt       map[msg.ExecutorID]time.Time // when the runner decided to create the executor
	idleSince       map[msg.ExecutorID]time.Time // first poll after its last job
	isPolling       map[msg.ExecutorID]bool
	killedOutside   map[msg.ExecutorID]bool            // a fault has ended, removed or restarted it
	idleTimeUnsure  map[msg.ExecutorID]bool            // the idle time in its record may be wrong
	outputLost      map[msg.ExecutorID]string          // why its output may be incomplete
	runs            map[msg.ExecutionID]msg.ExecutorID // in which executor it ran
	printed         map[msg.ExecutionID]string         // what its plugin printed
	stored          map[msg.ExecutionID]time.Time      // when its result was stored
	scripts         map[msg.JobID]string               // their output in the runner's log

	// the event stream
	config        msg.Config // the runner's present configuration
	configSince   time.Time
	configHistory []configChange
	stoppedAt     map[msg.ExecutionID]time.Time  // by an event, without faults since
	waitingJobs   map[msg.ExecutionID]waitingJob // for an executor
	deletion      deletion
	unreported    map[msg.ExecutionID]bool // left in the spool when the runner was deleted
}

type capacityChange struct {
	from time.Time
	n    int
}

var _ fakes.Observer = (*checker)(nil)

func newChecker(e *env) *checker {
	return &checker{env: e, counts: map[string]int{}, alive: map[msg.ExecutorID]bool{}, decidedAt: map[msg.ExecutorID]time.Time{}, idleSince: map[msg.ExecutorID]time.Time{},
		outputLost: map[msg.ExecutorID]string{}, runs: map[msg.ExecutionID]msg.ExecutorID{}, printed: map[msg.ExecutionID]string{}, stored: map[msg.ExecutionID]time.Time{},
		isPolling: map[msg.ExecutorID]bool{}, idleTimeUnsure: map[msg.ExecutorID]bool{}, scripts: map[msg.JobID]string{},
		stoppedAt: map[msg.ExecutionID]time.Time{}, waitingJobs: map[msg.ExecutionID]waitingJob{}, unreported: map[msg.ExecutionID]bool{}, killedOutside: map[msg.ExecutorID]bool{}}
}

func (c *checker) violate(format string, args ...any) {
	violation := fmt.Sprintf(format, args...)
	c.env.trace.recordf("VIOLATION of %s", violation)
	c.violations = append(c.violations, violation)
}

func (c *checker) failed() bool { return len(c.violations) > 0 }

func (c *checker) count(what string) { c.counts[what]++ }

func (c *checker) nextTask() int { c.tasks++; return c.tasks }

// recordDelay is the longest time, during faults, until an executor's record has its idle time.
const recordDelay = 15 * time.Second

// disturb records that a fault occurs now. Time limits do not hold during a fault, nor for a while after it.
func (c *checker) disturb() { c.disturbFor(0) }

// disturbFor records that a fault begins now and lasts for d.
func (c *checker) disturbFor(d time.Duration) {
	for id, since := range c.idleSince {
		c.idleTimeUnsure[id] = c.idleTimeUnsure[id] || time.Since(since) < recordDelay
	}
	clear(c.stoppedAt)
	clear(c.waitingJobs)
	if until := time.Now().Add(d); until.After(c.disturbedUntil) {
		c.disturbedUntil = until
	}
}

// undisturbedFor reports whether there was no fault for d.
func (c *checker) undisturbedFor(d time.Duration) bool { return time.Since(c.disturbedUntil) > d }

// check is called after every step. It collects the violations that the fakes have found, and checks the engine's new events.
func (c *checker) check() {
	for _, v := range c.env.server.Violations() {
		c.violate("%s", v)
	}
	for _, v := range c.env.host.Violations() {
		c.violate("%s", v)
	}
	if events := c.env.engine.EventsFrom(c.events); len(events) > 0 {
		c.events += len(events)
		for _, e := range events {
			c.event(e)
		}
	}
}

// event records which executors are alive, from an event of the engine, and checks I4.
func (c *checker) event(e fake.Event) {
	switch e.Kind {
	case fake.Created:
		if capacity := c.capacitySince(c.decidedAt[e.Executor]); len(c.alive) >= capacity {
			c.violate("I4: %s is created while %v are alive, but the capacity is %d", e.Executor, c.aliveExecutors(), capacity)
		}
		c.alive[e.Executor] = true
	case fake.Died, fake.Removed:
		delete(c.alive, e.Executor)
		delete(c.idleSince, e.Executor)
	case fake.Started:
	}
}

// capacitySince returns the highest capacity that the runner may have had since t.
func (c *checker) capacitySince(t time.Time) (n int) {
	for i, change := range c.capacityHistory {
		if last := i+1 == len(c.capacityHistory); last || !c.capacityHistory[i+1].from.Before(t.Add(-time.Second)) {
			n = max(n, change.n)
		}
	}
	return n
}

func (c *checker) executorDecided(id msg.ExecutorID) { c.decidedAt[id] = time.Now() }

func (c *checker) aliveExecutors() []msg.ExecutorID { return slices.Sorted(maps.Keys(c.alive)) }

// JobStarted implements fakes.Observer.
func (c *checker) JobStarted(r fakes.Run) {
	c.env.trace.recordf("%s starts %s", r.Executor, r.Execution)
	c.runs[r.Execution] = r.Executor
	delete(c.idleSince, r.Executor)
	delete(c.waitingJobs, r.Execution)
	c.checkJobStart(r.Execution)
	if !c.env.server.IsExecutionConfirmed(r.Execution) {
		c.violate("I3: %s runs but is not confirmed", r.Execution)
	}
	if want := c.env.server.JobOf(r.Execution).Image; want != r.Image {
		c.violate("I6: %s needs image %s but runs in %s of %s", r.Execution, want, r.Executor, r.Image)
	}
}

func (c *checker) Printed(of msg.ExecutionID, text string) { c.printed[of] += text }

// PollStarted implements fakes.Observer. The first poll after a job starts the idle time.
func (c *checker) PollStarted(id msg.ExecutorID) {
	c.isPolling[id] = true
	if c.idleSince[id].IsZero() {
		c.idleSince[id] = time.Now()
		c.idleTimeUnsure[id] = !c.undisturbedFor(recordDelay)
	}
}

// PollAnswered implements fakes.Observer. Only a job ends the idle time.
func (c *checker) PollAnswered(id msg.ExecutorID, job msg.ExecutionID) {
	c.isPolling[id] = false
	if job != "" {
		delete(c.idleSince, id)
	}
}

func (c *checker) PollLost(id msg.ExecutorID) { c.isPolling[id] = false }

// ResultDelivered implements fakes.Observer. An accepted result must be stored, unless the job had ended before.
func (c *checker) ResultDelivered(id msg.ExecutionID) {
	if rec, ok := c.env.spool.Job(id); ok && rec.Stage < msg.Ended {
		c.violate("I1: the result of %s was accepted but is not stored", id)
	}
}

// setOutputLost records that the output of an executor may be incomplete.
func (c *checker) setOutputLost(id msg.ExecutorID, why string) { c.outputLost[id] = why }

func (c *checker) powerLost() {
	for id := range c.alive {
		c.setOutputLost(id, "power")
	}
}

// spoolOpened checks the problems that a reopened spool reports. Data must not be lost, except for results that were not yet stored.
func (c *checker) spoolOpened(s *spool.Spool) {
	for _, p := range s.Problems() {
		if p.What != "leftover" && p.What != "journal" && (p.What != "result" || !c.stored[p.Job].IsZero()) {
			c.violate("durability: the spool could not read a %s (%s): %v", p.What, p.Name, p.Err)
		}
	}
}

// scheduleTimeChecks schedules a check of the time limits every 5 s.
func (c *checker) scheduleTimeChecks() {
	c.env.schedule(5*time.Second, "time checks", func() {
		if c.env.sys != nil {
			c.checkIdleTime()
			c.checkControl()
			c.checkDeletionTime()
		}
		if c.undisturbedFor(2 * time.Minute) {
			c.checkAbortTime()
		}
		c.scheduleTimeChecks()
	})
}

// checkIdleTime checks one half of I5: an idle executor is evicted when its eviction time has passed. A fault just before may delay this.
func (c *checker) checkIdleTime() {
	stopping := map[msg.ExecutorID]bool{} // a restarted plugin polls during the grace times of its job
	for _, job := range c.env.spool.Jobs() {
		stopping[job.Executor] = stopping[job.Executor] || job.Stopping()
	}
	for _, id := range slices.Sorted(maps.Keys(c.idleSince)) {
		if stopping[id] {
			continue
		}
		due := c.idleSince[id].Add(c.config.Eviction)
		if due.Before(c.configSince) {
			due = c.configSince
		}
		late, undisturbed := time.Since(due), due.Sub(c.disturbedUntil) > 10*time.Second
		if c.isPolling[id] && (late > 2*time.Second && undisturbed && !c.idleTimeUnsure[id] || late > 2*time.Minute && c.undisturbedFor(2*time.Minute)) {
			c.violate("I5: %s has been idle for %v, but the eviction time is %v", id, time.Since(c.idleSince[id]), c.config.Eviction)
		}
	}
}

// checkAbortTime checks I11: an aborted job ends in time.
func (c *checker) checkAbortTime() {
	for _, a := range c.env.server.Jobs() {
		if a.Aborted && a.Confirmed && a.Finish == nil && !a.Forgotten {
			c.violate("I11: %s was aborted more than 2 min ago but has no finish", a.ID)
		}
	}
}

// logLine has the fields of a line of the runner's log that the checker reads.
type logLine struct {
	Message, Executor, Reason, Script, Execution string
	Enabled                                      bool
	Capacity                                     int
	Eviction                                     int64 // ms
	Capabilities                                 []string
}

// runnerLogged processes a line of the runner's log.
func (c *checker) runnerLogged(line []byte) {
	if bytes.Contains(line, []byte("hunter2")) {
		c.violate("I8: secret in the runner's log: %s", line)
	}
	var s logLine
	if json.Unmarshal(line, &s) != nil {
		return
	}
	executor, execution := msg.ExecutorID(s.Executor), msg.ExecutionID(s.Execution)
	switch claim, idle := strings.CutPrefix(s.Reason, "it has been idle for "); {
	case idle && s.Message == "evicting executor":
		c.checkEviction(executor, claim)
	case s.Message == "could not update the executor's record; a restart will miss its last change":
		c.idleTimeUnsure[executor] = true
	case s.Message == "engine did not deliver the rest of the executor's output":
		c.setOutputLost(executor, "the engine did not deliver it")
	case strings.HasPrefix(s.Message, "actors of an executor keep crashing"): // so its output may not have been read
		c.setOutputLost(executor, "it was given up")
	case s.Message == "registered" || s.Message == "configuration received":
		c.configChanged(msg.Config{Enabled: s.Enabled, Capacity: s.Capacity, Eviction: time.Duration(s.Eviction) * time.Millisecond, Capabilities: s.Capabilities})
	case s.Message == "job confirmed":
		c.waitingJobs[execution] = waitingJob{time.Now(), c.env.server.JobOf(execution).Kind == msg.Script}
	case s.Message == "job ended":
		delete(c.waitingJobs, execution)
	case s.Message == "starting executor":
		c.checkOrder(execution)
	case s.Message == deletionMessage:
		c.deletionBegan()
	case s.Script != "":
		c.scripts[msg.JobID(s.Script)] += s.Message + "\n"
	}
}

// checkEviction checks the other half of I5: an executor is not evicted before its eviction time has passed.
func (c *checker) checkEviction(id msg.ExecutorID, claim string) {
	d, err := time.ParseDuration(claim)
	if since := c.idleSince[id]; err != nil || !since.IsZero() && !c.killedOutside[id] && time.Since(since) < d {
		c.violate("I5: %s is evicted after %v, but the eviction time is %s", id, time.Since(since), claim)
	}
}

// checkJobs checks the finish and the log of every job at the end.
func (c *checker) checkJobs() {
	for _, a := range c.env.server.Jobs() {
		c.checkFinish(a)
		c.checkJobLog(a)
	}
}

func (c *checker) checkFinish(a fakes.JobInfo) {
	id := a.Execution
	switch {
	case a.Forgotten || a.Abandoned:
	case a.Confirmed && a.Finish == nil:
		c.violate("I1: %s is confirmed but has no finish", a.ID)
	case a.Finish == nil && !a.Aborted:
		c.violate("I1: %s was never confirmed", a.ID)
	case a.Finish == nil:
	case !c.stored[id].IsZero() && a.Finish.Outcome == msg.Failed:
		c.violate("I1: the result of %s was stored, but the job failed: %s", a.ID, a.Finish.Message)
	case c.isWronglyRefused(a):
		c.violate("capability: script %s was refused: %s", a.ID, a.Finish.Message)
	case c.runs[id] == "" && a.Finish.Result != "":
		c.violate("I9: %s has a result but never ran", a.ID)
	case strings.Contains(a.Finish.Message, "the plugin was killed (signal 9)") && c.runs[id] != "" && !c.killedOutside[c.runs[id]] && c.outputLost[c.runs[id]] == "":
		c.violate("I4: the executor of %s was killed by the runner", a.ID)
	case strings.Contains(a.Finish.Message, "hunter2"):
		c.violate("I8: secret in the message of %s: %q", a.ID, a.Finish.Message)
	}
}

// checkJobLog checks I7 and I8: a job's log is its output, in order and complete, without its secret.
func (c *checker) checkJobLog(a fakes.JobInfo) {
	if a.Finish == nil || a.Forgotten || a.Abandoned {
		return
	}
	if c.unreported[a.Execution] {
		c.outputLost[c.runs[a.Execution]] = "the runner was deleted"
	}
	want := strings.ReplaceAll(c.printed[a.Execution], a.Secret, "********")
	got, timed := fakes.JobOutput(a.Log)
	for _, foreign := range []string{"good day\n", "still waiting\n"} { // printed at the start or while idle, for no job
		got = strings.ReplaceAll(got, foreign, "")
	}
	executor := c.runs[a.Execution]
	switch {
	case a.Kind == msg.Script:
		c.checkScriptLog(a.ID, want, executor)
	case strings.Contains(a.Log, "hunter2"):
		c.violate("I8: secret in the log of %s: %q", a.ID, a.Log)
	case !timed:
		c.violate("the log of %s has a line without a time or with two: %q", a.ID, a.Log)
	case !a.LogComplete && !c.unreported[a.Execution]:
		c.violate("I7: the log of %s is not complete", a.ID)
	case !strings.HasPrefix(want, got):
		c.violate("I7: %s printed %q, but its log is %q", a.ID, want, got)
	case got != want && c.outputLost[executor] == "":
		c.violate("I7: %s printed %q in %s, but its log is only %q", a.ID, want, executor, got)
	}
}

// checkScriptLog checks a script's output, which is in the runner's log. A crash may repeat lines there.
func (c *checker) checkScriptLog(id msg.JobID, want string, executor msg.ExecutorID) {
	for line := range strings.Lines(want) {
		if !strings.Contains(c.scripts[id], line) && c.outputLost[executor] == "" {
			c.violate("I7: script %s printed %q, which is not in the runner's log", id, line)
			return
		}
	}
}
