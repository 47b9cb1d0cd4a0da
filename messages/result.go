package messages

// Result: executors, the dispatcher, recovery and the runner send Report; the reporter reads the spool and sends to the server.

// ToReporter is the set of messages of the reporter.
//
//sumtype:decl
type ToReporter interface{ toReporter() }

type (
	// Report is a hint that the spool has more to send of this job: log, the log's end, or its ending.
	Report struct {
		Execution    ExecutionID
		ExecutorDone bool // the executor is done with it: no result can arrive any more
	}
	// Sent is the outcome of one attempt.
	Sent struct {
		Execution ExecutionID
		What      string // log, script's log, finish, removal
		Done      bool   // the log's end, the finish or the removal is accepted
		Err       error
	}
	// SendDue is the timer for the job's next attempt.
	SendDue struct{ Execution ExecutionID }
	// ProbeDue is the timer to probe whether the server is available again.
	ProbeDue struct{}
	// RegistrationRenewed says that the runner has registered again, so jobs that back off are retried.
	RegistrationRenewed struct{}
	// DrainReports asks to call Done once nothing is left to report, which may be at once. A later one replaces it.
	DrainReports struct{ Done func() }
)

func (Report) toReporter()              {}
func (Sent) toReporter()                {}
func (SendDue) toReporter()             {}
func (ProbeDue) toReporter()            {}
func (RegistrationRenewed) toReporter() {}
func (DrainReports) toReporter()        {}
