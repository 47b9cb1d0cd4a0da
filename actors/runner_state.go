package actors

import (
	"fmt"
	"slices"

	"runnerd/actors/actorrt"
	msg "runnerd/messages"
)

// runnerState is the lifecycle state of the runner.
type runnerState string

const (
	unstarted   runnerState = ""
	recovering  runnerState = "recovering"  // not all executors and jobs that survived the last restart are known yet
	registering runnerState = "registering" // the server has accepted no registration yet
	online      runnerState = "online"
	offline     runnerState = "offline"   // no longer registered: no new jobs, running ones continue
	draining    runnerState = "draining"  // no new jobs, existing ones are finished and reported
	detaching   runnerState = "detaching" // executors and jobs are left to the next start as they are
	deleting    runnerState = "deleting"  // the server has deleted the runner: jobs are aborted
)

// nextRunnerStates lists the allowed transitions. A dispatcher that crashes loses what recovery has found, so the runner may return to
// recovering from every state before draining. Events may arrive after the registration has ended. A deletion continues after a restart.
// Draining, detaching and deleting last until the process ends, which may happen at any time.
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

// currentState derives the state from the runner's fields.
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

// logTransition is called after each message. It logs a change of state, and panics if nextRunnerStates does not allow it.
func (r *runner) logTransition(c *actorrt.Ctx[msg.ToRunner]) {
	r.updateReady()
	to := r.currentState()
	if to == r.state {
		return
	}
	if !slices.Contains(nextRunnerStates[r.state], to) {
		panic(fmt.Sprintf("invalid transition of the runner from %q to %q", r.state, to))
	}
	c.Log().Info().Str("from", string(r.state)).Str("to", string(to)).Msg("runner state changed")
	r.state = to
}
