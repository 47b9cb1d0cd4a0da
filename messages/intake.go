package messages

// Intake: the poller sends FreeSlotsRequested, the dispatcher answers FreeSlots, the poller reserves, stores and confirms jobs, sends
// JobConfirmed for each, and starts over. Messages of one sender arrive in order, so the dispatcher knows all jobs that were handed
// over before the request. A script arrives over the event stream instead: sse stores it, the runner sends ScriptStored, the poller
// confirms it and sends JobConfirmed.

// ToPoller is the set of messages of the poller.
//
//sumtype:decl
type ToPoller interface{ toPoller() }

type (
	// IntakeOpened says that the runner is online and enabled.
	IntakeOpened struct{}
	// IntakeClosed stops the intake. Reserved tasks are still confirmed and handed over; scripts wait until the intake is opened.
	// Done, if set, is called once no task is on its way from the server.
	IntakeClosed struct{ Done func() }
	// CancelReserveDue is the timer to cancel a long poll that had just begun when the intake was closed.
	CancelReserveDue struct{}
	// FreeSlots answers FreeSlotsRequested as soon as N is above zero.
	FreeSlots struct{ N int }
	// JobsReserved answers the long poll. NoSpace says that Err is about the spool, and the server was not asked.
	JobsReserved struct {
		Offers  []Offer
		NoSpace bool
		Err     error
	}
	// ScriptStored says that a script that the server offered is in the spool.
	ScriptStored struct{ Job Job }
	// ReserveDue is the timer to reserve again after an error.
	ReserveDue struct{}
	// ConfirmDone says that the job is in the spool and confirmed by the server; or Err, and Stored says whether it is in the spool.
	ConfirmDone struct {
		Job    Job
		Stored bool
		Err    error
	}
	// ConfirmDue is the timer to repeat a confirm that failed.
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
