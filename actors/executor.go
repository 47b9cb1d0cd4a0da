package actors

import (
	"context"
	"fmt"
	"slices"
	"time"

	"runnerd/actors/shell"
	"runnerd/infra/driver"
	msg "runnerd/messages"
)

// Shop is what the dispatcher and its executors work with.
type Shop struct {
	Spool     Spool
	Driver    driver.Driver
	Gateway   Gateway
	Vault     Vault
	NewFilter func(secrets []msg.Secret, midline bool) Filter
	NewID     func() msg.ExecutorID
	Limits    msg.ExecutorLimits
	DiskLimit int64 // bytes that an executor may write; zero: no limit
	LogLimit  int64 // bytes that are kept of a job's log; zero: all
	FilesOnly bool  // the driver's executors cannot reach the gateway's Secrets API
}

// executor is one container for its whole life, from before its create until nothing of it is left. It says what happens to
// the dispatcher, which alone decides that a job comes or that the executor goes.
//
// A crash of this actor leaves the container alone: the next one finds out from the spool, the engine and the gateway where
// it stands, and goes on.
type executor struct {
	Shop
	id         msg.ExecutorID
	dispatcher msg.Receiver[msg.ToDispatcher]
	reporter   msg.Receiver[msg.ToReporter]
	book       *logbook // guarded by its own mutex

	// Owned by Receive.
	record     msg.ExecutorRecord
	seq        uint64
	state      life
	entered    uint64 // counts the states entered, so that a limit belongs to one
	job        *assignment
	held       bool // its GET waits
	sdk        msg.SDK
	retire     string    // why it takes no more jobs
	exit       *msg.Exit // seen
	logsEnded  bool
	readsSince time.Time // zero: its output is not being read
	inFlight   bool      // directory or container is being made: that must not be overtaken
	observed   bool      // the container's output and end are followed
	pullTask   shell.Task
	attached   bool           // it has lived before this actor
	measuring  bool           // its disk is looked at, or will be
	foreign    int64          // bytes, too many, that its last job need not have written
	failed     map[string]int // times in a row, by call
}

// assignment is the executor's job until its ending is in the spool.
type assignment struct {
	job     msg.Job
	given   bool          // handed out, by the journal
	since   time.Time     // then, for an actor that came later; zero: just now
	giving  bool          // being handed out
	abort   string        // asked for while it was being handed out
	verdict *msg.Ending   // how it is to end, whatever the plugin does now
	stop    *stopSequence // it has that, and its plugin is being stopped
}

func newExecutor(shop Shop, rec msg.ExecutorRecord, seq uint64, dispatcher msg.Receiver[msg.ToDispatcher], reporter msg.Receiver[msg.ToReporter]) *executor {
	return &executor{Shop: shop, id: rec.ID, record: rec, seq: seq, dispatcher: dispatcher, reporter: reporter, failed: map[string]int{},
		book: &logbook{spool: shop.Spool, executor: rec.ID, newFilter: shop.NewFilter, limit: shop.LogLimit}}
}

// Start looks in the spool: an executor that has a record there has lived before.
func (e *executor) Start(c *shell.Ctx[msg.ToExecutor]) {
	for _, rec := range e.Spool.Executors() {
		if rec.ID == e.id {
			e.record = rec
			e.attach(c)
			return
		}
	}
	e.enter(c, pulling)
}

func (e *executor) Receive(c *shell.Ctx[msg.ToExecutor], m msg.ToExecutor) {
	if e.job != nil {
		c.About(string(e.job.job.Execution))
	}
	switch m := m.(type) {
	case msg.Assign:
		c.About(string(m.Job.Execution))
		e.assign(c, m)
	case msg.Retire:
		e.retireFor(c, m.Reason)
	case msg.AbortJob:
		e.abort(c, m)
	case msg.Prepared:
		e.prepared(c, m.Err)
	case msg.Pulled:
		e.pulled(c, m)
	case msg.Launched:
		e.launched(c, m.Err)
	case msg.Found:
		e.found(c, m)
	case msg.AtDoor:
		delete(e.failed, "door")
		e.atDoor(c, m.Visit)
	case msg.DoorLost:
		e.holdLost(c)
		e.retry(c, "door", m.Err)
	case msg.GivenJob:
		e.given(c, m)
	case msg.LogsBegun:
		e.readsSince = time.Now()
	case msg.LogWritten:
		delete(e.failed, "logs")
		if e.state == gone && !e.logsEnded { // the rest still comes
			e.limit(c, afterExit)
		}
		e.reporter.Tell(msg.Report{Execution: m.Execution})
	case msg.LateOutput:
		c.Log().Warn().Str("executor", string(e.id)).Int("bytes", m.Bytes).Msg("output of an executor that waits belongs to no job any more: it is dropped")
	case msg.LogsEnded:
		e.logsRead(c, m.Err)
	case msg.LogCloseDue:
		e.closeLog(c, m)
	case msg.LogClosed:
		e.logClosed(c, m)
	case msg.Counted:
		c.Log().Debug().Err(m.Err).Str("executor", string(e.id)).Int("processes", m.Processes).Msg("processes counted")
		if m.Err == nil {
			e.dispatcher.Tell(msg.ProcessesCounted{Executor: e.id, Seq: m.Seq, Processes: m.Processes})
		}
	case msg.MeasureDue:
		e.measure(c)
	case msg.Measured:
		e.measured(c, m)
	case msg.NotNoted:
		c.Log().Warn().Err(m.Err).Str("executor", string(e.id)).Msg("a restart will not know this of the executor")
	case msg.JobEnded:
		e.ended(c, m)
	case msg.StopNoted:
		e.stopNoted(c, m)
	case msg.Exited:
		e.exited(c, m)
	case msg.Examined:
		e.examined(c, m)
	case msg.Signalled:
		e.signalled(c, m)
	case msg.StopStepDue:
		e.signal(c, m.Step)
	case msg.Removed:
		e.removed(c, m)
	case msg.LimitPassed:
		if m.Entered == e.entered {
			e.limitPassed(c)
		}
	case msg.RetryDue:
		e.again(c, m.What)
	}
}

