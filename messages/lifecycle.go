package messages

import "time"

// Lifecycle: recovering → registering → online ⇄ offline; its end is draining, leaving or deleting (actors/runner_phase.go).

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
	// ServerSaid hands on what came over the control channel.
	ServerSaid struct{ Event Event }
	// ChannelGone: the control channel cannot be had back.
	ChannelGone struct{ Err error }
	// ConfigKept: the server's configuration is kept for the next start; or Err.
	ConfigKept struct{ Err error }
	// DeletionNoted: the next start knows that the server has deleted this runner; or Err.
	DeletionNoted struct{ Err error }
	// NoteDeletionDue: it is tried again.
	NoteDeletionDue struct{}
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
	// RecoveryWaits: recovery cannot go on yet, and why.
	RecoveryWaits struct{ Reason string }
	// Adopting: of so many adopted executors it is known how so many fare.
	Adopting struct{ Adopted, Attached int }
	// ChildDue: children that went down with a crash are to be started again.
	ChildDue struct{}
	// CrashJournaled: a crash that was about a job is noted with it.
	CrashJournaled struct{ Execution ExecutionID }
	// SpoolChanged: a person has changed what the spool has of a job.
	SpoolChanged struct{ Execution ExecutionID }
	// Drain: end in an orderly way. Done is called when nothing runs any more.
	Drain struct{ Done func() }
	// Leave: take no more jobs, as the executors are about to be left to the next start. Ready is called when no job is on its way.
	Leave struct{ Ready func() }
	// PoolDrained: the last executor is gone.
	PoolDrained struct{}
	// ReportsDone answers ReportsWanted, the one of that number.
	ReportsDone struct{ Asked int }
	// DrainDue: the reports have been waited for long enough.
	DrainDue struct{}
	// StatusWanted asks how the runner fares.
	StatusWanted struct{ Reply func(Status) }
)

func (Registered) toRunner()        {}
func (RegisterDue) toRunner()       {}
func (SessionLost) toRunner()       {}
func (ServerSaid) toRunner()        {}
func (ChannelGone) toRunner()       {}
func (ConfigKept) toRunner()        {}
func (DeletionNoted) toRunner()     {}
func (NoteDeletionDue) toRunner()   {}
func (Unregistered) toRunner()      {}
func (HeartbeatDue) toRunner()      {}
func (HeartbeatAnswered) toRunner() {}
func (Recovered) toRunner()         {}
func (RecoveryWaits) toRunner()     {}
func (Adopting) toRunner()          {}
func (ChildDue) toRunner()          {}
func (SpoolChanged) toRunner()      {}
func (CrashJournaled) toRunner()    {}
func (Drain) toRunner()             {}
func (Leave) toRunner()             {}
func (PoolDrained) toRunner()       {}
func (ReportsDone) toRunner()       {}
func (DrainDue) toRunner()          {}
func (StatusWanted) toRunner()      {}

// Status is how the runner fares.
type Status struct {
	Phase       string    `json:"phase"`              // recovering, registering, online, offline, draining, leaving, deleting
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
