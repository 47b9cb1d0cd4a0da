package messages

import "time"

// Dispatch: who runs where. Jobs come from the poller, executors from recovery, and every executor tells how it fares.
// Seq numbers the assignments of one executor: a fact about an older one is out of date.

// ToDispatcher is what the dispatcher understands.
//
//sumtype:decl
type ToDispatcher interface{ toDispatcher() }

type (
	// Adopt gives back an executor that outlived a restart. It finds out by itself how it fares.
	Adopt struct{ Record ExecutorRecord }
	// Orphan is a container of ours that no record knows. It takes a place until it is removed.
	Orphan struct{ Executor ExecutorID }
	// AdoptionEnded: all executors are known. Nothing starts before.
	AdoptionEnded struct{}
	// Attached: the executor's actor has found out how it fares.
	Attached struct{ Executor ExecutorID }
	// Configured brings a configuration of the server.
	Configured struct{ Config Config }
	// FreeSlotsRequested asks for Room.
	FreeSlotsRequested struct{ To Receiver[ToPoller] }
	// JobConfirmed hands a job over. A job that is known already is ignored.
	JobConfirmed struct{ Job Job }

	// Idle: the executor waits for a job, since Since at the first time after its last one.
	Idle struct {
		Executor ExecutorID
		Seq      uint64
		Since    time.Time
	}
	// ProcessesCounted: so many run in the executor while it waits.
	ProcessesCounted struct {
		Executor  ExecutorID
		Seq       uint64
		Processes int
	}
	// NotIdle: it does not wait any longer, though nothing was assigned to it.
	NotIdle struct {
		Executor ExecutorID
		Seq      uint64
	}
	// NotPolling: it has no job, has waited for one before, and its plugin does not ask for one. It may still: then it is Idle.
	NotPolling struct {
		Executor ExecutorID
		Seq      uint64
	}
	// ImageFound: which local image the executor is made from.
	ImageFound struct {
		Executor ExecutorID
		Image    ImageID
	}
	// JobOver: the executor's job has its ending in the spool.
	JobOver struct {
		Executor  ExecutorID
		Execution ExecutionID
	}
	// JobReturned: a job that was assigned to a warm executor and not taken by it: it moves to another.
	JobReturned struct {
		Executor  ExecutorID
		Execution ExecutionID
		Reason    string
	}
	// Retired: the executor takes no more jobs and is on its way out.
	Retired struct {
		Executor ExecutorID
		Reason   string
	}
	// SlotFreed: the executor's container has ended: its place is free.
	SlotFreed struct {
		Executor ExecutorID
		Reason   string
	}

	// EvictionDue is the eviction timer. It counts only while the executor is still idle after assignment Seq: an assignment
	// that crosses it wins.
	EvictionDue struct {
		Executor ExecutorID
		Seq      uint64
	}
	// CrashCounted: how many actors have panicked on a job.
	CrashCounted struct {
		Executor  ExecutorID
		Execution ExecutionID
		Crashes   int
	}
	// RestartDue: an executor's actor that crashed is to be started again.
	RestartDue struct{ Executor ExecutorID }
	// Reaped: an executor without an actor is cleared away; or Err.
	Reaped struct {
		Executor ExecutorID
		Err      error
	}
	// ReapDue: it is tried again.
	ReapDue struct{ Executor ExecutorID }

	// Abort asks for the end of a job. It may overtake the job: it is remembered for a while.
	Abort struct {
		ID        JobID
		Execution ExecutionID
		Reason    string
	}
	// AbortExpired: an abort whose job never came.
	AbortExpired struct{ Execution ExecutionID }
	// EndWaiting: a job that waits is to end, for the Attempt-th time.
	EndWaiting struct {
		Job     Job
		Ending  Ending
		Attempt int
	}
	// WaitingJobEnded: a job that waited has its ending; or Err.
	WaitingJobEnded struct {
		EndWaiting
		Err error
	}

	// DispatchClosed: give out nothing, start nothing and evict nobody any more: the executors are about to be left to the next start.
	DispatchClosed struct{}
	// DrainDispatch: run what is there, take nothing more, let the executors go. Done is called once there is nothing left.
	// With a reason in Abort the jobs are aborted.
	DrainDispatch struct {
		Done  func()
		Abort string
	}
	// PoolRequested asks for the executors and how they fare. The runner hands it on.
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
func (JobOver) toDispatcher()            {}
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
func (EndWaiting) toDispatcher()         {}
func (WaitingJobEnded) toDispatcher()    {}
func (DispatchClosed) toDispatcher()     {}
func (DrainDispatch) toDispatcher()      {}
func (PoolRequested) toDispatcher()      {}

func (PoolRequested) toRunner() {}

// Pool is a picture of the dispatcher's executors and waiting jobs.
type Pool struct {
	Capacity  int            `json:"capacity"`
	Executors []ExecutorView `json:"executors"`
	Waiting   []ExecutionID  `json:"waiting"`
}

// ExecutorView is one executor in a Pool.
type ExecutorView struct {
	ID    ExecutorID  `json:"id"`
	Image string      `json:"image"`
	State string      `json:"state"` // busy, idle, stopping, gone
	Job   ExecutionID `json:"job,omitempty"`
	Jobs  uint64      `json:"assignments"`
}
