package devserver

import (
	"net/http"
	"time"

	"runnerd/infra/release/api"
)

func (a runnerAPI) Confirm(w http.ResponseWriter, r *http.Request, jobID string) {
	caller, err := a.authenticate(r)
	if err != nil {
		respond(w, err)
		return
	}
	var body api.Confirmation
	if err := decodeJSON(w, r, maxSmallBody, &body, "executionId"); err != nil {
		respond(w, err)
		return
	}
	respond(w, a.confirm(caller, jobID, body.ExecutionID))
}

func (s *Server) confirm(caller *runner, jobID, execution string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.task(jobID)
	if err != nil {
		return err
	}
	switch {
	case t.view.Runner != caller.id || t.view.Execution != execution:
		return errorf(409, "job %s is not offered to this runner as execution %s", jobID, execution)
	case !t.view.Started.IsZero():
		return nil
	case t.view.State.Done():
		return errorf(410, "job %s was aborted", jobID)
	case t.offerable():
		return errorf(409, "the offer of job %s as execution %s has expired", jobID, execution)
	}
	t.view.State, t.view.Started = Running, time.Now()
	s.events.dropEvents(caller.id, func(e event) bool { return e.job == jobID && e.name == "ExecuteScript" })
	s.ledger.record(t.entry("confirm", ""))
	t.changed.notify()
	return nil
}

func (a runnerAPI) Input(w http.ResponseWriter, r *http.Request, jobID string) {
	input, err := a.sealedInput(r, jobID)
	if err != nil {
		respond(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(input))
}

func (s *Server) sealedInput(r *http.Request, jobID string) (string, error) {
	caller, err := s.authenticate(r)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.task(jobID)
	switch {
	case err != nil:
		return "", err
	case t.view.State.Done() || t.view.Runner != caller.id:
		return "", errorf(410, "job %s has ended or belongs to another runner", jobID)
	case t.sealed == "":
		return "", errorf(404, "the input of job %s was part of its offer", jobID)
	}
	return t.sealed, nil
}
