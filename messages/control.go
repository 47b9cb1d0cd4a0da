package messages

// Control: the server speaks over a channel of events. runner → sse OpenStream → the stream → sse EventReceived → runner, poller or
// dispatcher, each in its own words. A channel that is silent is opened anew; if that does not help the runner registers again.

// Event is something that the server wants. One that comes twice does no harm.
//
//sumtype:decl
type Event interface{ event() }

type (
	// Ping shows that the channel lives.
	Ping struct{}
	// Enable opens the intake.
	Enable struct{}
	// Disable closes it. What is taken goes on.
	Disable struct{}
	// Configure brings a configuration; one with an older revision than the one in force is ignored.
	Configure struct{ Config Config }
	// Delete ends the runner, and takes away what it has on the machine.
	Delete struct{}
	// ExecuteScript offers a script.
	ExecuteScript struct{ Offer Offer }
	// StopJob asks for the end of a job, which it may overtake.
	StopJob struct{ Order StopOrder }
)

func (Ping) event()          {}
func (Enable) event()        {}
func (Disable) event()       {}
func (Configure) event()     {}
func (Delete) event()        {}
func (ExecuteScript) event() {}
func (StopJob) event()       {}

// ToSSE is what the keeper of the channel understands.
//
//sumtype:decl
type ToSSE interface{ toSSE() }

type (
	// OpenStream follows a registration. Events after the one with id After are wanted; an open channel is closed first.
	OpenStream struct{ After string }
	// CloseStream: there is no registration any more.
	CloseStream struct{}
	// EventReceived over the channel.
	EventReceived struct {
		ID    string
		Event Event
	}
	// ScriptSaved: a script that came is in the spool.
	ScriptSaved struct{ Job Job }
	// ScriptNotSaved: a script that came is not in the spool.
	ScriptNotSaved struct {
		ID  JobID
		Err error
	}
	// StreamLost: the stream has ended.
	StreamLost struct{ Err error }
	// ReopenDue: the wait after a lost channel is over.
	ReopenDue struct{}
	// SilenceDue: nothing has come for too long.
	SilenceDue struct{}
)

func (OpenStream) toSSE()     {}
func (CloseStream) toSSE()    {}
func (EventReceived) toSSE()  {}
func (ScriptSaved) toSSE()    {}
func (ScriptNotSaved) toSSE() {}
func (StreamLost) toSSE()     {}
func (ReopenDue) toSSE()      {}
func (SilenceDue) toSSE()     {}
