package messages

// Control: the server sends commands over an event stream (SSE). The runner sends OpenStream to sse; sse receives each event as
// EventReceived and forwards it to the runner, which acts on it or passes it on to the poller or the dispatcher. sse reopens a silent
// stream once; if that does not help, the runner registers again.

// Event is a command of the server, or a ping. Receiving one twice does no harm.
//
//sumtype:decl
type Event interface{ event() }

type (
	// Ping shows that the event stream is alive.
	Ping struct{}
	// Enable opens the intake.
	Enable struct{}
	// Disable closes the intake. Accepted jobs continue.
	Disable struct{}
	// Configure carries a configuration. One with an older revision than the current one is ignored.
	Configure struct{ Config Config }
	// Delete permanently stops the runner and removes its data from the machine.
	Delete struct{}
	// ExecuteScript offers a script.
	ExecuteScript struct{ Offer Offer }
	// StopJob asks to stop a job. It may arrive before the job does.
	StopJob struct{ Order StopOrder }
)

func (Ping) event()          {}
func (Enable) event()        {}
func (Disable) event()       {}
func (Configure) event()     {}
func (Delete) event()        {}
func (ExecuteScript) event() {}
func (StopJob) event()       {}

// ToSSE is the set of messages of the sse actor.
//
//sumtype:decl
type ToSSE interface{ toSSE() }

type (
	// OpenStream opens the event stream after a registration, and replaces a stream that is already open. The new stream begins after
	// the event whose id is After.
	OpenStream struct{ After string }
	// CloseStream closes the event stream because the registration has ended.
	CloseStream struct{}
	// EventReceived carries an event from the stream.
	EventReceived struct {
		ID    string
		Event Event
	}
	// ScriptAdded says that an offered script is in the spool.
	ScriptAdded struct{ Job Job }
	// ScriptNotSaved says that an offered script could not be added to the spool.
	ScriptNotSaved struct {
		ID  JobID
		Err error
	}
	// StreamLost says that the stream has ended.
	StreamLost struct{ Err error }
	// ReopenDue is the timer to reopen a lost stream.
	ReopenDue struct{}
	// SilenceDue is the timer for a stream that is silent for too long.
	SilenceDue struct{}
)

func (OpenStream) toSSE()     {}
func (CloseStream) toSSE()    {}
func (EventReceived) toSSE()  {}
func (ScriptAdded) toSSE()    {}
func (ScriptNotSaved) toSSE() {}
func (StreamLost) toSSE()     {}
func (ReopenDue) toSSE()      {}
func (SilenceDue) toSSE()     {}
