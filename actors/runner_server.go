package actors

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"runnerd/actors/shell"
	msg "runnerd/messages"
)

// The runner and the server: registration, heartbeat, configuration, intake.

// connection is how the runner stands with the server.
type connection struct {
	registering bool
	registered  bool
	lost        int // sessions since the server last answered a heartbeat
	runnerID    string
	lastEvent   string // that the registration took into account
	lastContact time.Time
	serverSays  string // why we are not registered
	silence     string // why the last heartbeat was not answered
	failures    int
	unanswered  bool      // the last attempt to register was
	said        time.Time // when the log was last told that we are not registered
}

func (r *runner) register(c *shell.Ctx[msg.ToRunner]) {
	if r.registering || r.registered || r.deleted {
		return
	}
	r.registering = true
	release := r.Release
	c.Go("register", func(ctx context.Context) msg.ToRunner {
		registration, err := release.Register(ctx)
		return msg.Registered{Registration: registration, Err: err}
	})
}

// offline: no new jobs until the server has answered a registration; those that run go on.
func (r *runner) offline(c *shell.Ctx[msg.ToRunner], why string) {
	r.registered, r.serverSays = false, why
	r.sse.Tell(msg.CloseChannel{})
	r.intake()
	r.registerAnew(c)
}

// registerAnew registers at once, but ever more slowly when the server forgets the runner as soon as it has taken it.
func (r *runner) registerAnew(c *shell.Ctx[msg.ToRunner]) {
	r.lost++
	if r.lost == 1 {
		r.register(c)
		return
	}
	c.After("register", towardsServer.after(r.lost-1, c.Chance()), msg.RegisterDue{})
}

func (r *runner) answered(c *shell.Ctx[msg.ToRunner], m msg.Registered) {
	r.registering = false
	defer r.endDrain(c) // which may have waited for this
	if m.Err != nil {
		r.failures++
		r.serverSays = m.Err.Error()
		wait := towardsServer.afterError(m.Err, r.failures, c.Chance())
		_, answered := asRefusal(m.Err)
		r.unanswered = !answered
		level := zerolog.ErrorLevel
		if r.unanswered && time.Since(r.said) < heartbeatEvery {
			level = zerolog.DebugLevel
		} else {
			r.said = time.Now()
		}
		line := c.Log().WithLevel(level).Err(m.Err).Int("attempt", r.failures).Dur("retry", wait)
		switch {
		case errors.Is(m.Err, msg.ErrConfig):
			line.Msg("not registered: mend this runner's configuration on the server")
		case isUnregistered(m.Err):
			line.Msg("the server refuses the registration token: check --token (RELEASE_RUNNER_TOKEN); a token may be revoked or expired, and must have the runner registration permission")
		default:
			line.Msg("not registered: check --release-url (RELEASE_RUNNER_RELEASE_URL), the network, and that the server is up")
		}
		c.After("register", wait, msg.RegisterDue{})
		return
	}
	r.registered, r.failures, r.serverSays, r.silence = true, 0, "", ""
	r.runnerID, r.lastEvent, r.lastContact = m.Registration.RunnerID, m.Registration.LastEventID, time.Now()
	tell(c.Log().Info().Str("runner", r.runnerID), m.Registration.Config).Msg("registered")
	r.configure(c, m.Registration.Config)
	r.sse.Tell(msg.OpenChannel{After: r.lastEvent})
	r.reporter.Tell(msg.SessionRenewed{})
}

// configure puts a configuration in force.
func (r *runner) configure(c *shell.Ctx[msg.ToRunner], config msg.Config) {
	r.Config = config
	r.keepConfig(c)
	r.dispatcher.Tell(msg.Configured{Config: r.effective()})
	r.intake()
}

// effective is the configuration in force, completed by what the runner has registered with.
func (r *runner) effective() msg.Config {
	config := r.Config
	if len(config.Capabilities) == 0 {
		config.Capabilities = r.Capabilities
	}
	return config
}