// enter changes the state and arms its time limit.
func (e *executor) enter(c *shell.Ctx[msg.ToExecutor], to life) {
	if !e.state.mayBecome(to) {
		panic(fmt.Sprintf("executor: %q cannot become %q", e.state, to))
	}
	line := c.Log().Debug().Str("executor", string(e.id)).Str("from", string(e.state)).Str("to", string(to))
	if e.job != nil {
		line = line.Str("job", string(e.job.job.Execution))
	}
	line.Msg("executor changes")
	e.state = to
	e.limit(c, e.limitOf(to))
	if to.works() {
		e.measureLater(c)
	}
}

// limit lets the current state last no longer than d from now; zero: as long as it likes.
func (e *executor) limit(c *shell.Ctx[msg.ToExecutor], d time.Duration) {
	e.entered++
	c.Cancel("limit")
	if d > 0 {
		c.After("limit", d, msg.LimitPassed{Entered: e.entered})
	}
}

func (e *executor) limitOf(s life) time.Duration {
	switch s {
	case pulling:
		return e.Limits.Pull
	case running:
		return left(e.runLimit(), e.job.since, time.Now())
	case settling:
		return e.Limits.Settle
	case unborn, starting, idle, stopping, gone: // the launch has a limit of its own
	}
	return 0
}

func (e *executor) runLimit() time.Duration {
	if own := e.job.job.Timeout; own > 0 && (e.Limits.Run == 0 || own < e.Limits.Run) {
		return own
	}
	return e.Limits.Run
}

// runGrace is what an actor that comes to a running job leaves it at least.
const runGrace = time.Minute

// left is what remains of the limit of a job that was handed out at since, by the wall clock: it is all that a restart leaves.
// That clock may have been set meanwhile. Back: then nothing has passed. Ahead: then no more than all but the grace, in which
// a result that is there or on its way is taken first. A crash loop that is quicker than the grace is given up anyway.
func left(limit time.Duration, since, now time.Time) time.Duration {
	if since.IsZero() {
		return limit
	}
	return min(limit, max(limit-now.Sub(since), runGrace))
}

// observe follows the container: its door, its output, its end.
func (e *executor) observe(c *shell.Ctx[msg.ToExecutor]) {
	e.observed = true
	e.watchDoor(c)
	e.readLogs(c)
	e.wait(c)
}

func (e *executor) watchDoor(c *shell.Ctx[msg.ToExecutor]) {
	gateway, id := e.Gateway, e.id
	c.Stream("door", 16, func(ctx context.Context, emit func(msg.ToExecutor) error) msg.ToExecutor {
		return msg.DoorLost{Err: gateway.Watch(ctx, id, func(v msg.Visit) error { return emit(msg.AtDoor{Visit: v}) })}
	})
}

func (e *executor) wait(c *shell.Ctx[msg.ToExecutor]) {
	drv, id := e.Driver, e.id
	c.Go("wait", func(ctx context.Context) msg.ToExecutor {
		exit, err := drv.Wait(ctx, id)
		return msg.Exited{Exit: exit, Err: err}
	})
}

// retry repeats an engine or gateway call that failed: for as long as it takes, since an error says nothing about the
// executor.
func (e *executor) retry(c *shell.Ctx[msg.ToExecutor], what string, err error) {
	if e.state == gone && !slices.Contains([]string{"logs", "ending", "examination", "removal"}, what) {
		return
	}
	e.failed[what]++
	wait := towardsEngine.after(e.failed[what], c.Chance())
	c.Log().Warn().Err(err).Str("executor", string(e.id)).Int("attempt", e.failed[what]).Dur("retry", wait).Msg(what + " is repeated")
	c.After("retry "+what, wait, msg.RetryDue{What: what})
}

func (e *executor) again(c *shell.Ctx[msg.ToExecutor], what string) {
	switch what {
	case "find":
		e.find(c)
	case "door":
		e.watchDoor(c)
	case "logs":
		if !e.logsEnded {
			e.readLogs(c)
		}
	case "wait":
		e.wait(c)
	case "hand-out":
		if e.held && e.job != nil && !e.job.given && !e.job.giving && e.job.verdict == nil {
			e.give(c)
		}
	case "ending":
		if e.job != nil && e.job.verdict != nil { // else a result came first, and maybe the next job
			e.conclude(c, *e.job.verdict)
		}
	case "kill":
		e.signal(c, killStep)
	case "examination":
		e.examine(c)
	case "removal":
		e.remove(c)
	}
}
