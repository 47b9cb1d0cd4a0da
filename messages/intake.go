package messages

// Intake: poller → dispatcher FreeSlotsRequested → poller Room{n} → reserve, store, confirm → dispatcher JobConfirmed → and again.
// Messages of one sender arrive in order, so what was handed over before is counted when room is asked for. A script comes over the
// control channel instead: sse stores it → runner → poller ScriptStored → confirm → dispatcher JobConfirmed.

// ToPoller is what the poller understands.
//
//sumtype:decl
type ToPoller interface{ toPoller() }

type (
	// IntakeOpened: the runner is online and enabled.
	IntakeOpened struct{}
	// IntakeClosed: no more jobs for now. Tasks that are reserved already are confirmed and handed over all the same; scripts
	// wait until it is opened. Quiet, where it is set, is called once no task is on its way from the server any more.
	IntakeClosed struct{ Settled func() }
	// CancelReserveDue: a long poll that had just begun when the intake was closed has had its time.
	CancelReserveDue struct{}
	// FreeSlots answers FreeSlotsRequested as soon as N is above zero.
	FreeSlots struct{ N int }
	// JobsReserved answers the long poll.
	JobsReserved struct {
		Offers []Offer
		Err    error
	}
	// ScriptStored: the server wants a script to be run, and it is in the spool.
	ScriptStored struct{ Job Job }
	// ReserveDue: the wait after an error is over.
	ReserveDue struct{}
	// ConfirmDone: the job is in the spool and the server said ours; or Err, and how far it came.
	ConfirmDone struct {
		Job    Job
		Stored bool
		Err    error
	}
	// ConfirmDue: the wait after an unanswered confirm is over.
	ConfirmDue struct{ Execution ExecutionID }
)

func (IntakeOpened) toPoller()     {}
func (IntakeClosed) toPoller()     {}
func (CancelReserveDue) toPoller() {}
func (FreeSlots) toPoller()        {}
func (JobsReserved) toPoller()     {}
func (ScriptStored) toPoller()     {}
func (ReserveDue) toPoller()       {}
func (ConfirmDone) toPoller()      {}
func (ConfirmDue) toPoller()       {}
