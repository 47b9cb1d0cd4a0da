package messages

import "time"

// Execution: the messages to one executor's actor: orders of the dispatcher, results of calls to the driver and the spool, timers, and
// what the executor's plugin does at the gateway (session.go).

// ToExecutor is the set of messages of an executor's actor. Errors are in Err: the other fields then say what failed.
//
//sumtype:decl
type ToExecutor interface{ toExecutor() }

type (
	// Assign gives the executor a job. Only an executor that has reported Idle gets a second one.
	Assign struct {
		Job Job
		Seq uint64
	}
	// Retire stops the executor: at once if it has no open job, otherwise after its job.
	Retire struct{ Reason string }
	// AbortJob ends the executor's job with the stop sequence.
	AbortJob struct {
		Execution ExecutionID
		Reason    string
	}

	// Prepared says that the job's input is readable, the executor's directory exists, and the gateway admits the plugin; or Err.
	Prepared struct{ Err error }
	// Restored says that the secrets to mask and the open job logs are loaded again after a restart of the actor; or Err.
	Restored struct {
		HasFile bool // there is a result file
		Err     error
	}
	// Found carries the container as the engine sees it after a restart of the actor.
	Found struct {
		Container *Container // nil: there is none
		Restarted bool       // its process is not the one that was started last
		Err       error
	}
	// Pulled says that the image is available locally; or Err.
	Pulled struct {
		Image ImageID
		Err   error
	}
	// Launched says that the container runs; or Err.
	Launched struct{ Err error }
	// RequestsLost says that the subscription to the plugin's requests at the gateway has ended.
	RequestsLost struct{ Err error }
	// HandOutDone says that the job was handed out to the plugin; or Err, and it was not.
	HandOutDone struct {
		Execution  ExecutionID
		Request    RequestID
		HandOuts   int               // of the job so far, including those to other executors
		Env        map[string]string // mode Files only
		Unreadable bool              // the job can never be run
		Err        error
	}
	// InputRead says that the input of the open job was read again for another GET; or Err.
	InputRead struct {
		Execution ExecutionID
		Request   RequestID
		Err       error
	}
	// ResultStored says whether a result that arrived by the callback Request was stored; with Err, storing has to be tried again.
	ResultStored struct {
		Execution ExecutionID
		Request   RequestID
		Result    Result // without its Body, except with Err
		Stored    bool   // the job has it now
		Err       error
	}
	// FileRead carries what the result file held for the open job.
	FileRead struct {
		Execution    ExecutionID
		ReceivedBody      // without the Body of its Result
		Stored       bool // the job has the result now
		Err          error
	}
	// ResultsCleared says that the result directory no longer holds anything of the previous job.
	ResultsCleared struct{}
	// VersionRecorded says that the next version of the Secret is in the executor's record; or Err.
	VersionRecorded struct {
		Version uint64
		Err     error
	}
	// LogsStarted says that the engine's log is being read.
	LogsStarted struct{}
	// LogWritten says that the spool has more of the job's log.
	LogWritten struct{ Execution ExecutionID }
	// LateOutput reports output that arrived after the log it belongs to was closed.
	LateOutput struct{ Bytes int }
	// LogsEnded says that the engine's log was read to its end; or Err.
	LogsEnded struct {
		Err         error
		SpoolFailed bool // Err is the spool's, not the engine's
	}
	// LogClosed says that the logs of the job and of those before it are complete; or Err; or Wait.
	LogClosed struct {
		Execution ExecutionID
		Closed    []ExecutionID // also with Err
		Since     time.Time     // with Wait: Since of the LogCloseDue
		Wait      time.Duration // not zero: it is too early; try again after that
		Err       error
	}
	// ProcessCount carries the number of processes in the idle executor; or Err.
	ProcessCount struct {
		Seq       uint64 // of the last assignment
		Processes int
		Err       error
	}
	// DiskMeasured carries the executor's disk usage in bytes, and the job that it had when the measurement began; or Err.
	DiskMeasured struct {
		Execution ExecutionID
		Bytes     int64
		Err       error
	}
	// RecordNotUpdated says that the record of the executor or of its job lacks a change that only a restart would need.
	RecordNotUpdated struct{ Err error }
	// JobEnded says that the job's ending is in the spool; or Err.
	JobEnded struct {
		Execution ExecutionID
		Ending    Ending
		HasResult bool
		Removed   bool // the spool no longer has the job
		Err       error
	}
	// StopRecorded says that the spool knows how the stop of the job went; or Err.
	StopRecorded struct {
		Execution ExecutionID
		Err       error
	}
	// Exited says that the container has ended; or Err.
	Exited struct {
		Exit Exit
		Err  error
	}
	// Examined says that after the exit the executor's directory was read once more, and its log to the end; or Err.
	Examined struct {
		Closed       []ExecutionID // jobs whose logs are complete now
		Refused      string        // why the delivered result cannot be stored
		HasEnding    bool          // the job has its ending
		NotHandedOut bool          // the job may go to another executor: it never was handed out, or the plugin is proven not to have started it
		Abort        string        // why the job is to be aborted; empty: it is not
		HandOuts     int           // of the job, at the time of the examination
		Err          error
	}
	// Signalled says that the signal of step Step of the stop sequence was sent; or Err.
	Signalled struct {
		Step    int
		Elapsed time.Duration // since the ending of the job was decided
		Err     error
	}
	// Removed says that the container and the directory are removed; or Err.
	Removed struct {
		Closed []ExecutionID // jobs whose logs are complete now
		Err    error
	}

	// LimitDue is the timer for a state, or a wait, that lasts too long.
	LimitDue struct{}
	// PollDue is the timer by which the plugin should have asked for a job.
	PollDue struct{}
	// DeliveryDue is the timer by which the plugin's machine should have acknowledged the job.
	DeliveryDue struct{}
	// NotifyDue is the timer after which an event may be sent to the plugin.
	NotifyDue struct{}
	// StopStepDue is the timer for the next step of the stop sequence.
	StopStepDue struct{ Step int }
	// LogCloseDue is the timer to close the log of a job whose executor has been idle since Since, without output.
	LogCloseDue struct {
		Execution ExecutionID
		Since     time.Time
	}
	// CheckDiskDue is the timer to measure the disk usage.
	CheckDiskDue struct{}
	// RetryDue is the timer to repeat a failed call.
	RetryDue struct{ What Retry }
)

