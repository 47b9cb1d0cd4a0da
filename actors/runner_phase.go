package actors

import (
	"fmt"
	"slices"

	"runnerd/actors/shell"
	msg "runnerd/messages"
)

// phase is how the runner stands with what it had before, with the server, and with its own end.
type phase string

const (
	unstarted   phase = ""
	recovering  phase = "recovering"  // it is not all known yet what outlived the last restart
	registering phase = "registering" // the server has answered no registration yet
	online      phase = "online"
	offline     phase = "offline"  // registered no more: no new jobs, those that run go on
	draining    phase = "draining" // no new jobs, those that run are finished and reported
	leaving     phase = "leaving"  // to the next start, with executors and jobs as they are
	deleting    phase = "deleting" // the server has deleted it: jobs are aborted
)

// nextPhase says where each phase may lead. A dispatcher that crashes forgets what recovery has found: from wherever it was, the
// runner recovers. What the server has said may arrive after its registration has ended. A deletion goes on after a restart. The
// last three last until the process ends, and it may end at any time.
var nextPhase = map[phase][]phase{
	unstarted:   {recovering, deleting},
	recovering:  {registering, online, offline, draining, leaving, deleting},
	registering: {online, recovering, draining, leaving},
	online:      {offline, recovering, draining, leaving, deleting},
	offline:     {online, recovering, draining, leaving, deleting},
	draining:    {leaving, deleting},
	leaving:     {deleting},
	deleting:    {},
}

// standing is the phase that the runner is in. It follows from what the runner knows; so it is not set, but seen.
func (r *runner) standing() phase {
	switch {
	case r.deleted:
		return deleting
	case r.tellLeft != nil:
		return leaving
	case r.tellStopped != nil:
		return draining
	case !r.recovery.Done:
		return recovering
	case r.registered:
		return online
	case r.runnerID != "":
		return offline
	default:
		return registering
	}
}

// moved follows each message.
func (r *runner) moved(c *shell.Ctx[msg.ToRunner]) {
	r.tellReady()
	to := r.standing()
	if to == r.phase {
		return
	}
	if !slices.Contains(nextPhase[r.phase], to) {
		panic(fmt.Sprintf("a runner that is %q must not become %q", r.phase, to))
	}
	c.Log().Info().Str("from", string(r.phase)).Str("to", string(to)).Msg("runner changes")
	r.phase = to
}
