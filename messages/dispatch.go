package messages

import "time"

// Dispatch: which job runs in which executor. Jobs come from the poller, adopted executors from recovery, and every executor
// reports its state. Seq numbers the assignments of one executor: a message with an older number is out of date.

// ToDispatcher is the set of messages of the dispatcher.
//
//sumtype:decl
type ToDispatcher interface{ toDispatcher() }

type (
	// Adopt hands over an executor that survived a restart. The executor's actor determines its state.
	Adopt struct{ Record ExecutorRecord }
	// Orphan reports one of the runner's containers that has no record. It occupies a slot until it is removed.
	Orphan struct{ Executor ExecutorID }
	// AdoptionEnded says that all executors are known. No executor starts before that.
	AdoptionEnded struct{}
	// Attached says that an adopted executor's actor has determined its state.
	Attached struct{ Executor ExecutorID }
	// Configured carries the server's configuration.
	Configured struct{ Config Config }
	// FreeSlotsRequested asks for FreeSlots.
	FreeSlotsRequested struct{ To Receiver[ToPoller] }
	// JobConfirmed hands over a job. A known job is ignored.
	JobConfirmed struct{ Job Job }

	// Idle says that the executor is waiting for a job. Since is when it first asked for one after its last job.
	Idle struct {
		Executor ExecutorID
		Seq      uint64
		Since    time.Time
	}
	// ProcessesCounted carries the number of processes in an idle executor.
	ProcessesCounted struct {
		Executor  ExecutorID
		Seq       uint64
		Processes int
	}
	// NotIdle says that the executor no longer waits for a job, although none was assigned to it.
	NotIdle struct {
		Executor ExecutorID
		Seq      uint64
	}
	// NotPolling says that the executor has no job, was idle before, and its plugin does not ask for a job. If the plugin asks
	// later, Idle follows.
	NotPolling struct {
		Executor ExecutorID
		Seq      uint64
	}
	// ImageFound names the local image that the executor is created from.
	ImageFound struct {
		Executor ExecutorID
		ImageID  ImageID
	}
	// JobDone says that the ending of the executor's job is in the spool.
	JobDone struct {
		Executor  ExecutorID
		Execution ExecutionID
	}
	// JobReturned says that a warm executor did not take the job that was assigned to it. The job moves to another executor.
	JobReturned struct {
		Executor  ExecutorID
		Execution ExecutionID
		Reason    string
	}
	// Retired says that the executor takes no more jobs and is stopping.
	Retired struct {
		Executor ExecutorID
		Reason   string
	}
	// SlotFreed says that the executor's container has ended, so its slot is free.
	SlotFreed struct {
		Executor ExecutorID
		Reason   string
	}

	// EvictionDue is the eviction timer. It is ignored unless the executor is still idle after assignment Seq: a concurrent
	// assignment wins.
	EvictionDue struct {
		Executor ExecutorID
		Seq      uint64
	}
	// CrashCounted carries the number of actor crashes recorded for a job.
	CrashCounted struct {
		Executor  ExecutorID
		Execution ExecutionID
		Crashes   int
	}
	// RestartDue is the timer to restart an executor's actor after a crash.
	RestartDue struct{ Executor ExecutorID }
	// Reaped says that an executor without an actor has been removed; or Err.
	Reaped struct {
		Executor ExecutorID
		Err      error
	}
	// ReapDue is the timer to try again to remove an executor without an actor.
	ReapDue struct{ Executor ExecutorID }

	// Abort asks to abort a job. It may arrive before the job and is remembered for a while.
	Abort struct {
		ID        JobID
		Execution ExecutionID
		Reason    string
	}
	// AbortExpired is the timer to forget an abort whose job never came.
	AbortExpired struct{ Execution ExecutionID }
	// EndWaitingJob ends a job that has no executor. Attempt counts the failed attempts.
	EndWaitingJob struct {
		Job     Job
		Ending  Ending
		Attempt int
	}
	// WaitingJobEnded says that the ending of a job without an executor is in the spool; or Err.
	WaitingJobEnded struct {
		EndWaitingJob
		Err error
	}

	// CloseDispatch stops assignments, starts and evictions, because the executors are about to be detached.
	CloseDispatch struct{}
	// DrainDispatch finishes the jobs that exist, requests no more, and evicts the executors. Done is called once none is left.
	// If Abort gives a reason, the jobs are aborted.
	DrainDispatch struct {
		Done  func()
		Abort string
	}
	// PoolRequested asks for the executors and their states. The runner forwards it to the dispatcher.
	PoolRequested struct{ Reply func(Pool) }
)

func (Adopt) toDispatcher()              {}
func (Orphan) toDispatcher()             {}
func (AdoptionEnded) toDispatcher()      {}
func (Attached) toDispatcher()           {}
func (Configured) toDispatcher()         {}
func (FreeSlotsRequested) toDispatcher() {}
func (JobConfirmed) toDispatcher()       {}
func (Idle) toDispatcher()               {}
func (ProcessesCounted) toDispatcher()   {}
func (NotIdle) toDispatcher()            {}
func (NotPolling) toDispatcher()         {}
func (ImageFound) toDispatcher()         {}
func (JobDone) toDispatcher()            {}
func (JobReturned) toDispatcher()        {}
func (Retired) toDispatcher()            {}
func (SlotFreed) toDispatcher()          {}
func (EvictionDue) toDispatcher()        {}
func (CrashCounted) toDispatcher()       {}
func (RestartDue) toDispatcher()         {}
func (Reaped) toDispatcher()             {}
func (ReapDue) toDispatcher()            {}
func (Abort) toDispatcher()              {}
func (AbortExpired) toDispatcher()       {}
func (EndWaitingJob) toDispatcher()      {}
func (WaitingJobEnded) toDispatcher()    {}
func (CloseDispatch) toDispatcher()      {}
func (DrainDispatch) toDispatcher()      {}
func (PoolRequested) toDispatcher()      {}

func (PoolRequested) toRunner() {}

// Pool is a snapshot of the dispatcher's executors and waiting jobs.
type Pool struct {
	Capacity  int            `json:"capacity"`
	Executors []ExecutorView `json:"executors"`
	Waiting   []ExecutionID  `json:"waiting"`
}

// ExecutorView is one executor in a Pool.
type ExecutorView struct {
	ID    ExecutorID  `json:"id"`
	Image string      `json:"image"`
	State string      `json:"state"` // busy, idle, unresponsive, stopping, gone
	Job   ExecutionID `json:"job,omitempty"`
	Jobs  uint64      `json:"assignments"` // number of jobs assigned to it since the dispatcher started
}
