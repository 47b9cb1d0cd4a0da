package messages

import "time"

// Execution: what one executor hears, in the order of its life: what the dispatcher wants of it, what its driver answers, and
// what its plugin does (session.go).

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

	// Prepared tells that its job can be read, that its directory is there, and that the gateway lets it in; or Err.
	Prepared struct{ Err error }
	// Restored tells that the gateway serves its plugin again, after a restart of the actor; or Err. HasFile: there is a result file.
	Restored struct {
		HasFile bool
		Err     error
	}
	// Found is how the engine sees it after a restart of the actor; nil: there is no such container.
	Found struct {
		Container *Container
		Restarted bool // its process is not the one that was started last
		Err       error
	}
	// Pulled tells that its image is there; or Err.
	Pulled struct {
		Image ImageID
		Err   error
	}
	// Launched tells that its container runs; or Err.
	Launched struct{ Err error }
	// RequestsLost tells that nobody hears any more what its plugin does at the gateway.
	RequestsLost struct{ Err error }
	// HandOutDone tells that the job is its plugin's; or Err, and it was not handed out. Unreadable: the job can never be run.
	HandOutDone struct {
		Execution  ExecutionID
		Request    RequestID
		HandOuts   int               // of the job so far, in other executors too
		Env        map[string]string // mode Files only
		Unreadable bool
		Err        error
	}
	// InputRead tells that the input of the open job could be read once more for a GET; or Err.
	InputRead struct {
		Execution ExecutionID
		Request   RequestID
		Err       error
	}
	// ResultStored tells what became of a result that came by callback, in Request. Kept: the job has it now. Err: it is to be
	// tried again.
	ResultStored struct {
		Execution ExecutionID
		Request   RequestID
		Result    Result // its Body left out, except with Err
		Stored    bool
		Err       error
	}
	// FileRead tells what was in the result file for the open job. Kept: a result was, and the job has it now.
	FileRead struct {
		Execution ExecutionID
		Delivery  // the Body of its Result left out
		Stored    bool
		Err       error
	}
	// ResultsCleared tells that nothing of the job before is left in the result directory.
	ResultsCleared struct{}
	// VersionRecorded tells that the version of the Secret that is to be shown is in the executor's record; or Err.
	VersionRecorded struct {
		Version uint64
		Err     error
	}
	// LogsStarted tells that the engine's log is being read.
	LogsStarted struct{}
	// LogWritten tells that the spool has more of the job's log.
	LogWritten struct{ Execution ExecutionID }
	// LateOutput came after the end of the log that it belongs to.
	LateOutput struct{ Bytes int }
	// LogsEnded tells that the engine's log is read to its end; or Err. Ours: the spool failed, not the engine.
	LogsEnded struct {
		Err  error
		Ours bool
	}
	// LogClosed tells that the job's log is complete, and those of the jobs before; or Err. Wait: it is too early, try again then.
	LogClosed struct {
		Execution ExecutionID
		Closed    []ExecutionID // also with Err
		Since     time.Time     // with Wait: of the LogCloseDue
		Wait      time.Duration
		Err       error
	}
	// ProcessCount tells how many processes run in it while it waits; or Err.
	ProcessCount struct {
		Seq       uint64 // of the assignment before
		Processes int
		Err       error
	}
	// DiskMeasured tells how many bytes of disk it takes, with the job that it had when that was asked; or Err.
	DiskMeasured struct {
		Execution ExecutionID
		Bytes     int64
		Err       error
	}
	// RecordNotUpdated tells that the executor's record lacks something that only a restart would need.
	RecordNotUpdated struct{ Err error }
	// JobEnded tells that the job's ending stands in the spool; or Err. Gone: the spool has the job no more.
	JobEnded struct {
		Execution ExecutionID
		Ending    Ending
		HasResult bool
		Removed   bool
		Err       error
	}
	// StopRecorded tells that the spool knows how the stop of its job went; or Err.
	StopRecorded struct {
		Execution ExecutionID
		Err       error
	}
	// Exited tells that its container has ended; or Err.
	Exited struct {
		Exit Exit
		Err  error
	}
	// Examined tells that after its exit its directory was read for a last time, and its log to the end; or Err.
	Examined struct {
		Closed       []ExecutionID // whose logs are complete now
		Refused      string        // why the result that is there cannot be stored
		HasEnding    bool          // its job has its ending
		NotHandedOut bool          // its job was proven not to have started, and may go elsewhere
		Abort        string        // why its job is to be aborted; empty: it is not
		HandOuts     int           // of its job, when it was examined
		Err          error
	}
	// Signalled tells that the signal was sent, as step Step of the stop sequence; or Err.
	Signalled struct {
		Step    int
		Elapsed time.Duration // since the ending of the job was decided
		Err     error
	}
	// Removed tells that nothing of it is left; or Err.
	Removed struct {
		Closed []ExecutionID // whose logs are complete now
		Err    error
	}

	// LimitPassed tells that a state, or a wait, has lasted too long.
	LimitPassed struct{}
	// PollDue tells that its plugin should have asked for a job by now.
	PollDue struct{}
	// DeliveryDue tells that its plugin's machine has not acknowledged its job.
	DeliveryDue struct{}
	// NotifyDue tells that an event may be sent to its plugin now.
	NotifyDue struct{}
	// StopStepDue is the next step of the stop sequence.
	StopStepDue struct{ Step int }
	// LogCloseDue: the executor waits for its next job, since Since, and has been quiet.
	LogCloseDue struct {
		Execution ExecutionID
		Since     time.Time
	}
	// CheckDiskDue: it is time to measure how much disk it takes.
	CheckDiskDue struct{}
	// RetryDue: a call that failed is to be repeated.
	RetryDue struct{ What Retry }
)

