package actors

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

// The runner's connection to the server: registration, heartbeat, configuration, intake.

// connection is the state of the runner's connection to the server.
type connection struct {
	registering        bool
	registered         bool
	lostRegistrations  int // since the server last answered a heartbeat
	runnerID           string
	lastEvent          string // the last event that the registration includes
	lastContact        time.Time
	unregisteredReason string    // why the runner is not registered
	heartbeatError     string    // why the last heartbeat failed
	registerFailures   int       // in a row
	noResponse         bool      // the server did not respond to the last registration
	loggedAt           time.Time // when a failed registration was last logged as an error
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

// offline stops the intake and registers again. Running jobs continue.
func (r *runner) offline(c *actorrt.Ctx[msg.ToRunner], why string) {
	r.registered, r.unregisteredReason = false, why
	r.sse.Tell(msg.CloseStream{})
	r.intake()
	r.registerAnew(c)
}

// registerAnew registers at once the first time, and with backoff if registrations keep getting lost.
func (r *runner) registerAnew(c *actorrt.Ctx[msg.ToRunner]) {
	r.lostRegistrations++
	if r.lostRegistrations == 1 {
		r.register(c)
		return
	}
	c.After("register", towardsServer.after(r.lostRegistrations-1, c.Jitter()), msg.RegisterDue{})
}

func (r *runner) registrationAnswered(c *actorrt.Ctx[msg.ToRunner], m msg.Registered) {
	r.registering = false
	defer r.endDrain(c) // the drain may have waited for this answer
	if m.Err != nil {
		r.registerFailures++
		r.unregisteredReason = m.Err.Error()
		wait := towardsServer.afterError(m.Err, r.registerFailures, c.Jitter())
		_, answered := asRefusal(m.Err)
		r.noResponse = !answered
		level := zerolog.ErrorLevel
		if r.noResponse && time.Since(r.loggedAt) < heartbeatEvery {
			level = zerolog.DebugLevel
		} else {
			r.loggedAt = time.Now()
		}
		line := c.Log().WithLevel(level).Err(m.Err).Int("attempt", r.registerFailures).Dur("retry", wait)
		switch {
		case errors.Is(m.Err, msg.ErrConfig):
			line.Msg("registration failed: fix this runner's configuration on the server")
		case isUnregistered(m.Err):
			line.Msg("server refused the registration token: check --token (RELEASE_RUNNER_TOKEN); it may be revoked or expired, or lack the runner registration permission")
		default:
			line.Msg("registration failed: check --release-url (RELEASE_RUNNER_RELEASE_URL), the network, and that the server is up")
		}
		c.After("register", wait, msg.RegisterDue{})
		return
	}
	r.registered, r.registerFailures, r.unregisteredReason, r.heartbeatError = true, 0, "", ""
	r.runnerID, r.lastEvent, r.lastContact = m.Registration.RunnerID, m.Registration.LastEventID, time.Now()
	withConfig(c.Log().Info().Str("runner", r.runnerID), m.Registration.Config).Msg("registered")
	r.configure(c, m.Registration.Config)
	r.sse.Tell(msg.OpenStream{After: r.lastEvent})
	r.reporter.Tell(msg.RegistrationRenewed{})
}

// configure applies a configuration.
func (r *runner) configure(c *actorrt.Ctx[msg.ToRunner], config msg.Config) {
	r.Config = config
	r.saveConfig(c)
	r.dispatcher.Tell(msg.Configured{Config: r.effective()})
	r.intake()
}

// effective returns the configuration in force. The runner's own capabilities apply while the server configures none.
func (r *runner) effective() msg.Config {
	config := r.Config
	if len(config.Capabilities) == 0 {
		config.Capabilities = r.Capabilities
	}
	return config
}

// saveConfig stores the configuration for the next start. Writes are serialised, and the newest configuration is written last.
func (r *runner) saveConfig(c *actorrt.Ctx[msg.ToRunner]) {
	if r.configChanged = r.savingConfig; r.savingConfig {
		return
	}
	r.savingConfig = true
	settings, config := r.Settings, r.Config
	c.Go("save configuration", func(context.Context) msg.ToRunner { return msg.ConfigSaved{Err: settings.SaveConfig(config)} })
}

func (r *runner) configSaved(c *actorrt.Ctx[msg.ToRunner], m msg.ConfigSaved) {
	if m.Err != nil {
		c.Log().Error().Err(m.Err).Msg("could not save the server's configuration: a restart will not have it until it has registered")
	}
	if r.savingConfig = false; r.configChanged {
		r.saveConfig(c)
	}
}

// apply carries out an event of the server.
func (r *runner) apply(c *actorrt.Ctx[msg.ToRunner], event msg.Event) {
	r.lastContact = time.Now()
	switch event := event.(type) {
	case msg.Ping:
	case msg.Enable:
		r.enable(c, true)
	case msg.Disable:
		r.enable(c, false)
	case msg.Configure:
		if event.Config.Revision >= r.Config.Revision {
			r.reconfigure(c, event.Config)
		}
	case msg.Delete:
		r.delete(c)
	case msg.ExecuteScript:
		r.poller.Tell(msg.ScriptStored{Job: event.Offer.Job})
	case msg.StopJob:
		r.dispatcher.Tell(msg.Abort(event.Order))
	}
}

func (r *runner) enable(c *actorrt.Ctx[msg.ToRunner], enabled bool) {
	config := r.Config
	config.Enabled = enabled
	r.reconfigure(c, config)
}

func (r *runner) reconfigure(c *actorrt.Ctx[msg.ToRunner], config msg.Config) {
	withConfig(c.Log().Info(), config).Msg("configuration received")
	r.configure(c, config)
}

func withConfig(line *zerolog.Event, config msg.Config) *zerolog.Event {
	return line.Bool("enabled", config.Enabled).Int("capacity", config.Capacity).Dur("eviction", config.Eviction).
		Strs("capabilities", config.Capabilities).Int64("revision", config.Revision)
}

// intake opens or closes the poller's intake.
func (r *runner) intake() {
	if r.registered && r.recovery.Done && r.Config.Enabled && !r.isEnding() {
		r.poller.Tell(msg.IntakeOpened{})
	} else {
		r.poller.Tell(msg.IntakeClosed{Done: r.onDetached})
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
		r.lastContact, r.lostRegistrations, r.heartbeatError = time.Now(), 0, ""
		for _, order := range m.Orders {
			r.dispatcher.Tell(msg.Abort(order))
		}
	case isUnregistered(m.Err) || isFinal(m.Err):
		c.Self().Tell(msg.RegistrationLost{Op: "heartbeat"})
	default:
		r.heartbeatError = m.Err.Error()
		c.Log().Warn().Err(m.Err).Msg("heartbeat failed")
	}
}
