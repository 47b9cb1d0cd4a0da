package actors_test

import (
	"cmp"
	"time"

	"runnerd/infra/driver/fake"
	msg "runnerd/messages"
)

// checkInvariants says which of the invariants were broken up to now.
func (w *world) checkInvariants() {
	w.t.Helper()
	for _, b := range append(w.server.Breaches(), w.site.Breaches()...) {
		w.t.Errorf("breach of %s", b)
	}
	w.checkCapacity()
	for _, r := range w.site.Runs() {
		want := w.server.AccountOf(r.Execution).Image
		if want = cmp.Or(w.mapped[want], want); want != "" && want != r.Image {
			w.t.Errorf("breach of I6: %s wants image %s and ran in %s", r.Execution, want, r.Image)
		}
	}
}

// checkCapacity counts from the engine's own events.
func (w *world) checkCapacity() {
	w.t.Helper()
	alive := map[msg.ExecutorID]bool{}
	for _, e := range w.engine.Events() {
		switch e.Kind {
		case fake.Created:
			if may := w.capacityAt(e.At); len(alive) >= may {
				w.t.Errorf("breach of I4: %s is created at %v while %d are alive and the capacity is %d", e.Executor, e.At, len(alive), may)
			}
			alive[e.Executor] = true
		case fake.Died, fake.Removed:
			delete(alive, e.Executor)
		case fake.Started:
		}
	}
}

// coming bounds how long an executor is on its way to its container. One that was on its way when the capacity was lowered
// has a job, and goes on.
const coming = time.Minute

// capacityAt is the highest that may have been known when the executor was decided on.
func (w *world) capacityAt(at time.Time) (n int) {
	for i, c := range w.caps {
		over := i+1 < len(w.caps) && w.caps[i+1].at.Before(at.Add(-coming))
		if !over && !c.at.After(at) {
			n = max(n, c.n)
		}
	}
	return n
}

// nothingIsLeft waits until all that the runner made is cleared away, but for the executors that are still alive.
func (w *world) nothingIsLeft() {
	w.t.Helper()
	w.until("the server has everything, and the spool is empty", 5*time.Minute, func() bool {
		executors := len(w.spool.Executors())
		return len(w.server.Unfinished()) == 0 && len(w.spool.Jobs()) == 0 && executors == len(w.alive()) && executors == w.gateway.Doors()
	})
}
