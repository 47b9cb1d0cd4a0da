package docker

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"runnerd/tests/harness"
)

// workload is what a runner has before its absence: an idle executor, a job that ends during the absence, and one that ends later.
type workload struct {
	env                       *harness.Env
	notifier                  *harness.Notifier
	idle                      string // executor
	ending, lasting           string // jobs
	endingSteps, lastingSteps int    // of the two jobs
}

const stepTime = 100 * time.Millisecond

func startWorkload(env *harness.Env, absence time.Duration) *workload {
	env.T.Helper()
	c := &workload{env: env, notifier: env.NewNotifier(), endingSteps: 3, lastingSteps: int((absence + 8*time.Second) / stepTime)}
	env.WaitCompleted(c.notifier.SubmitSlow(env, shared.Green, "idle", 1, stepTime))
	c.idle = env.OnlyExecutor()
	c.lasting = c.notifier.SubmitSlow(env, shared.Blue, "lasting", c.lastingSteps, stepTime)
	env.WaitTaskLog(c.lasting, "step 2 of ")
	c.ending = c.notifier.SubmitSlow(env, shared.Blue, "ending", c.endingSteps, max(absence/3, stepTime))
	env.WaitTaskLog(c.ending, "step 2 of ")
	return c
}

// checkUnharmed checks that both jobs ran once, with their results and complete logs, and that the next job runs.
func (c *workload) checkUnharmed() {
	t := c.env.T
	t.Helper()
	later := c.notifier.SubmitSlow(c.env, shared.Green, "later", 1, stepTime)
	c.env.WaitCompleted(later)
	t.Logf("the next job ran in %s, %s was idle", c.env.ExecutorOf(later), c.idle)
	for id, want := range map[string]int{c.ending: c.endingSteps, c.lasting: c.lastingSteps} {
		_, log := c.env.WaitCompleted(id)
		if got := steps(log); len(got) != want || !strings.HasPrefix(got[0], "step 1 ") {
			t.Errorf("%d steps in the log, want %d:\n%s", len(got), want, log)
		}
	}
	for _, name := range []string{"idle", "ending", "lasting", "later"} {
		if n := c.notifier.Count(name); n != 1 {
			t.Errorf("%s ran %d times", name, n)
		}
	}
	c.env.CheckFinishedOnce(c.ending, c.lasting, later)
	c.env.CheckCapacity(3)
}

// Rules 7 and 8 of docs/executor-contract.md with real containers. During the absence the ports refuse connections, unless the service
// manager keeps the sockets open.
func TestExecutorsSurviveAbsenceOfKilledRunner(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		absence time.Duration
		kept    bool // the service manager keeps the sockets open
	}{{absence: 300 * time.Millisecond}, {absence: 5 * time.Second}, {absence: 20 * time.Second}, {absence: 5 * time.Second, kept: true}} {
		t.Run(fmt.Sprintf("%v, sockets kept: %v", row.absence, row.kept), func(t *testing.T) {
			t.Parallel()
			var manager harness.ServiceManager
			if row.kept {
				manager = harness.NewServiceManager(t)
			}
			env := shared.NewEnv(t, harness.Options{Capacity: 3, Eviction: time.Hour, NoRunner: true, Environ: manager.Environ()})
			env.Command = manager.Command(shared.Runnerd)
			env.Start()
			env.WaitReady()
			c := startWorkload(env, row.absence)
			env.Kill()
			<-time.After(row.absence)
			env.Start()
			env.WaitReady()
			c.checkUnharmed()
		})
	}
}

func TestSuspendedRunnerContinuesWithoutEvictions(t *testing.T) {
	t.Parallel()
	const absence = 10 * time.Second
	env := shared.NewEnv(t, harness.Options{Capacity: 3, Eviction: time.Minute})
	c := startWorkload(env, absence)
	env.Signal(syscall.SIGSTOP)
	<-time.After(absence)
	env.Signal(syscall.SIGCONT)
	c.checkUnharmed()
	if l := env.Executors(); len(l.Died) > 0 {
		t.Errorf("executors ended: %v", l.Died)
	}
}
