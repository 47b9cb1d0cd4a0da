package messages

// Control: the server speaks over a channel of events. runner → sse OpenChannel → the stream → sse EventCame → runner, poller or
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
	// OpenChannel follows a registration. Events after the one with id After are wanted; an open channel is closed first.
	OpenChannel struct{ After string }
	// CloseChannel: there is no registration any more.
	CloseChannel struct{}
	// EventCame over the channel.
	EventCame struct {
		ID    string
		Event Event
	}
	// ScriptKept: a script that came is in the spool.
	ScriptKept struct{ Job Job }
	// ScriptNotKept: a script that came is not in the spool.
	ScriptNotKept struct {
		ID  JobID
		Err error
	}
	// ChannelLost: the stream has ended.
	ChannelLost struct{ Err error }
	// ReopenDue: the wait after a lost channel is over.
	ReopenDue struct{}
	// SilenceDue: nothing has come for too long.
	SilenceDue struct{}
)

func (OpenChannel) toSSE()   {}
func (CloseChannel) toSSE()  {}
func (EventCame) toSSE()     {}
func (ScriptKept) toSSE()    {}
func (ScriptNotKept) toSSE() {}
func (ChannelLost) toSSE()   {}
func (ReopenDue) toSSE()     {}
func (SilenceDue) toSSE()    {}
