package messages

// Result: executor → reporter Report → server. The message is a hint to look in the spool.

// ToReporter is what the reporter understands.
//
//sumtype:decl
type ToReporter interface{ toReporter() }

type (
	// Report: there is more to send of this job: log, its end, or its ending.
	Report struct {
		Execution    ExecutionID
		ExecutorDone bool // its executor is done with it: no result comes any more
	}
	// Sent answers one attempt.
	Sent struct {
		Execution ExecutionID
		What      string // log, script's log, finish, removal
		Done      bool   // the log's end, the finish or the removal is accepted
		Err       error
	}
	// SendDue: the wait after a failed attempt is over.
	SendDue struct{ Execution ExecutionID }
	// ProbeDue: it is time to see whether the server is back.
	ProbeDue struct{}
	// SessionRenewed: registered again: what waits for that may go.
	SessionRenewed struct{}
	// DrainReports: Done is called once nothing is left to report, which may be so now. A later one replaces it.
	DrainReports struct{ Done func() }
)

func (Report) toReporter()         {}
func (Sent) toReporter()           {}
func (SendDue) toReporter()        {}
func (ProbeDue) toReporter()       {}
func (SessionRenewed) toReporter() {}
func (DrainReports) toReporter()   {}
