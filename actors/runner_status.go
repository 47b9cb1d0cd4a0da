package actors

import (
	"fmt"
	"slices"

	msg "runnerd/messages"
)

func (r *runner) status() msg.Status {
	s := msg.Status{State: string(r.state), RunnerID: r.runnerID, LastContact: r.lastContact, Config: r.Config, Recovery: r.recovery}
	if r.isEnding() {
		s.NotReady = append(s.NotReady, "the runner is "+string(r.state))
	}
	if !r.recovery.Done {
		s.NotReady = append(s.NotReady, join("recovery is not done", r.recovery.WaitingFor))
	}
	if pending := r.recovery.Adopted - r.recovery.Attached; pending > 0 {
		s.NotReady = append(s.NotReady, fmt.Sprintf("%d of %d adopted executors are not attached yet", pending, r.recovery.Adopted))
	}
	if !r.registered {
		s.NotReady = append(s.NotReady, join("not registered with the server", r.unregisteredReason))
	} else if r.heartbeatError != "" {
		s.NotReady = append(s.NotReady, r.heartbeatError)
	}
	if r.blocked != "" {
		s.NotReady = append(s.NotReady, r.blocked)
	}
	return s
}

// updateReady reports the reasons for not being ready, if they have changed.
func (r *runner) updateReady() {
	if reasons := r.status().NotReady; r.ReadyChanged != nil && !slices.Equal(reasons, r.notReady) {
		r.notReady = reasons
		r.ReadyChanged(reasons)
	}
}

func join(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}
