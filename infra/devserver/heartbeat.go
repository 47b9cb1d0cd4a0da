package devserver

import (
	"net/http"
	"runnerd/infra/release/api"
)

func (a runnerAPI) Heartbeat(w http.ResponseWriter, r *http.Request, runnerID string) {
	caller, err := a.self(r, runnerID)
	if err != nil {
		answer(w, err)
		return
	}
	var body api.Phases
	if err := read(w, r, smallBody, &body, "jobs"); err != nil {
		answer(w, err)
		return
	}
	answerJSON(w, http.StatusOK, api.Orders{Abort: a.unwanted(caller, body.Jobs)})
}

// unwanted are the jobs that a runner has and should not have. One that is finished may still be sending its log.
func (s *Server) unwanted(caller *runner, jobs []api.JobPhase) []api.AbortJobEvent {
	s.mu.Lock()
	defer s.mu.Unlock()
	stops := []api.AbortJobEvent{}
	for _, j := range jobs {
		t := s.tasks[j.JobID]
		switch {
		case t == nil || t.view.Execution != j.ExecutionID || t.view.Runner != caller.id:
			stops = append(stops, api.AbortJobEvent{JobID: j.JobID, ExecutionID: j.ExecutionID, Reason: "the server does not know this job"})
		case t.view.AbortReason != "" && t.ending == nil:
			stops = append(stops, t.stop())
		}
	}
	return stops
}
