package messages

import "time"

// Lifecycle: the runner recovers, registers, and is then online or offline until it drains, detaches or is deleted
// (actors/runner_state.go).

// ToRunner is the set of messages of the runner.
//
//sumtype:decl
type ToRunner interface{ toRunner() }

type (
	// Registered answers register.
	Registered struct {
		Registration Registration
		Err          error
	}
	// RegisterDue is the timer to register again after a failure.
	RegisterDue struct{}
	// RegistrationLost says that the server refused a request because it no longer knows this runner.
	RegistrationLost struct{ Op string }
	// ServerEvent carries an event from the event stream.
	ServerEvent struct{ Event Event }
	// StreamFailed says that the event stream could not be reopened.
	StreamFailed struct{ Err error }
	// ConfigSaved says that the server's configuration is stored for the next start; or Err.
	ConfigSaved struct{ Err error }
	// DeletionRecorded says that the next start will know that the server has deleted this runner; or Err.
	DeletionRecorded struct{ Err error }
	// RecordDeletionDue is the timer to record the deletion again after a failure.
	RecordDeletionDue struct{}
	// Unregistered answers unregister.
	Unregistered struct{ Err error }
	// IntakeBlocked says why jobs cannot be stored; empty: they can.
	IntakeBlocked struct{ Reason string }
	// HeartbeatDue is the heartbeat timer.
	HeartbeatDue struct{}
	// HeartbeatAnswered answers a heartbeat. Orders are the jobs that the server wants stopped.
	HeartbeatAnswered struct {
		Orders []StopOrder
		Err    error
	}
	// Recovered says that recovery is done.
	Recovered struct{}
	// RecoveryWaiting says why recovery cannot proceed yet.
	RecoveryWaiting struct{ Reason string }
	// AdoptionProgress carries the number of adopted executors and the number of those whose state is known.
	AdoptionProgress struct{ Adopted, Attached int }
	// RestartChildrenDue is the timer to restart the children that are down after a crash.
	RestartChildrenDue struct{}
	// CrashJournaled says that a crash was recorded with the job that it was about.
	CrashJournaled struct{ Execution ExecutionID }
	// SpoolChanged says that an operator's command has changed a job in the spool.
	SpoolChanged struct{ Execution ExecutionID }
	// Drain shuts the runner down after its jobs are done. Done is called when nothing runs any more.
	Drain struct{ Done func() }
	// Detach stops the intake and the dispatch, because the executors are about to be left to the next start. Ready is called when no
	// job is on its way from the server.
	Detach struct{ Ready func() }
	// PoolDrained says that no executor is left.
	PoolDrained struct{}
	// ReportsDone answers the DrainReports of drain round Round.
	ReportsDone struct{ Round int }
	// DrainDue is the timer that ends the wait for the reports.
	DrainDue struct{}
	// StatusRequested asks for the runner's Status.
	StatusRequested struct{ Reply func(Status) }
)

func (Registered) toRunner()         {}
func (RegisterDue) toRunner()        {}
func (RegistrationLost) toRunner()   {}
func (ServerEvent) toRunner()        {}
func (StreamFailed) toRunner()       {}
func (ConfigSaved) toRunner()        {}
func (DeletionRecorded) toRunner()   {}
func (RecordDeletionDue) toRunner()  {}
func (Unregistered) toRunner()       {}
func (IntakeBlocked) toRunner()      {}
func (HeartbeatDue) toRunner()       {}
func (HeartbeatAnswered) toRunner()  {}
func (Recovered) toRunner()          {}
func (RecoveryWaiting) toRunner()    {}
func (AdoptionProgress) toRunner()   {}
func (RestartChildrenDue) toRunner() {}
func (SpoolChanged) toRunner()       {}
func (CrashJournaled) toRunner()     {}
func (Drain) toRunner()              {}
func (Detach) toRunner()             {}
func (PoolDrained) toRunner()        {}
func (ReportsDone) toRunner()        {}
func (DrainDue) toRunner()           {}
func (StatusRequested) toRunner()    {}

// Status describes the runner.
type Status struct {
	State       string    `json:"state"`              // recovering, registering, online, offline, draining, detaching, deleting
	NotReady    []string  `json:"notReady,omitempty"` // reasons; empty: ready
	RunnerID    string    `json:"runnerId,omitempty"`
	LastContact time.Time `json:"lastContact,omitzero"` // time of the server's last answer
	Config      Config    `json:"config"`
	Recovery    Recovery  `json:"recovery"`
}

// Recovery is the progress of recovery after a restart.
type Recovery struct {
	Done       bool   `json:"done"`                 // all executors and jobs are known
	WaitingFor string `json:"waitingFor,omitempty"` // why it cannot proceed
	Adopted    int    `json:"adopted"`              // executors that the dispatcher has adopted
	Attached   int    `json:"attached"`             // adopted executors whose state is known
}
