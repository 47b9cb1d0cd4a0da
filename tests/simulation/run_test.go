package simulation

import (
	"fmt"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"
)

// outcome is the result of one seed.
type outcome struct {
	Seed       uint64
	Violations []string
	Hash       uint64
	Steps      int
	Virtual    time.Duration
	Jobs       int
	Counts     map[string]int
	Tail       string // of trace and log
}

// runSeed runs a seed. It returns the last limit lines of the trace and the log, and the trace's hash if traced is set.
func runSeed(t *testing.T, seed uint64, limit int, traced bool) (o outcome) {
	identity()
	cryptotest.SetGlobalRandom(t, seed)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		tr := newTrace(limit)
		tr.off = limit == 0 && !traced
		e := newEnv(rand.New(rand.NewPCG(seed, 0)), tr)
		e.log.onLine = e.checker.runnerLogged
		e.runHistory()
		o = outcome{Seed: seed, Violations: e.checker.violations, Hash: tr.hash, Steps: e.steps, Virtual: time.Since(began), Jobs: e.checker.tasks, Counts: e.checker.counts}
		o.Tail = tr.tail() + "\n\n" + strings.Join(e.log.lines[max(0, len(e.log.lines)-limit):], "\n")
		e.cleanUp()
	})
	return o
}

// runHistory runs a phase with faults, and then a phase without, in which all jobs must finish.
func (e *env) runHistory() {
	e.loadImages()
	e.submitting = true
	stopped := false
	for _, f := range faults {
		if e.chance(0.4) {
			e.scheduleFault(f, &stopped)
		}
	}
	e.submitTasks(e.randomDuration(20*time.Second, 5*time.Minute))
	e.checker.scheduleTimeChecks()
	e.boot()
	e.runUntil(time.Now().Add(e.randomDuration(10*time.Minute, 90*time.Minute)))
	stopped = true
	e.stopFaults()
	e.waitUntil("the server has everything and the spool is empty", 2*time.Hour, func() bool {
		return e.sys != nil && e.server.CountOpenJobs() == 0 && len(e.server.UnfinishedJobs()) == 0 && len(e.spool.Jobs()) == 0
	})
	e.shutDown()
	if !e.checker.failed() && e.spoolLeftovers() != "" { // another start removes what a faulty disk did not let the runner remove
		e.boot()
		e.runUntil(time.Now().Add(10 * time.Minute))
		e.shutDown()
	}
	if !e.checker.failed() {
		e.checker.checkJobs()
		e.checker.checkNothingLeft()
	}
}

// stopFaults ends all faults.
func (e *env) stopFaults() {
	e.trace.recordf("FAULTS STOP")
	e.conditions = conditions{}
	e.isSuspended = nil
	e.server.Down(nil)
	e.engine.Down(nil)
	e.disk.Space = math.MaxUint64
	e.server.SetSilent(false)
	e.serverConfig.Enabled, e.serverConfig.Capacity, e.serverConfig.Capabilities = true, 4, []string{"remote-script"}
	e.reconfigure()
	e.checker.disturb()
	e.submitting, e.faultsStopped = false, true
}

func (e *env) waitUntil(what string, within time.Duration, condition func() bool) {
	for end := time.Now().Add(within); !e.checker.failed() && !condition(); {
		if !time.Now().Before(end) {
			e.checker.violate("I1: timeout after %v without faults, waiting until %s: %s", within, what, e.describeState())
			return
		}
		e.runUntil(time.Now().Add(10 * time.Second))
	}
}

// shutDown drains the runner and does not start it again.
func (e *env) shutDown() {
	e.shuttingDown = true
	e.drain()
	e.waitUntil("the runner has exited", 10*time.Minute, func() bool { return e.sys == nil })
}

// spoolLeftovers describes what is left in the spool, or returns "" if nothing is.
func (e *env) spoolLeftovers() (left string) {
	if e.wiped {
		return ""
	}
	for _, dir := range []string{"jobs", "executors"} {
		entries, err := e.disk.ReadDir(dir)
		entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), ".preallocated-") })
		if err != nil || len(entries) > 0 {
			left += fmt.Sprintf("%s: %v %v ", dir, entries, err)
		}
	}
	return left
}

// describeState describes the present state for a failure message.
func (e *env) describeState() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d open, unfinished %v, alive %v", e.server.CountOpenJobs(), e.server.UnfinishedJobs(), e.checker.aliveExecutors())
	if e.sys != nil {
		for _, job := range e.spool.Jobs() {
			fmt.Fprintf(&b, "\n  job %s %s in %q, log %+v, ending %+v", job.Execution, job.Stage, job.Executor, job.Log, job.Ending)
		}
		for _, x := range e.spool.Executors() {
			fmt.Fprintf(&b, "\n  executor %s job %q retired %q", x.ID, x.Job, x.Retired)
		}
	}
	return b.String()
}

// cleanUp ends everything that is still running.
func (e *env) cleanUp() {
	if e.process != nil {
		e.process.kill()
	}
	if e.gateway != nil {
		e.gateway.Close()
	}
	e.afterStep, e.isSuspended = func() {}, nil
	e.engine.KillAll()
	for range 1000 { // until all programs have seen that they were killed
		e.timers = nil
		e.run(time.Now())
		if len(e.routines) == 0 {
			return
		}
	}
	for _, r := range e.routines {
		panic("the program " + r.path + " outlives its executor")
	}
}

// checkNothingLeft checks I10: nothing that was created is left behind.
func (c *checker) checkNothingLeft() {
	e := c.env
	if list := e.engine.Containers(); len(list) > 0 {
		c.violate("I10: leftover containers: %v", list)
	}
	if len(c.alive) > 0 {
		c.violate("I10: running containers: %v", c.aliveExecutors())
	}
	if left := e.spoolLeftovers(); left != "" {
		c.violate("I10: left in the spool: %s", left)
	}
}

func addCounts(all map[string]int, hits map[string]int) {
	for what, n := range hits {
		all[what] += n
	}
}

func formatCounts(hits map[string]int) string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(hits)) {
		fmt.Fprintf(&b, "%6d %s\n", hits[what], what)
	}
	return b.String()
}