// keepConfig keeps the configuration in force for the next start. The newest is written last.
func (r *runner) keepConfig(c *shell.Ctx[msg.ToRunner]) {
	if r.unkept = r.keeping; r.keeping {
		return
	}
	r.keeping = true
	settings, config := r.Settings, r.Config
	c.Go("keep configuration", func(context.Context) msg.ToRunner { return msg.ConfigKept{Err: settings.SaveConfig(config)} })
}

func (r *runner) configKept(c *shell.Ctx[msg.ToRunner], m msg.ConfigKept) {
	if m.Err != nil {
		c.Log().Error().Err(m.Err).Msg("the server's configuration is in force, but a restart will not know it before it has registered")
	}
	if r.keeping = false; r.unkept {
		r.keepConfig(c)
	}
}

// obey does what the server says over the control channel.
func (r *runner) obey(c *shell.Ctx[msg.ToRunner], said msg.Event) {
	r.lastContact = time.Now()
	switch said := said.(type) {
	case msg.Ping:
	case msg.Enable:
		r.enable(c, true)
	case msg.Disable:
		r.enable(c, false)
	case msg.Configure:
		if said.Config.Revision >= r.Config.Revision {
			r.reconfigure(c, said.Config)
		}
	case msg.Delete:
		r.delete(c)
	case msg.ExecuteScript:
		r.poller.Tell(msg.ScriptStored{Job: said.Offer.Job})
	case msg.StopJob:
		r.dispatcher.Tell(msg.Abort(said.Order))
	}
}

func (r *runner) enable(c *shell.Ctx[msg.ToRunner], enabled bool) {
	config := r.Config
	config.Enabled = enabled
	r.reconfigure(c, config)
}

func (r *runner) reconfigure(c *shell.Ctx[msg.ToRunner], config msg.Config) {
	tell(c.Log().Info(), config).Msg("the server configures this runner")
	r.configure(c, config)
}

func tell(line *zerolog.Event, config msg.Config) *zerolog.Event {
	return line.Bool("enabled", config.Enabled).Int("capacity", config.Capacity).Dur("eviction", config.Eviction).
		Strs("capabilities", config.Capabilities).Int64("revision", config.Revision)
}

// intake opens the poller while jobs are welcome.
func (r *runner) intake() {
	if r.registered && r.recovery.Done && r.Config.Enabled && !r.ending() {
		r.poller.Tell(msg.IntakeOpened{})
	} else {
		r.poller.Tell(msg.IntakeClosed{Quiet: r.tellLeft})
	}
}

func (r *runner) heartbeat(c *shell.Ctx[msg.ToRunner]) {
	c.After("heartbeat", heartbeatEvery, msg.HeartbeatDue{})
	if !r.registered {
		return
	}
	release, spool := r.Release, r.Spool
	c.Go("heartbeat", func(ctx context.Context) msg.ToRunner {
		jobs := spool.Jobs()
		phases := make([]msg.Phase, 0, len(jobs))
		for _, job := range jobs {
			if job.Stage >= msg.Confirmed && job.Stage < msg.Finished {
				phases = append(phases, msg.Phase{ID: job.ID, Execution: job.Execution, Phase: job.Stage.String()})
			}
		}
		orders, err := release.Heartbeat(ctx, phases)
		return msg.HeartbeatAnswered{Orders: orders, Err: err}
	})
}

func (r *runner) heartbeatAnswered(c *shell.Ctx[msg.ToRunner], m msg.HeartbeatAnswered) {
	switch {
	case m.Err == nil:
		r.lastContact, r.lost, r.silence = time.Now(), 0, ""
		for _, order := range m.Orders {
			r.dispatcher.Tell(msg.Abort(order))
		}
	case isUnregistered(m.Err) || isFinal(m.Err):
		c.Self().Tell(msg.SessionLost{Op: "heartbeat"})
	default:
		r.silence = m.Err.Error()
		c.Log().Warn().Err(m.Err).Msg("heartbeat is not answered")
	}
}
