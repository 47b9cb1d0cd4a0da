package actors

import (
	"fmt"
	"slices"

	msg "runnerd/messages"
)

func (r *runner) status() msg.Status {
	s := msg.Status{State: string(r.state), RunnerID: r.runnerID, LastContact: r.lastContact, Config: r.Config, Recovery: r.recovery}
	if r.ending() {
		s.NotReady = append(s.NotReady, "the runner is "+string(r.state))
	}
	if !r.recovery.Done {
		s.NotReady = append(s.NotReady, join("recovery is not done", r.recovery.WaitsFor))
	}
	if left := r.recovery.Adopted - r.recovery.Attached; left > 0 {
		s.NotReady = append(s.NotReady, fmt.Sprintf("of %d executors that outlived the restart %d are not found again yet", r.recovery.Adopted, left))
	}
	if !r.registered {
		s.NotReady = append(s.NotReady, join("not registered with the server", r.refusalReason))
	} else if r.heartbeatError != "" {
		s.NotReady = append(s.NotReady, r.heartbeatError)
	}
	return s
}

// updateReady tells the program what stands against being ready, if that has changed.
func (r *runner) updateReady() {
	if against := r.status().NotReady; r.ReadyChanged != nil && !slices.Equal(against, r.notReady) {
		r.notReady = against
		r.ReadyChanged(against)
	}
}

func join(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}
