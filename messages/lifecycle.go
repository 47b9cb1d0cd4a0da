package messages

import "time"

// Lifecycle: recovering → registering → online ⇄ offline; its end is draining, leaving or deleting (actors/runner_state.go).

// ToRunner is what the runner understands.
//
//sumtype:decl
type ToRunner interface{ toRunner() }

type (
	// Registered answers register.
	Registered struct {
		Registration Registration
		Err          error
	}
	// RegisterDue: the wait after a refusal is over.
	RegisterDue struct{}
	// SessionLost: the server does not know us any more.
	SessionLost struct{ Op string }
	// ServerEvent hands on what came over the control channel.
	ServerEvent struct{ Event Event }
	// StreamFailed: the control channel cannot be had back.
	StreamFailed struct{ Err error }
	// ConfigSaved: the server's configuration is kept for the next start; or Err.
	ConfigSaved struct{ Err error }
	// DeletionRecorded: the next start knows that the server has deleted this runner; or Err.
	DeletionRecorded struct{ Err error }
	// RecordDeletionDue: it is tried again.
	RecordDeletionDue struct{}
	// Unregistered: the server was told that this runner is no more; or Err.
	Unregistered struct{ Err error }
	// HeartbeatDue is the timer.
	HeartbeatDue struct{}
	// HeartbeatAnswered brings what the server wants stopped.
	HeartbeatAnswered struct {
		Orders []StopOrder
		Err    error
	}
	// Recovered: recovery is done.
	Recovered struct{}
	// RecoveryWaiting: recovery cannot go on yet, and why.
	RecoveryWaiting struct{ Reason string }
	// AdoptionProgress: of so many adopted executors it is known how so many fare.
	AdoptionProgress struct{ Adopted, Attached int }
	// RestartChildDue: children that went down with a crash are to be started again.
	RestartChildDue struct{}
	// CrashJournaled: a crash that was about a job is noted with it.
	CrashJournaled struct{ Execution ExecutionID }
	// SpoolChanged: a person has changed what the spool has of a job.
	SpoolChanged struct{ Execution ExecutionID }
	// Drain: end in an orderly way. Done is called when nothing runs any more.
	Drain struct{ Done func() }
	// Detach: take no more jobs, as the executors are about to be left to the next start. Ready is called when no job is on its way.
	Detach struct{ Ready func() }
	// PoolDrained: the last executor is gone.
	PoolDrained struct{}
	// ReportsDone answers DrainReports, the one of that number.
	ReportsDone struct{ Asked int }
	// DrainDue: the reports have been waited for long enough.
	DrainDue struct{}
	// StatusRequested asks how the runner fares.
	StatusRequested struct{ Reply func(Status) }
)

func (Registered) toRunner()        {}
func (RegisterDue) toRunner()       {}
func (SessionLost) toRunner()       {}
func (ServerEvent) toRunner()       {}
func (StreamFailed) toRunner()      {}
func (ConfigSaved) toRunner()       {}
func (DeletionRecorded) toRunner()  {}
func (RecordDeletionDue) toRunner() {}
func (Unregistered) toRunner()      {}
func (HeartbeatDue) toRunner()      {}
func (HeartbeatAnswered) toRunner() {}
func (Recovered) toRunner()         {}
func (RecoveryWaiting) toRunner()   {}
func (AdoptionProgress) toRunner()  {}
func (RestartChildDue) toRunner()   {}
func (SpoolChanged) toRunner()      {}
func (CrashJournaled) toRunner()    {}
func (Drain) toRunner()             {}
func (Detach) toRunner()            {}
func (PoolDrained) toRunner()       {}
func (ReportsDone) toRunner()       {}
func (DrainDue) toRunner()          {}
func (StatusRequested) toRunner()   {}

// Status is how the runner fares.
type Status struct {
	State       string    `json:"phase"`              // recovering, registering, online, offline, draining, leaving, deleting
	NotReady    []string  `json:"notReady,omitempty"` // why; empty: ready
	RunnerID    string    `json:"runnerId,omitempty"`
	LastContact time.Time `json:"lastContact,omitzero"` // the server's last answer
	Config      Config    `json:"config"`
	Recovery    Recovery  `json:"recovery"`
}

// Recovery is how far the runner is with what outlived its last restart.
type Recovery struct {
	Done     bool   `json:"done"`               // all executors and jobs are known
	WaitsFor string `json:"waitsFor,omitempty"` // why it cannot go on
	Adopted  int    `json:"adopted"`            // executors that the dispatcher was given
	Attached int    `json:"attached"`           // of them, those of which it is known how they fare
}
