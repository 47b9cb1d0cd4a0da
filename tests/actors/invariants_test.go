package actors_test

import (
	"cmp"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
)

// checkInvariants fails the test for each violation of an invariant so far.
func (e *env) checkInvariants() {
	e.t.Helper()
	for _, b := range append(e.server.Violations(), e.pluginHost.Violations()...) {
		e.t.Errorf("violation of %s", b)
	}
	e.checkCapacity()
	for _, r := range e.pluginHost.Runs() {
		want := e.server.JobOf(r.Execution).Image
		if want = cmp.Or(e.imageMappings[want], want); want != "" && want != r.Image {
			e.t.Errorf("violation of I6: %s wants image %s and ran in %s", r.Execution, want, r.Image)
		}
	}
}

// checkCapacity checks invariant I4. It counts executors by the engine's events.
func (e *env) checkCapacity() {
	e.t.Helper()
	alive := map[msg.ExecutorID]bool{}
	for _, ev := range e.engine.Events() {
		switch ev.Kind {
		case fake.Created:
			if limit := e.capacityAt(ev.At); len(alive) >= limit {
				e.t.Errorf("violation of I4: %s is created at %v while %d are alive and the capacity is %d", ev.Executor, ev.At, len(alive), limit)
			}
			alive[ev.Executor] = true
		case fake.Died, fake.Removed:
			delete(alive, ev.Executor)
		case fake.Started:
		}
	}
}

// startupLimit bounds the time from the decision to start an executor to the creation of its container. An executor whose start was decided
// before the capacity was lowered has a job, so its start continues.
const startupLimit = time.Minute

// capacityAt returns the highest capacity that the runner may have known when it decided to start an executor that was created at that time.
func (e *env) capacityAt(at time.Time) (n int) {
	for i, c := range e.capacities {
		outdated := i+1 < len(e.capacities) && e.capacities[i+1].at.Before(at.Add(-startupLimit))
		if !outdated && !c.at.After(at) {
			n = max(n, c.n)
		}
	}
	return n
}

// awaitCleanup waits until the runner has removed everything that it created, except for the executors that are still alive.
func (e *env) awaitCleanup() {
	e.t.Helper()
	e.until("the server has everything, and the spool is empty", 5*time.Minute, func() bool {
		executors := len(e.spool.Executors())
		return len(e.server.UnfinishedJobs()) == 0 && len(e.spool.Jobs()) == 0 && executors == len(e.alive()) && executors == e.gateway.EndpointCount()
	})
}
