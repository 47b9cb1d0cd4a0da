package devserver

import (
	"net/http"

	"runnerd/infra/release/api"
)

func (a runnerAPI) Heartbeat(w http.ResponseWriter, r *http.Request, runnerID string) {
	caller, err := a.authenticateAs(r, runnerID)
	if err != nil {
		respond(w, err)
		return
	}
	var body api.JobPhases
	if err := decodeJSON(w, r, maxSmallBody, &body, "jobs"); err != nil {
		respond(w, err)
		return
	}
	respondJSON(w, http.StatusOK, api.JobsToAbort{Abort: a.jobsToAbort(caller, body.Jobs)})
}

// jobsToAbort returns the aborted and unknown jobs among those that a runner reported. It leaves out finished jobs, because the runner
// may still be sending their logs.
func (s *Server) jobsToAbort(caller *runner, jobs []api.JobPhase) []api.AbortJobEvent {
	s.mu.Lock()
	defer s.mu.Unlock()
	aborts := []api.AbortJobEvent{}
	for _, j := range jobs {
		t := s.tasks[j.JobID]
		switch {
		case t == nil || t.view.Execution != j.ExecutionID || t.view.Runner != caller.id:
			aborts = append(aborts, api.AbortJobEvent{JobID: j.JobID, ExecutionID: j.ExecutionID, Reason: "the server does not know this job"})
		case t.view.AbortReason != "" && t.ending == nil:
			aborts = append(aborts, t.abortEvent())
		}
	}
	return aborts
}
