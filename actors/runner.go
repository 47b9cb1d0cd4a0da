package actors

import (
	"context"
	"slices"
	"time"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

const heartbeatEvery = 15 * time.Second

// Settings stores what the runner needs after a restart in addition to the spool.
type Settings interface {
	// SaveConfig stores the server's configuration for the next start.
	SaveConfig(msg.Config) error
	// RecordDeletion records that the server has deleted this runner. It is durable on return, and may be called again.
	RecordDeletion() error
}

// Program holds everything from which the actor tree is built.
type Program struct {
	ExecutorDeps
	Release      Release
	Settings     Settings
	Config       msg.Config // the last one from the server; zero before the first
	Capabilities []string   // those the runner registers with; in force while the server configures none
	IsDeleted    bool       // the server deleted this runner before this start, which completes the deletion
	Deleted      func()     // called when the server has deleted this runner and nothing of it runs any more

	// ReadyChanged is called with the reasons for not being ready, empty when ready, whenever they change. It must not block. It may
	// be nil.
	ReadyChanged func(reasons []string)
}

// runner is the root: it supervises its children, registers with the server, and sends the heartbeat.
type runner struct {
	Program

	children   []*childState
	restart    bool // start the children as soon as none is stopping
	reporter   actorrt.Ref[msg.ToReporter]
	dispatcher actorrt.Ref[msg.ToDispatcher]
	sse        actorrt.Ref[msg.ToSSE]
	poller     actorrt.Ref[msg.ToPoller]

	state         runnerState // after the last message
	notReady      []string    // after the last message
	recovery      msg.Recovery
	savingConfig  bool   // the configuration is being written
	configChanged bool   // and has changed since
	blocked       string // why the poller cannot store jobs; empty: it can
	connection
	shutdown
	deletion
}

// Root describes the runner's tree.
func Root(p Program) actorrt.Spec[msg.ToRunner] {
	return actorrt.Spec[msg.ToRunner]{Name: "runner", New: func() actorrt.Behavior[msg.ToRunner] { return &runner{Program: p} }}
}

func (r *runner) Start(c *actorrt.Ctx[msg.ToRunner]) {
	for _, child := range children {
		r.children = append(r.children, &childState{childPolicy: child})
	}
	r.startChildren(c)
	if r.recorded = r.IsDeleted; r.recorded {
		r.delete(c)
	}
	r.register(c)
	c.After("heartbeat", heartbeatEvery, msg.HeartbeatDue{})
	r.logTransition(c)
}

func (r *runner) Receive(c *actorrt.Ctx[msg.ToRunner], m msg.ToRunner) {
	r.receive(c, m)
	r.logTransition(c)
}

func (r *runner) receive(c *actorrt.Ctx[msg.ToRunner], m msg.ToRunner) {
	switch m := m.(type) {
	case msg.Registered:
		r.registrationAnswered(c, m)
	case msg.RegisterDue:
		r.register(c)
	case msg.RegistrationLost:
		if r.registered {
			c.Log().Warn().Str("op", m.Op).Msg("server no longer knows this runner: registering again")
			r.offline(c, "the server no longer knows this runner")
		} else if r.noResponse { // the server answered the sender's request, so it is reachable again: do not wait for the backoff
			r.register(c)
		}
	case msg.StreamFailed:
		if r.registered {
			c.Log().Warn().Err(m.Err).Msg("event stream could not be reopened; going offline and registering again")
			r.offline(c, "the event stream could not be reopened: "+m.Err.Error())
		}
	case msg.ServerEvent:
		r.apply(c, m.Event)
	case msg.ConfigSaved:
		r.configSaved(c, m)
	case msg.DeletionRecorded:
		r.deletionRecorded(c, m)
	case msg.RecordDeletionDue:
		r.recordDeletion(c)
	case msg.Unregistered:
		r.unregistered(c, m)
	case msg.IntakeBlocked:
		r.blocked = m.Reason
	case msg.HeartbeatDue:
		r.heartbeat(c)
	case msg.HeartbeatAnswered:
		r.heartbeatAnswered(c, m)
	case msg.Recovered:
		r.recovery.Done, r.recovery.WaitingFor = true, ""
		c.Log().Info().Msg("recovery done")
		r.intake()
	case msg.RecoveryWaiting:
		r.recovery.WaitingFor = m.Reason
	case msg.AdoptionProgress:
		r.recovery.Adopted, r.recovery.Attached = m.Adopted, m.Attached
	case msg.RestartChildrenDue:
		r.startChildren(c)
	case msg.CrashJournaled:
		r.reporter.Tell(msg.Report{Execution: m.Execution})
	case msg.SpoolChanged:
		r.reporter.Tell(msg.Report{Execution: m.Execution})
	case msg.Drain:
		r.drain(c, m.Done)
	case msg.Detach:
		r.detach(m.Ready)
	case msg.PoolDrained:
		r.poolDrained(c)
	case msg.DrainDue:
		r.endDrain(c)
	case msg.ReportsDone:
		r.reported = m.Round == r.drainRound
		r.endDrain(c)
	case msg.StatusRequested:
		m.Reply(r.status())
	case msg.PoolRequested:
		r.dispatcher.Tell(m)
	}
}

// startChildren starts the children that are down, in the table's order, unless one is still stopping.
func (r *runner) startChildren(c *actorrt.Ctx[msg.ToRunner]) {
	for _, child := range r.children {
		if child.stopping {
			r.restart = true
			return
		}
	}
	r.restart = false
	for _, child := range r.children {
		if !child.up {
			child.up, child.since = true, time.Now()
			r.start(c, child.name)
		}
	}
	r.intake()
	if r.onStopped != nil {
		r.drainDispatcher(c)
	}
}

func (r *runner) start(c *actorrt.Ctx[msg.ToRunner], name string) {
	switch name {
	case "reporter":
		r.reporter = spawn(c, name, &reporter{release: r.Release, spool: r.Spool, runner: c.Self(), stopGrace: r.Limits.Abort + r.Limits.Term + reportGrace})
	case "dispatcher":
		r.recovery = msg.Recovery{}
		r.dispatcher = spawn(c, name, &dispatcher{ExecutorDeps: r.ExecutorDeps, reporter: r.reporter, runner: c.Self(), config: r.effective(), closed: r.onDetached != nil})
	case "recovery":
		spawn(c, name, &recovery{ExecutorDeps: r.ExecutorDeps, dispatcher: r.dispatcher, reporter: r.reporter, runner: c.Self()})
	case "sse":
		r.sse = spawn(c, name, &sse{release: r.Release, spool: r.Spool, runner: c.Self()})
		if r.registered {
			r.sse.Tell(msg.OpenStream{After: r.lastEvent})
		}
	case "poller":
		r.blocked = ""
		r.poller = spawn(c, name, &poller{release: r.Release, spool: r.Spool, keyring: r.Keyring, dispatcher: r.dispatcher, runner: c.Self()})
	}
}

func spawn[M any](c *actorrt.Ctx[msg.ToRunner], name string, b actorrt.Behavior[M]) actorrt.Ref[M] {
	return actorrt.Spawn(c, actorrt.Spec[M]{Name: name, New: func() actorrt.Behavior[M] { return b }})
}

// ChildDown handles the end of a child: it crashed, or was stopped because a child before it crashed.
func (r *runner) ChildDown(c *actorrt.Ctx[msg.ToRunner], down actorrt.Down) {
	i := slices.IndexFunc(r.children, func(u *childState) bool { return u.name == down.Name })
	child := r.children[i]
	wasStopped := child.stopping
	child.up, child.stopping = false, false
	switch {
	case down.Crash != nil && !wasStopped:
		r.childCrashed(c, i, down.Crash)
	case r.restart:
		r.startChildren(c)
	}
	r.logTransition(c)
}

func (r *runner) childCrashed(c *actorrt.Ctx[msg.ToRunner], i int, crash *actorrt.Crash) {
	child := r.children[i]
	wait, again := child.crashed(time.Now(), c.Jitter())
	if !again {
		panic(crash)
	}
	c.Log().Warn().Str("actor", crash.Actor).Int("attempt", child.crashes).Dur("retry", wait).Msg("restarting actor and the siblings started after it")
	r.journalCrash(c, crash)
	for _, after := range r.children[i+1:] {
		if after.up {
			after.stopping = true
			c.StopChild(after.name)
		}
	}
	c.After("children", wait, msg.RestartChildrenDue{})
}

// journalCrash counts the crash with the job that it was about.
func (r *runner) journalCrash(c *actorrt.Ctx[msg.ToRunner], crash *actorrt.Crash) {
	if crash.Subject == "" {
		return
	}
	spool, id, name := r.Spool, msg.ExecutionID(crash.Subject), crash.Actor
	c.Go("journal crash", func(context.Context) msg.ToRunner {
		countCrash(spool, id, name)
		return msg.CrashJournaled{Execution: id}
	})
}
