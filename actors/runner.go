package actors

import (
	"context"
	"slices"
	"time"

	"runnerd/actors/shell"
	msg "runnerd/messages"
)

const heartbeatEvery = 15 * time.Second

// Settings are what the runner keeps besides jobs.
type Settings interface {
	// SaveConfig keeps the server's configuration for the next start.
	SaveConfig(msg.Config) error
	// NoteDeletion notes that the server has deleted this runner. It is durable on return, and may be repeated.
	NoteDeletion() error
}

// Program is everything the tree is built from.
type Program struct {
	Shop
	Release      Release
	Settings     Settings
	Config       msg.Config // the last one from the server; its zero value before the first
	Capabilities []string   // what the runner has registered with; they count while the server configures none
	IsDeleted    bool       // by the server, before this start, which ends what was left
	Deleted      func()     // called when the server has deleted this runner and nothing of it runs any more

	// ReadyChanged is called with what stands against being ready, empty when ready, whenever that changes. It must not block. Nil:
	// nobody wants to know.
	ReadyChanged func(against []string)
}

// runner is the root: it keeps its children up, registers with the server, and sends the heartbeat.
type runner struct {
	Program

	children   []*upkept
	restart    bool // as soon as nobody is on the way down
	reporter   shell.Ref[msg.ToReporter]
	dispatcher shell.Ref[msg.ToDispatcher]
	sse        shell.Ref[msg.ToSSE]
	poller     shell.Ref[msg.ToPoller]

	phase    phase    // as it was after the last message
	notReady []string // as well
	recovery msg.Recovery
	keeping  bool // the configuration is being written
	unkept   bool // and is not the newest any more
	connection
	farewell
	deletion
}

// Root describes the runner's tree.
func Root(p Program) shell.Spec[msg.ToRunner] {
	return shell.Spec[msg.ToRunner]{Name: "runner", New: func() shell.Behavior[msg.ToRunner] { return &runner{Program: p} }}
}

func (r *runner) Start(c *shell.Ctx[msg.ToRunner]) {
	for _, child := range children {
		r.children = append(r.children, &upkept{upkeep: child})
	}
	r.startChildren(c)
	if r.noted = r.IsDeleted; r.noted {
		r.delete(c)
	}
	r.register(c)
	c.After("heartbeat", heartbeatEvery, msg.HeartbeatDue{})
	r.moved(c)
}

func (r *runner) Receive(c *shell.Ctx[msg.ToRunner], m msg.ToRunner) {
	r.receive(c, m)
	r.moved(c)
}

func (r *runner) receive(c *shell.Ctx[msg.ToRunner], m msg.ToRunner) {
	switch m := m.(type) {
	case msg.Registered:
		r.answered(c, m)
	case msg.RegisterDue:
		r.register(c)
	case msg.SessionLost:
		if r.registered {
			c.Log().Warn().Str("op", m.Op).Msg("the server does not know this runner any more: registering again")
			r.offline(c, "the server does not know this runner any more")
		} else if r.unanswered { // whoever says so has something for the server, and knocks
			r.register(c)
		}
	case msg.ChannelGone:
		if r.registered {
			c.Log().Warn().Err(m.Err).Msg("the control channel cannot be had back: offline, registering again")
			r.offline(c, "the control channel cannot be had back: "+m.Err.Error())
		}
	case msg.ServerSaid:
		r.obey(c, m.Event)
	case msg.ConfigKept:
		r.configKept(c, m)
	case msg.DeletionNoted:
		r.deletionNoted(c, m)
	case msg.NoteDeletionDue:
		r.noteDeletion(c)
	case msg.Unregistered:
		r.unregistered(c, m)
	case msg.HeartbeatDue:
		r.heartbeat(c)
	case msg.HeartbeatAnswered:
		r.heartbeatAnswered(c, m)
	case msg.Recovered:
		r.recovery.Done, r.recovery.WaitsFor = true, ""
		c.Log().Info().Msg("recovery is done")
		r.intake()
	case msg.RecoveryWaits:
		r.recovery.WaitsFor = m.Reason
	case msg.Adopting:
		r.recovery.Adopted, r.recovery.Attached = m.Adopted, m.Attached
	case msg.ChildDue:
		r.startChildren(c)
	case msg.CrashJournaled:
		r.reporter.Tell(msg.Report{Execution: m.Execution})
	case msg.SpoolChanged:
		r.reporter.Tell(msg.Report{Execution: m.Execution})
	case msg.Drain:
		r.drain(c, m.Done)
	case msg.Leave:
		r.leave(m.Ready)
	case msg.PoolDrained:
		r.poolDrained(c)
	case msg.DrainDue:
		r.endDrain(c)
	case msg.ReportsDone:
		r.reported = m.Asked == r.asked
		r.endDrain(c)
	case msg.StatusWanted:
		m.Reply(r.status())
	case msg.PoolWanted:
		r.dispatcher.Tell(m)
	}
}

