package actors

import (
	"context"
	"fmt"
	"time"

	"runnerd/actors/shell"
	msg "runnerd/messages"
)

// The runner and the server: registration, heartbeat, intake; and how the runner ends.

func (r *runner) register(c *shell.Ctx[msg.ToRunner]) {
	if r.registering || r.registered || r.stopped != nil {
		return
	}
	r.registering = true
	release, settings := r.Release, r.Settings
	c.Go("register", func(ctx context.Context) msg.ToRunner {
		registration, err := release.Register(ctx)
		if err == nil {
			if saveErr := settings.SaveConfig(registration.Config); saveErr != nil {
				err = fmt.Errorf("keep the server's configuration: %w", saveErr)
			}
		}
		return msg.Registered{Registration: registration, Err: err}
	})
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
	if m.Err != nil {
		r.failures++
		r.serverSays = m.Err.Error()
		wait := towardsServer.afterError(m.Err, r.failures, c.Chance())
		line := c.Log().Error().Err(m.Err).Int("attempt", r.failures).Dur("retry", wait)
		if isUnregistered(m.Err) {
			line.Msg("the server refuses the registration token: check --token (RELEASE_RUNNER_TOKEN); a token may be revoked or expired, and must have the runner registration permission")
		} else {
			line.Msg("not registered: check --release-url (RELEASE_RUNNER_RELEASE_URL), the network, and that the server is up")
		}
		c.After("register", wait, msg.RegisterDue{})
		return
	}
	r.registered, r.failures, r.serverSays = true, 0, ""
	r.runnerID, r.lastContact = m.Registration.RunnerID, time.Now()
	r.Config = m.Registration.Config
	c.Log().Info().Str("runner", r.runnerID).Int("capacity", r.Config.Capacity).Dur("eviction", r.Config.Eviction).Int64("revision", r.Config.Revision).Msg("registered")
	r.dispatcher.Tell(msg.Configured{Config: r.Config})
	r.reporter.Tell(msg.SessionRenewed{})
	r.intake()
}

// intake opens the poller while jobs are welcome.
func (r *runner) intake() {
	if r.registered && r.recovery.Done && r.Config.Enabled && r.stopped == nil {
		r.poller.Tell(msg.IntakeOpened{})
	} else {
		r.poller.Tell(msg.IntakeClosed{})
	}
}

func (r *runner) heartbeat(c *shell.Ctx[msg.ToRunner]) {
	c.After("heartbeat", heartbeatEvery, msg.HeartbeatDue{})
	if !r.registered {
		return
	}
	release, spool := r.Release, r.Spool
	c.Go("heartbeat", func(ctx context.Context) msg.ToRunner {
		var phases []msg.Phase
		for _, job := range spool.Jobs() {
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
		r.lastContact, r.lost = time.Now(), 0
		for _, order := range m.Orders {
			r.dispatcher.Tell(msg.Abort(order))
		}
	case isUnregistered(m.Err) || isFinal(m.Err):
		c.Self().Tell(msg.SessionLost{Op: "heartbeat"})
	default:
		c.Log().Warn().Err(m.Err).Msg("heartbeat is not answered")
	}
}

// drain ends in an orderly way: nothing new, what runs is finished and reported.
func (r *runner) drain(c *shell.Ctx[msg.ToRunner], done func()) {
	if r.stopped != nil {
		return
	}
	r.stopped = done
	c.Log().Info().Msg("draining: no new jobs; running ones are finished first")
	r.intake()
	r.drainDispatcher(c)
}

func (r *runner) drainDispatcher(c *shell.Ctx[msg.ToRunner]) {
	self := c.Self()
	r.dispatcher.Tell(msg.DrainDispatch{Done: func() { self.Tell(msg.PoolDrained{}) }})
}

func (r *runner) checkReports(c *shell.Ctx[msg.ToRunner]) {
	self := c.Self()
	r.reporter.Tell(msg.BacklogWanted{Reply: func(n int) { self.Tell(msg.DrainChecked{Backlog: n}) }})
}

func (r *runner) reportsChecked(c *shell.Ctx[msg.ToRunner], backlog int) {
	if backlog > 0 && time.Now().Before(r.drainEnds) {
		c.After("reports", 100*time.Millisecond, msg.DrainDue{})
		return
	}
	c.Log().Info().Int("unreported", backlog).Msg("drained; what is unreported is in the spool and is sent by the next start")
	r.stopped()
}

func (r *runner) status() msg.Status {
	s := msg.Status{RunnerID: r.runnerID, LastContact: r.lastContact, Config: r.Config, Recovery: r.recovery}
	switch {
	case r.stopped != nil:
		s.Phase = "draining"
		s.NotReady = append(s.NotReady, "the runner is draining")
	case !r.recovery.Done:
		s.Phase = "recovering"
	case r.registered:
		s.Phase = "online"
	case r.runnerID != "":
		s.Phase = "offline"
	default:
		s.Phase = "registering"
	}
	if !r.recovery.Done {
		s.NotReady = append(s.NotReady, join("recovery is not done", r.recovery.WaitsFor))
	}
	if left := r.recovery.Adopted - r.recovery.Attached; left > 0 {
		s.NotReady = append(s.NotReady, fmt.Sprintf("of %d executors that outlived the restart %d are not found again yet", r.recovery.Adopted, left))
	}
	if !r.registered {
		s.NotReady = append(s.NotReady, join("not registered with the server", r.serverSays))
	}
	return s
}

func join(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}
