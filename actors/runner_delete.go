package actors

import (
	"context"
	"time"

	"runnerd/actors/shell"
	msg "runnerd/messages"
)

// How the server deletes the runner.

// deletion is how far that has come.
type deletion struct {
	deleted bool // jobs are aborted, and then nobody registers again
	noted   bool // the next start knows it
	unnoted int  // attempts to note it
	untold  int  // attempts to unregister
}

// delete ends everything: jobs are aborted, executors end, the server hears of it, and nothing is kept. Whenever the process ends
// meanwhile, the next start goes on with it.
func (r *runner) delete(c *shell.Ctx[msg.ToRunner]) {
	if r.deleted {
		return
	}
	r.deleted = true
	c.Log().Warn().Msg("the server deletes this runner: its jobs are aborted, and what it has on this machine is removed")
	if r.tellStopped == nil {
		r.tellStopped = func() {}
	}
	if !r.noted {
		r.noteDeletion(c)
	}
	r.intake()
	r.drainDispatcher(c)
}

func (r *runner) noteDeletion(c *shell.Ctx[msg.ToRunner]) {
	settings := r.Settings
	c.Go("note deletion", func(context.Context) msg.ToRunner { return msg.DeletionNoted{Err: settings.NoteDeletion()} })
}

func (r *runner) deletionNoted(c *shell.Ctx[msg.ToRunner], m msg.DeletionNoted) {
	if m.Err != nil {
		r.unnoted++
		wait := towardsServer.after(r.unnoted, c.Chance())
		c.Log().Error().Err(m.Err).Int("attempt", r.unnoted).Dur("retry", wait).Msg("a restart will not know that the server has deleted this runner")
		c.After("note deletion", wait, msg.NoteDeletionDue{})
		return
	}
	r.noted = true
	r.unregister(c)
}

// unregister is the last word to the server. It comes when all is done, and when no restart would register again: one that finds the
// session repeats it.
func (r *runner) unregister(c *shell.Ctx[msg.ToRunner]) {
	if !r.noted || !r.ended {
		return
	}
	release, settings, id, token := r.Release, r.Settings, r.runnerID, r.token
	c.Go("unregister", func(ctx context.Context) msg.ToRunner {
		if id != "" {
			if err := settings.KeepSession(id, token); err != nil {
				return msg.Unregistered{Err: err}
			}
		}
		return msg.Unregistered{Err: release.Unregister(ctx)}
	})
}

func (r *runner) unregistered(c *shell.Ctx[msg.ToRunner], m msg.Unregistered) {
	if m.Err != nil && !isFinal(m.Err) && !isUnregistered(m.Err) && time.Now().Before(r.drainEnds) {
		r.untold++
		wait := towardsServer.afterError(m.Err, r.untold, c.Chance())
		c.After("unregister", min(wait, time.Until(r.drainEnds)), msg.UnregisterDue{})
		return
	}
	if m.Err != nil {
		c.Log().Warn().Err(m.Err).Msg("the server does not hear that this runner is no more")
	}
	r.Deleted()
	r.tellStopped()
}