// startChildren starts those that are down, in the table's order, once nobody is on the way down any more.
func (r *runner) startChildren(c *shell.Ctx[msg.ToRunner]) {
	for _, child := range r.children {
		if child.leaving {
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
	if r.tellStopped != nil {
		r.drainDispatcher(c)
	}
}

func (r *runner) start(c *shell.Ctx[msg.ToRunner], name string) {
	switch name {
	case "reporter":
		r.reporter = spawn(c, name, &reporter{release: r.Release, spool: r.Spool, runner: c.Self(), patience: r.Limits.Abort + r.Limits.Term + afterStop})
	case "dispatcher":
		r.recovery = msg.Recovery{}
		r.dispatcher = spawn(c, name, &dispatcher{Shop: r.Shop, reporter: r.reporter, runner: c.Self(), config: r.effective(), closed: r.tellLeft != nil})
	case "recovery":
		spawn(c, name, &recovery{Shop: r.Shop, dispatcher: r.dispatcher, reporter: r.reporter, runner: c.Self()})
	case "sse":
		r.sse = spawn(c, name, &sse{release: r.Release, spool: r.Spool, runner: c.Self()})
		if r.registered {
			r.sse.Tell(msg.OpenChannel{After: r.lastEvent})
		}
	case "poller":
		r.poller = spawn(c, name, &poller{release: r.Release, spool: r.Spool, vault: r.Vault, dispatcher: r.dispatcher, runner: c.Self()})
	}
}

func spawn[M any](c *shell.Ctx[msg.ToRunner], name string, b shell.Behavior[M]) shell.Ref[M] {
	return shell.Spawn(c, shell.Spec[M]{Name: name, New: func() shell.Behavior[M] { return b }})
}

// ChildDown: a child crashed, or has gone down because one before it did.
func (r *runner) ChildDown(c *shell.Ctx[msg.ToRunner], down shell.Down) {
	i := slices.IndexFunc(r.children, func(u *upkept) bool { return u.name == down.Name })
	child := r.children[i]
	asked := child.leaving
	child.up, child.leaving = false, false
	switch {
	case down.Crash != nil && !asked:
		r.childCrashed(c, i, down.Crash)
	case r.restart:
		r.startChildren(c)
	}
	r.moved(c)
}

func (r *runner) childCrashed(c *shell.Ctx[msg.ToRunner], i int, crash *shell.Crash) {
	child := r.children[i]
	wait, again := child.crashed(time.Now(), c.Chance())
	if !again {
		panic(crash)
	}
	c.Log().Warn().Str("child", child.name).Int("attempt", child.fails).Dur("retry", wait).Msg("child is started again, and those after it")
	r.journalCrash(c, crash)
	for _, after := range r.children[i+1:] {
		if after.up {
			after.leaving = true
			c.StopChild(after.name)
		}
	}
	c.After("children", wait, msg.ChildDue{})
}

// journalCrash counts the crash with the job that it was about.
func (r *runner) journalCrash(c *shell.Ctx[msg.ToRunner], crash *shell.Crash) {
	if crash.Subject == "" {
		return
	}
	spool, id, name := r.Spool, msg.ExecutionID(crash.Subject), crash.Actor
	c.Go("journal crash", func(context.Context) msg.ToRunner {
		countCrash(spool, id, name)
		return msg.CrashJournaled{Execution: id}
	})
}
