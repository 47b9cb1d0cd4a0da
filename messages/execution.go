package messages

import "time"

// Execution: what one executor hears, in the order of its life: the answers of its driver and its door, and what the
// dispatcher wants of it.

// ToExecutor is what an executor understands.
//
//sumtype:decl
type ToExecutor interface{ toExecutor() }

type (
	// Assign gives it a job. Only an executor that said Idle gets a second one.
	Assign struct {
		Job Job
		Seq uint64
	}
	// Retire ends it: at once without an open job, after its job otherwise.
	Retire struct{ Reason string }
	// AbortJob ends its job by the stop sequence.
	AbortJob struct {
		Execution ExecutionID
		Reason    string
	}

	// Prepared: its job can be read, its directory is there and its door open; or Err, and what is wrong.
	Prepared struct{ Err error }
	// Found: how the engine sees it, after a restart of the actor. Nil: not at all.
	Found struct {
		Container *Container
		Err       error
	}
	// Pulled: its image is there.
	Pulled struct {
		Image ImageID
		Err   error
	}
	// Launched: its container is started.
	Launched struct{ Err error }
	// AtDoor: something happened at its door.
	AtDoor struct{ Visit Visit }
	// DoorLost: the watch at its door has ended.
	DoorLost struct{ Err error }
	// GivenJob: the hand-out is done; or Err, and nothing was handed out. Unreadable: the job can never be run.
	GivenJob struct {
		Execution  ExecutionID
		Env        map[string]string // mode Files only
		Unreadable bool
		Err        error
	}
	// LogsBegun: the engine's log is being read.
	LogsBegun struct{}
	// LogWritten: the spool has more of the job's log.
	LogWritten struct{ Execution ExecutionID }
	// LateOutput came after the end of the log that it belongs to.
	LateOutput struct{ Bytes int }
	// LogsEnded: the engine's log is read to its end; or Err.
	LogsEnded struct{ Err error }
	// LogClosed: the job's log is complete, and those of the jobs before; or Err.
	LogClosed struct {
		Execution ExecutionID
		Closed    []ExecutionID // also with Err
		Err       error
	}
	// Counted: how many processes run in it while it waits; or Err.
	Counted struct {
		Seq       uint64 // of the assignment before
		Processes int
		Err       error
	}
	// Measured: how many bytes of disk it takes, with the job that it had when that was asked; or Err.
	Measured struct {
		Execution ExecutionID
		Bytes     int64
		Err       error
	}
	// NotNoted: the executor's record lacks the time of its first hold, or why it takes no more jobs.
	NotNoted struct{ Err error }
	// JobEnded: the job's ending stands in the spool.
	JobEnded struct {
		Execution ExecutionID
		Ending    Ending
		Err       error
	}
	// StopNoted: how the stop of its job went is in the spool; or Err.
	StopNoted struct {
		Execution ExecutionID
		Err       error
	}
	// Exited: its container has ended; or Err.
	Exited struct {
		Exit Exit
		Err  error
	}
	// Examined: after its exit, its directory was read for a last time and its log to the end.
	Examined struct {
		Closed  []ExecutionID // whose logs are complete now
		Refused string        // why the result that is there cannot be stored
		Err     error
	}
	// Signalled: the signal is sent, as step Step of the stop sequence.
	Signalled struct {
		Step int
		Err  error
	}
	// Removed: nothing of it is left.
	Removed struct {
		Closed []ExecutionID // whose logs are complete now
		Err    error
	}

	// LimitPassed: a state or a wait has lasted too long. Entered tells which visit of that state is meant.
	LimitPassed struct{ Entered uint64 }
	// StopStepDue: the next step of the stop sequence.
	StopStepDue struct{ Step int }
	// LogCloseDue: the executor waits for its next job, since Since, and has been quiet.
	LogCloseDue struct {
		Execution ExecutionID
		Since     time.Time
	}
	// MeasureDue: it is time to look how much disk it takes.
	MeasureDue struct{}
	// RetryDue: a call to the engine or the spool that failed is to be repeated.
	RetryDue struct{ What string }
)

func (Assign) toExecutor()      {}
func (Retire) toExecutor()      {}
func (AbortJob) toExecutor()    {}
func (Prepared) toExecutor()    {}
func (Found) toExecutor()       {}
func (Pulled) toExecutor()      {}
func (Launched) toExecutor()    {}
func (AtDoor) toExecutor()      {}
func (DoorLost) toExecutor()    {}
func (GivenJob) toExecutor()    {}
func (LogsBegun) toExecutor()   {}
func (LogWritten) toExecutor()  {}
func (LateOutput) toExecutor()  {}
func (LogsEnded) toExecutor()   {}
func (LogClosed) toExecutor()   {}
func (Counted) toExecutor()     {}
func (Measured) toExecutor()    {}
func (MeasureDue) toExecutor()  {}
func (NotNoted) toExecutor()    {}
func (JobEnded) toExecutor()    {}
func (StopNoted) toExecutor()   {}
func (Exited) toExecutor()      {}
func (Examined) toExecutor()    {}
func (Signalled) toExecutor()   {}
func (Removed) toExecutor()     {}
func (LimitPassed) toExecutor() {}
func (StopStepDue) toExecutor() {}
func (LogCloseDue) toExecutor() {}
func (RetryDue) toExecutor()    {}

// ExecutorLimits bound each part of an executor's life.
type ExecutorLimits struct {
	Pull   time.Duration // until the image is there
	Start  time.Duration // until the container runs
	PickUp time.Duration // until the plugin asks for its job
	Run    time.Duration // until there is a result; a job's own timeout counts when it is shorter
	Settle time.Duration // after the result, until the plugin asks again or exits
	Abort  time.Duration // after SIGABRT
	Term   time.Duration // after SIGTERM
	Quiet  time.Duration // without output while idle, until the job's log is closed
}
