package messages

// Recovery: list the containers, read the spool, make a plan, send Adopt and Orphan, fail lost jobs, send AdoptionEnded.

// ToRecovery is the set of messages of recovery.
//
//sumtype:decl
type ToRecovery interface{ toRecovery() }

type (
	// Listed answers the driver's list.
	Listed struct {
		Containers []Container
		Err        error
	}
	// ListDue is the timer to try again after a failure.
	ListDue struct{}
	// CleanedUp says that lost jobs have their ending and orphaned logs are closed; or Err.
	CleanedUp struct{ Err error }
)

func (Listed) toRecovery()    {}
func (ListDue) toRecovery()   {}
func (CleanedUp) toRecovery() {}