// Retry is a call that an executor's actor retries until it succeeds.
type Retry string

const (
	RetryRestore  Retry = "restore executor"
	RetryFind     Retry = "find container"
	RetryRequests Retry = "listen to requests"
	RetryLogs     Retry = "read logs"
	RetryWait     Retry = "wait for exit"
	RetryHandOut  Retry = "hand out job"
	RetryNotify   Retry = "record version"
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
func (LimitDue) toExecutor()          {}
func (PollDue) toExecutor()           {}
func (DeliveryDue) toExecutor()       {}
func (NotifyDue) toExecutor()         {}
func (StopStepDue) toExecutor()       {}
func (LogCloseDue) toExecutor()       {}
func (CheckDiskDue) toExecutor()      {}
func (RetryDue) toExecutor()          {}

// ExecutorLimits are the time limits of an executor.
type ExecutorLimits struct {
	Pull   time.Duration // until the image is available
	Start  time.Duration // until the container runs
	PickUp time.Duration // until the plugin asks for its job
	Run    time.Duration // until there is a result; a job's own timeout applies if it is shorter
	Finish time.Duration // after the result, until the plugin asks for another job or exits
	Abort  time.Duration // after SIGABRT
	Term   time.Duration // after SIGTERM
	Quiet  time.Duration // without output while idle, until the job's log is closed
}
