package actors

import (
	"fmt"
	"slices"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

// runnerState is how the runner stands with what it had before, with the server, and with its own end.
type runnerState string

const (
	unstarted   runnerState = ""
	recovering  runnerState = "recovering"  // it is not all known yet what outlived the last restart
	registering runnerState = "registering" // the server has answered no registration yet
	online      runnerState = "online"
	offline     runnerState = "offline"  // registered no more: no new jobs, those that run go on
	draining    runnerState = "draining" // no new jobs, those that run are finished and reported
	detaching   runnerState = "leaving"  // to the next start, with executors and jobs as they are
	deleting    runnerState = "deleting" // the server has deleted it: jobs are aborted
)

// nextRunnerStates says where each phase may lead. A dispatcher that crashes forgets what recovery has found: from wherever it was, the
// runner recovers. What the server has said may arrive after its registration has ended. A deletion goes on after a restart. The
// last three last until the process ends, and it may end at any time.
var nextRunnerStates = map[runnerState][]runnerState{
	unstarted:   {recovering, deleting},
	recovering:  {registering, online, offline, draining, detaching, deleting},
	registering: {online, recovering, draining, detaching},
	online:      {offline, recovering, draining, detaching, deleting},
	offline:     {online, recovering, draining, detaching, deleting},
	draining:    {detaching, deleting},
	detaching:   {deleting},
	deleting:    {},
}

// currentState is the phase that the runner is in. It follows from what the runner knows; so it is not set, but seen.
func (r *runner) currentState() runnerState {
	switch {
	case r.deleted:
		return deleting
	case r.onDetached != nil:
		return detaching
	case r.onStopped != nil:
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

// logTransition follows each message.
func (r *runner) logTransition(c *actorrt.Ctx[msg.ToRunner]) {
	r.updateReady()
	to := r.currentState()
	if to == r.state {
		return
	}
	if !slices.Contains(nextRunnerStates[r.state], to) {
		panic(fmt.Sprintf("a runner that is %q must not become %q", r.state, to))
	}
	c.Log().Info().Str("from", string(r.state)).Str("to", string(to)).Msg("runner changes")
	r.state = to
}
