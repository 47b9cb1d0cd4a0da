package messages

// Recovery: the driver's list and the spool → a plan → adopt, report, bury → AdoptionEnded.

// ToRecovery is what recovery understands.
//
//sumtype:decl
type ToRecovery interface{ toRecovery() }

type (
	// Listed answers the driver's list.
	Listed struct {
		Containers []Container
		Err        error
	}
	// ListDue: the wait after an engine that did not answer is over.
	ListDue struct{}
	// CleanedUp: what nobody needs is removed; or Err.
	CleanedUp struct{ Err error }
)

func (Listed) toRecovery()    {}
func (ListDue) toRecovery()   {}
func (CleanedUp) toRecovery() {}
