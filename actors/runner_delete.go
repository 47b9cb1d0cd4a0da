package actors

import (
	"context"
	"errors"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

// How the server deletes the runner: it never registers again, and ends like a drain that aborts the jobs.

// deletion is how far that has come.
type deletion struct {
	deleted        bool // nobody registers any more
	recorded       bool // a restart knows it
	recordAttempts int  // attempts to note it
}

var errNoSession = errors.New("there is no session, and a deleted runner must not register")

// delete may be repeated. A start after it goes on with it, without a session: it reports nothing more, and does not unregister.
func (r *runner) delete(c *actorrt.Ctx[msg.ToRunner]) {
	if r.deleted {
		return
	}
	r.deleted, r.ended = true, false // it may have drained already
	c.Log().Warn().Msg("the server deletes this runner: its jobs are aborted, and what it has on this machine is removed")
	if r.onStopped == nil {
		r.onStopped = func() {}
	}
	if !r.recorded {
		r.recordDeletion(c)
	}
	r.intake()
	r.drainDispatcher(c)
}

func (r *runner) recordDeletion(c *actorrt.Ctx[msg.ToRunner]) {
	settings := r.Settings
	c.Go("note deletion", func(context.Context) msg.ToRunner { return msg.DeletionRecorded{Err: settings.RecordDeletion()} })
}

func (r *runner) deletionRecorded(c *actorrt.Ctx[msg.ToRunner], m msg.DeletionRecorded) {
	if m.Err != nil {
		r.recordAttempts++
		wait := towardsServer.after(r.recordAttempts, c.Jitter())
		c.Log().Error().Err(m.Err).Int("attempt", r.recordAttempts).Dur("retry", wait).Msg("a restart will not know that the server has deleted this runner")
		c.After("note deletion", wait, msg.RecordDeletionDue{})
		return
	}
	r.recorded = true
	r.endDrain(c)
}

// unregister is tried once: the server has deleted the runner anyway.
func (r *runner) unregister(c *actorrt.Ctx[msg.ToRunner]) {
	if !r.registered {
		r.unregistered(c, msg.Unregistered{Err: errNoSession})
		return
	}
	release := r.Release
	c.Go("unregister", func(ctx context.Context) msg.ToRunner { return msg.Unregistered{Err: release.Unregister(ctx)} })
}

func (r *runner) unregistered(c *actorrt.Ctx[msg.ToRunner], m msg.Unregistered) {
	if m.Err != nil {
		c.Log().Warn().Err(m.Err).Msg("the server does not hear that this runner is no more")
	}
	r.Deleted()
	r.onStopped()
}
