package devserver

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"

	"runnerd/infra/contract"
	"runnerd/infra/release/api"
	"runnerd/infra/seal"
)

func (a runnerAPI) Finish(w http.ResponseWriter, r *http.Request, jobID string) {
	a.finishKind(w, r, jobID, api.KindTask)
}

func (a runnerAPI) FinishScript(w http.ResponseWriter, r *http.Request, jobID string) {
	a.finishKind(w, r, jobID, api.KindScript)
}

func (a runnerAPI) finishKind(w http.ResponseWriter, r *http.Request, jobID string, kind api.Kind) {
	caller, err := a.authenticate(r)
	if err != nil {
		respond(w, err)
		return
	}
	var ending api.Ending
	if err := decodeJSON(w, r, a.options.MaxBody, &ending, "executionId", "outcome", "exitCode"); err != nil {
		respond(w, err)
		return
	}
	switch {
	case !ending.Outcome.Valid():
		err = errorf(400, "outcome must be completed, failed, aborted or timed-out")
	case ending.Outcome == api.OutcomeCompleted && ending.Result == "":
		err = errorf(400, "the field \"result\" is missing: the outcome completed requires it")
	default:
		err = a.finish(caller, jobID, kind, ending)
	}
	respond(w, err)
}

func (s *Server) finish(caller *runner, jobID string, kind api.Kind, ending api.Ending) error {
	result := ending.Result
	ending.Result = digest(result)
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.task(jobID)
	if err != nil {
		return err
	}
	entry := Entry{Op: "finish", Runner: caller.id, Job: jobID, Execution: ending.ExecutionID,
		Detail: fmt.Sprintf("%s, exit code %d", ending.Outcome, ending.ExitCode)}
	switch {
	case t.view.Kind != kind:
		return errorf(404, "job %s is a %s: use its own finish operation", jobID, t.view.Kind)
	case t.view.Execution != ending.ExecutionID || t.view.Runner != caller.id || t.view.Started.IsZero():
		s.ledger.recordViolation("I3", entry)
		return errorf(409, "job %s is not confirmed by this runner as execution %s", jobID, ending.ExecutionID)
	case t.ending != nil && *t.ending != ending:
		entry.Detail += fmt.Sprintf("; the first finish was %s, exit code %d", t.ending.Outcome, t.ending.ExitCode)
		s.ledger.recordViolation("I1", entry)
		return errorf(409, "job %s was already finished with another result", jobID)
	case t.ending != nil:
		return t.finishErr
	case t.view.State.Done():
		return errorf(410, "job %s has already ended: %s", jobID, t.view.Message)
	}
	s.ledger.record(entry)
	t.ending = &ending
	t.storedBytes = int64(len(result))
	s.applyResult(t, result, entry)
	return t.finishErr
}

// applyResult sets the task's final state from the runner's outcome and the plugin's result.
func (s *Server) applyResult(t *task, sealed string, entry Entry) {
	ending := t.ending
	for _, secret := range t.secrets {
		if strings.Contains(ending.Message, string(secret)) {
			entry.Detail = "password value in the message"
			s.ledger.recordViolation("I8", entry)
		}
	}
	text, err := decryptResult(t.key, sealed)
	if err != nil {
		entry.Detail = err.Error()
		s.ledger.recordViolation("I9", entry)
		t.finishErr = errorf(409, "%v", err)
		s.endTask(t, Failed, failureMessage(err.Error()))
		return
	}
	code := ending.ExitCode
	t.view.Outcome, t.view.ExitCode = ending.Outcome, &code
	var result contract.Result
	if sealed != "" {
		if result, err = contract.ParseResult(text); err != nil { // the plugin's fault, not the runner's
			result = contract.Result{ExitCode: -1, JobErrorMessage: err.Error()}
		}
	}
	t.view.OutputProperties = s.maskOutputs(t, result.OutputProperties)
	cause := cmp.Or(ending.Message, result.JobErrorMessage)
	switch {
	case ending.Outcome == api.OutcomeAborted:
		s.endTask(t, Aborted, abortMessage(cmp.Or(cause, t.view.AbortReason, "the runner gave no reason")))
	case ending.Outcome == api.OutcomeTimedOut:
		s.endTask(t, Failed, failureMessage(cmp.Or(ending.Message, "timeout exceeded")))
	case ending.Outcome == api.OutcomeFailed:
		s.endTask(t, Failed, failureMessage(cmp.Or(cause, "the runner gave no reason")))
	case result.ExitCode != 0:
		t.view.ExitCode = &result.ExitCode
		s.endTask(t, Failed, failureMessage(cmp.Or(result.JobErrorMessage, fmt.Sprintf("exit code %d", result.ExitCode))))
	default:
		t.view.ExitCode = &result.ExitCode
		s.endTask(t, Completed, "")
	}
}

// digest returns the hash by which the results of repeated finishes are compared. It is empty for an empty result.
func digest(result string) string {
	if result == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(result))
	return string(sum[:])
}

func abortMessage(cause string) string {
	if rest, found := strings.CutPrefix(cause, "aborted"); found {
		return "Aborted" + rest
	}
	return "Aborted: " + cause
}

func failureMessage(cause string) string { return "Execution failed.\nCause: " + cause }

// decryptResult decrypts a result. An empty one stays empty.
func decryptResult(key seal.Key, sealed string) ([]byte, error) {
	if sealed == "" {
		return nil, nil
	}
	text, err := seal.Decrypt(key, []byte(sealed))
	if err != nil {
		return nil, fmt.Errorf("decrypt result with the job's session key: %w", err)
	}
	return text, nil
}

// maskOutputs replaces the values of password outputs with ***.
func (s *Server) maskOutputs(t *task, outputs map[string]any) map[string]any {
	for name, p := range s.types.resolve(t.view.TaskType).outputs {
		if _, ok := outputs[name]; ok && p.Password {
			outputs[name] = "***"
		}
	}
	return outputs
}