// Retry is a call of an executor that is repeated until it succeeds.
type Retry string

const (
	RetryRestore  Retry = "restore executor"
	RetryFind     Retry = "find container"
	RetryRequests Retry = "listen to requests"
	RetryLogs     Retry = "read logs"
	RetryWait     Retry = "wait for exit"
	RetryHandOut  Retry = "hand out job"
	RetryNotify   Retry = "note version"
	RetryStore    Retry = "store result"
	RetryFile     Retry = "read result file"
	RetryEnding   Retry = "end job"
	RetryKill     Retry = "kill"
	RetryExamine  Retry = "examine executor"
	RetryRemove   Retry = "remove executor"
)

func (Assign) toExecutor()            {}
func (Retire) toExecutor()            {}
func (AbortJob) toExecutor()          {}
func (Prepared) toExecutor()          {}
func (Restored) toExecutor()          {}
func (Found) toExecutor()             {}
func (Pulled) toExecutor()            {}
func (Launched) toExecutor()          {}
func (SDKDetected) toExecutor()       {}
func (SecretRequested) toExecutor()   {}
func (SecretListed) toExecutor()      {}
func (WatchOpened) toExecutor()       {}
func (RequestEnded) toExecutor()      {}
func (CallbackReceived) toExecutor()  {}
func (ResultFileChanged) toExecutor() {}
func (Delivered) toExecutor()         {}
func (RequestsLost) toExecutor()      {}
func (HandOutDone) toExecutor()       {}
func (InputRead) toExecutor()         {}
func (ResultStored) toExecutor()      {}
func (FileRead) toExecutor()          {}
func (ResultsCleared) toExecutor()    {}
func (VersionRecorded) toExecutor()   {}
func (LogsStarted) toExecutor()       {}
func (LogWritten) toExecutor()        {}
func (LateOutput) toExecutor()        {}
func (LogsEnded) toExecutor()         {}
func (LogClosed) toExecutor()         {}
func (ProcessCount) toExecutor()      {}
func (DiskMeasured) toExecutor()      {}
func (RecordNotUpdated) toExecutor()  {}
func (JobEnded) toExecutor()          {}
func (StopRecorded) toExecutor()      {}
func (Exited) toExecutor()            {}
func (Examined) toExecutor()          {}
func (Signalled) toExecutor()         {}
func (Removed) toExecutor()           {}
func (LimitPassed) toExecutor()       {}
func (PollDue) toExecutor()           {}
func (DeliveryDue) toExecutor()       {}
func (NotifyDue) toExecutor()         {}
func (StopStepDue) toExecutor()       {}
func (LogCloseDue) toExecutor()       {}
func (CheckDiskDue) toExecutor()      {}
func (RetryDue) toExecutor()          {}

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
