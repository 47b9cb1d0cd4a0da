package docker

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"runnerd/tests/rig"
)

// crew is what a runner has when something happens to it: an executor that is idle, a job that ends during the absence, and one
// that goes on beyond it.
type crew struct {
	w                  *rig.World
	bell               *rig.Bell
	idle               string // executor
	ending, lasting    string // jobs
	endSteps, allSteps int
}

const stepTime = 100 * time.Millisecond

func newCrew(w *rig.World, absence time.Duration) *crew {
	w.T.Helper()
	c := &crew{w: w, bell: w.Bell(), endSteps: 3, allSteps: int((absence + 8*time.Second) / stepTime)}
	w.Completed(c.bell.Ring(w, shop.Green, "idle", 1, stepTime))
	c.idle = w.Only()
	c.lasting = c.bell.Ring(w, shop.Blue, "lasting", c.allSteps, stepTime)
	w.Says(c.lasting, "step 2 of ")
	c.ending = c.bell.Ring(w, shop.Blue, "ending", c.endSteps, max(absence/3, stepTime))
	w.Says(c.ending, "step 2 of ")
	return c
}

// isUnharmed: both jobs have run once, have their results and whole logs, and the next job runs.
func (c *crew) isUnharmed() {
	t := c.w.T
	t.Helper()
	later := c.bell.Ring(c.w, shop.Green, "later", 1, stepTime)
	c.w.Completed(later)
	t.Logf("the next job ran in %s, %s was idle", c.w.ExecutorOf(later), c.idle)
	for id, want := range map[string]int{c.ending: c.endSteps, c.lasting: c.allSteps} {
		_, log := c.w.Completed(id)
		if got := steps(log); len(got) != want || !strings.HasPrefix(got[0], "step 1 ") {
			t.Errorf("%d steps in the log, want %d:\n%s", len(got), want, log)
		}
	}
	for _, name := range []string{"idle", "ending", "lasting", "later"} {
		if n := c.bell.Rings(name); n != 1 {
			t.Errorf("%s ran %d times", name, n)
		}
	}
	c.w.FinishedOnce(c.ending, c.lasting, later)
	c.w.NoMoreThan(3)
}

// Rules 7 and 8 with real containers: meanwhile the ports refuse, or the service manager keeps the sockets.
func TestExecutorsComeThroughTheAbsenceOfAKilledRunner(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		absence time.Duration
		kept    bool
	}{{absence: 300 * time.Millisecond}, {absence: 5 * time.Second}, {absence: 20 * time.Second}, {absence: 5 * time.Second, kept: true}} {
		t.Run(fmt.Sprintf("%v, sockets kept: %v", row.absence, row.kept), func(t *testing.T) {
			t.Parallel()
			var manager rig.Manager
			if row.kept {
				manager = rig.KeepSockets(t)
			}
			w := shop.World(t, rig.Plan{Capacity: 3, Eviction: time.Hour, NoRunner: true, Env: manager.Env()})
			w.Command = manager.Run(shop.Runnerd)
			w.Start()
			w.Ready()
			c := newCrew(w, row.absence)
			w.Kill()
			<-time.After(row.absence)
			w.Start()
			w.Ready()
			c.isUnharmed()
		})
	}
}

func TestARunnerThatWasStoppedForAWhileGoesOnAndEvictsNobody(t *testing.T) {
	t.Parallel()
	const absence = 10 * time.Second
	w := shop.World(t, rig.Plan{Capacity: 3, Eviction: time.Minute})
	c := newCrew(w, absence)
	w.Signal(syscall.SIGSTOP)
	<-time.After(absence)
	w.Signal(syscall.SIGCONT)
	c.isUnharmed()
	if l := w.Lives(); len(l.Died) > 0 {
		t.Errorf("executors ended: %v", l.Died)
	}
}
