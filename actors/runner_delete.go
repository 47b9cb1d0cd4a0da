package actors

import (
	"context"
	"errors"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

// The deletion of the runner by the server: it never registers again, and drains with its jobs aborted.

// deletion is the progress of a deletion.
type deletion struct {
	deleted        bool // the runner must not register any more
	recorded       bool // a restart will know about the deletion
	recordAttempts int  // failed attempts to record it
}

var errNotRegistered = errors.New("not registered, and a deleted runner must not register again")

// delete begins the deletion. It may be called again. After a restart the deletion continues without a registration, so the runner reports
// nothing and does not unregister.
func (r *runner) delete(c *actorrt.Ctx[msg.ToRunner]) {
	if r.deleted {
		return
	}
	r.deleted, r.ended = true, false // a drain may have ended before
	c.Log().Warn().Msg("server deleted this runner: aborting its jobs and removing its data from this machine")
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
	c.Go("record deletion", func(context.Context) msg.ToRunner { return msg.DeletionRecorded{Err: settings.RecordDeletion()} })
}

func (r *runner) deletionRecorded(c *actorrt.Ctx[msg.ToRunner], m msg.DeletionRecorded) {
	if m.Err != nil {
		r.recordAttempts++
		wait := towardsServer.after(r.recordAttempts, c.Jitter())
		c.Log().Error().Err(m.Err).Int("attempt", r.recordAttempts).Dur("retry", wait).Msg("could not record that the server deleted this runner; will retry")
		c.After("record deletion", wait, msg.RecordDeletionDue{})
		return
	}
	r.recorded = true
	r.endDrain(c)
}

// unregister is attempted once, because the server has deleted the runner anyway.
func (r *runner) unregister(c *actorrt.Ctx[msg.ToRunner]) {
	if !r.registered {
		r.unregistered(c, msg.Unregistered{Err: errNotRegistered})
		return
	}
	release := r.Release
	c.Go("unregister", func(ctx context.Context) msg.ToRunner { return msg.Unregistered{Err: release.Unregister(ctx)} })
}

func (r *runner) unregistered(c *actorrt.Ctx[msg.ToRunner], m msg.Unregistered) {
	if m.Err != nil {
		c.Log().Warn().Err(m.Err).Msg("could not unregister this runner from the server")
	}
	r.Deleted()
	r.onStopped()
}
