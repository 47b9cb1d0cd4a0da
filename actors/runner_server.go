package actors

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

// The runner and the server: registration, heartbeat, configuration, intake.

// connection is how the runner stands with the server.
type connection struct {
	registering    bool
	registered     bool
	lostSessions   int // sessions since the server last answered a heartbeat
	runnerID       string
	lastEvent      string // that the registration took into account
	lastContact    time.Time
	refusalReason  string // why we are not registered
	heartbeatError string // why the last heartbeat was not answered
	failures       int
	noResponse     bool      // the last attempt to register was
	loggedAt       time.Time // describeStage the log was last told that we are not registered
}

func (r *runner) register(c *actorrt.Ctx[msg.ToRunner]) {
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
func (r *runner) offline(c *actorrt.Ctx[msg.ToRunner], why string) {
	r.registered, r.refusalReason = false, why
	r.sse.Tell(msg.CloseStream{})
	r.intake()
	r.registerAnew(c)
}

// registerAnew registers at once, but ever more slowly when the server forgets the runner as soon as it has taken it.
func (r *runner) registerAnew(c *actorrt.Ctx[msg.ToRunner]) {
	r.lostSessions++
	if r.lostSessions == 1 {
		r.register(c)
		return
	}
	c.After("register", towardsServer.after(r.lostSessions-1, c.Jitter()), msg.RegisterDue{})
}

func (r *runner) registrationAnswered(c *actorrt.Ctx[msg.ToRunner], m msg.Registered) {
	r.registering = false
	defer r.endDrain(c) // which may have waited for this
	if m.Err != nil {
		r.failures++
		r.refusalReason = m.Err.Error()
		wait := towardsServer.afterError(m.Err, r.failures, c.Jitter())
		_, answered := asRefusal(m.Err)
		r.noResponse = !answered
		level := zerolog.ErrorLevel
		if r.noResponse && time.Since(r.loggedAt) < heartbeatEvery {
			level = zerolog.DebugLevel
		} else {
			r.loggedAt = time.Now()
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
	r.registered, r.failures, r.refusalReason, r.heartbeatError = true, 0, "", ""
	r.runnerID, r.lastEvent, r.lastContact = m.Registration.RunnerID, m.Registration.LastEventID, time.Now()
	withConfig(c.Log().Info().Str("runner", r.runnerID), m.Registration.Config).Msg("registered")
	r.configure(c, m.Registration.Config)
	r.sse.Tell(msg.OpenStream{After: r.lastEvent})
	r.reporter.Tell(msg.SessionRenewed{})
}

// configure puts a configuration in force.
func (r *runner) configure(c *actorrt.Ctx[msg.ToRunner], config msg.Config) {
	r.Config = config
	r.saveConfig(c)
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

// saveConfig keeps the configuration in force for the next start. The newest is written last.
func (r *runner) saveConfig(c *actorrt.Ctx[msg.ToRunner]) {
	if r.configChanged = r.savingConfig; r.savingConfig {
		return
	}
	r.savingConfig = true
	settings, config := r.Settings, r.Config
	c.Go("keep configuration", func(context.Context) msg.ToRunner { return msg.ConfigSaved{Err: settings.SaveConfig(config)} })
}

func (r *runner) configSaved(c *actorrt.Ctx[msg.ToRunner], m msg.ConfigSaved) {
	if m.Err != nil {
		c.Log().Error().Err(m.Err).Msg("the server's configuration is in force, but a restart will not know it before it has registered")
	}
	if r.savingConfig = false; r.configChanged {
		r.saveConfig(c)
	}
}

// apply does what the server says over the control channel.
func (r *runner) apply(c *actorrt.Ctx[msg.ToRunner], said msg.Event) {
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

func (r *runner) enable(c *actorrt.Ctx[msg.ToRunner], enabled bool) {
	config := r.Config
	config.Enabled = enabled
	r.reconfigure(c, config)
}

func (r *runner) reconfigure(c *actorrt.Ctx[msg.ToRunner], config msg.Config) {
	withConfig(c.Log().Info(), config).Msg("the server configures this runner")
	r.configure(c, config)
}

func withConfig(line *zerolog.Event, config msg.Config) *zerolog.Event {
	return line.Bool("enabled", config.Enabled).Int("capacity", config.Capacity).Dur("eviction", config.Eviction).
		Strs("capabilities", config.Capabilities).Int64("revision", config.Revision)
}

// intake opens the poller while jobs are welcome.
func (r *runner) intake() {
	if r.registered && r.recovery.Done && r.Config.Enabled && !r.ending() {
		r.poller.Tell(msg.IntakeOpened{})
	} else {
		r.poller.Tell(msg.IntakeClosed{Settled: r.onDetached})
	}
}

func (r *runner) heartbeat(c *actorrt.Ctx[msg.ToRunner]) {
	c.After("heartbeat", heartbeatEvery, msg.HeartbeatDue{})
	if !r.registered {
		return
	}
	release, spool := r.Release, r.Spool
	c.Go("heartbeat", func(ctx context.Context) msg.ToRunner {
		jobs := spool.Jobs()
		phases := make([]msg.JobPhase, 0, len(jobs))
		for _, job := range jobs {
			if job.Stage >= msg.Confirmed && job.Stage < msg.Finished {
				phases = append(phases, msg.JobPhase{ID: job.ID, Execution: job.Execution, Phase: job.Stage.String()})
			}
		}
		orders, err := release.Heartbeat(ctx, phases)
		return msg.HeartbeatAnswered{Orders: orders, Err: err}
	})
}

func (r *runner) heartbeatAnswered(c *actorrt.Ctx[msg.ToRunner], m msg.HeartbeatAnswered) {
	switch {
	case m.Err == nil:
		r.lastContact, r.lostSessions, r.heartbeatError = time.Now(), 0, ""
		for _, order := range m.Orders {
			r.dispatcher.Tell(msg.Abort(order))
		}
	case isUnregistered(m.Err) || isFinal(m.Err):
		c.Self().Tell(msg.SessionLost{Op: "heartbeat"})
	default:
		r.heartbeatError = m.Err.Error()
		c.Log().Warn().Err(m.Err).Msg("heartbeat is not answered")
	}
}
