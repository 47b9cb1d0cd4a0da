package devserver_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"runnerd/infra/contract"
	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
)

func TestRepeatedRegistrationReplacesAccessToken(t *testing.T) {
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	first := r.Registration
	r.register()
	if r.RunnerID != first.RunnerID || r.AccessToken == first.AccessToken {
		t.Errorf("registered as %+v, then as %+v", first, r.Registration)
	}
	r.AccessToken = first.AccessToken
	response, err := r.api.HeartbeatWithResponse(t.Context(), r.RunnerID, api.JobPhases{Jobs: []api.JobPhase{}})
	if err != nil || response.StatusCode() != http.StatusUnauthorized {
		t.Errorf("heartbeat with the older token: %v, %v", response.StatusCode(), err)
	}
	if n := len(s.Runners()); n != 1 {
		t.Errorf("%d runners, want 1", n)
	}
}

func TestInvalidRequestGetsProblemDocument(t *testing.T) {
	key := `"publicKey":"bm8="`
	tests := map[string]struct {
		method, path, token, body string
		status                    int
		detail                    string
	}{
		"register with a wrong token":    {"POST", "/api/v1/runners/register", "x", `{}`, 401, "registration token"},
		"register without a name":        {"POST", "/api/v1/runners/register", token, `{"uuid":"u","version":"1",` + key + `}`, 400, `"name"`},
		"register with an invalid key":   {"POST", "/api/v1/runners/register", token, `{"uuid":"u","name":"n","version":"1",` + key + `}`, 400, "publicKey"},
		"register without JSON":          {"POST", "/api/v1/runners/register", token, `<html>`, 400, "JSON"},
		"reserve without a session":      {"POST", "/api/v1/runners/r/jobs/reserve?max=1", "x", ``, 401, "register again"},
		"reserve for another runner":     {"POST", "/api/v1/runners/r/jobs/reserve?max=1", "own", ``, 404, "register again"},
		"reserve no job":                 {"POST", "/api/v1/runners/own/jobs/reserve?max=0", "own", ``, 400, "max"},
		"reserve without max":            {"POST", "/api/v1/runners/own/jobs/reserve", "own", ``, 400, "max"},
		"wait for an invalid time":       {"POST", "/api/v1/runners/own/jobs/reserve?max=1&wait=long", "own", ``, 400, "wait"},
		"confirm an unknown job":         {"POST", "/api/v1/jobs/j/confirm", "own", `{"executionId":"e"}`, 404, "not found"},
		"confirm without an execution":   {"POST", "/api/v1/jobs/j/confirm", "own", `{}`, 400, `"executionId"`},
		"heartbeat without jobs":         {"POST", "/api/v1/runners/own/heartbeat", "own", `{}`, 400, `"jobs"`},
		"finish without an exit code":    {"POST", "/api/v1/jobs/j/finish", "own", `{"executionId":"e","outcome":"failed"}`, 400, `"exitCode"`},
		"finish with an unknown outcome": {"POST", "/api/v1/jobs/j/finish", "own", `{"executionId":"e","outcome":"odd","exitCode":1}`, 400, "outcome"},
		"complete without a result":      {"POST", "/api/v1/jobs/j/finish", "own", `{"executionId":"e","outcome":"completed","exitCode":0}`, 400, `"result"`},
		"log without a range":            {"PATCH", "/api/v1/jobs/j/log", "own", `text`, 400, "Content-Range"},
		"send a body that is too large":  {"POST", "/api/v1/jobs/j/confirm", "own", strings.Repeat(" ", 1<<20+1), 413, "too large"},
		"request an unknown path":        {"GET", "/api/v1/nothing", "own", ``, 404, "/api/v1/openapi.yaml"},
	}
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			q, err := http.NewRequestWithContext(t.Context(), test.method, "http://server.test"+strings.ReplaceAll(test.path, "/own/", "/"+r.RunnerID+"/"), strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			q.Header.Set("Authorization", "Bearer "+strings.ReplaceAll(test.token, "own", r.AccessToken))
			q.Header.Set("Content-Type", "application/json")
			response, err := handlerClient{s.Handler()}.Do(q)
			if err != nil {
				t.Fatal(err)
			}
			var problem api.Problem
			decode(t, response, &problem)
			if response.StatusCode != test.status || problem.Status != test.status || !strings.Contains(problem.Detail, test.detail) ||
				response.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("got %d %+v, want %d with %s", response.StatusCode, problem, test.status, test.detail)
			}
		})
	}
}

func TestOffersFollowPriorityAndMax(t *testing.T) {
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	low := submit(t, s, devserver.TaskRequest{TaskType: "test.Hello"})
	lower := submit(t, s, devserver.TaskRequest{TaskType: "test.Hello", Priority: -1})
	high := submit(t, s, devserver.TaskRequest{TaskType: "test.Hello", Priority: 1})
	var order []string
	for _, limit := range []int{2, 2, 1} {
		jobs := r.reserve(limit, "0s")
		if len(jobs) > limit {
			t.Errorf("%d jobs for a maximum of %d", len(jobs), limit)
		}
		for _, job := range jobs {
			order = append(order, job.JobID)
		}
	}
	if diff := cmp.Diff([]string{high, low, lower}, order); diff != "" {
		t.Error(diff)
	}
}

func TestConfirmIsRepeatableButLosesToAbort(t *testing.T) {
	s := newServer(t, devserver.Options{})
	r, other := newRunner(t, s), newRunner(t, s)
	job := r.running(s, devserver.TaskRequest{})
	if status := other.confirm(job); status != 409 {
		t.Errorf("another runner's confirm: status %d, want 409", status)
	}
	r.finish(job, r.result(job, contract.Result{}))
	if status := r.confirm(job); status != 204 {
		t.Errorf("confirm after the finish: status %d, want 204", status)
	}
	id := submit(t, s, devserver.TaskRequest{TaskType: "test.Hello"})
	job = r.reserve(1, "0s")[0]
	if err := s.Abort(id, "no more"); err != nil {
		t.Fatal(err)
	}
	if status := r.confirm(job); status != 410 {
		t.Errorf("confirm after an abort: status %d, want 410", status)
	}
	if v := view(t, s, id); v.State != devserver.Aborted || v.Message != "Aborted: no more" {
		t.Errorf("the task is %s: %s", v.State, v.Message)
	}
}

func TestHeartbeatAnswerNamesJobsToAbort(t *testing.T) {
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	wanted, unwanted := r.running(s, devserver.TaskRequest{}), r.running(s, devserver.TaskRequest{})
	if err := s.Abort(unwanted.JobID, "no more"); err != nil {
		t.Fatal(err)
	}
	response, err := r.api.HeartbeatWithResponse(t.Context(), r.RunnerID, api.JobPhases{Jobs: []api.JobPhase{
		{JobID: wanted.JobID, ExecutionID: wanted.ExecutionID, Phase: "running"},
		{JobID: unwanted.JobID, ExecutionID: unwanted.ExecutionID, Phase: "running"},
		{JobID: wanted.JobID, ExecutionID: "older", Phase: "running"},
		{JobID: "../x", ExecutionID: "e", Phase: "running"},
	}})
	if err != nil || response.JSON200 == nil {
		t.Fatal(response, err)
	}
	want := []api.AbortJobEvent{
		{JobID: unwanted.JobID, ExecutionID: unwanted.ExecutionID, Reason: "no more"},
		{JobID: wanted.JobID, ExecutionID: "older", Reason: "the server does not know this job"},
		{JobID: "../x", ExecutionID: "e", Reason: "the server does not know this job"},
	}
	if diff := cmp.Diff(want, response.JSON200.Abort); diff != "" {
		t.Error(diff)
	}
}

func TestLargeInputIsFetched(t *testing.T) {
	s := newServer(t, devserver.Options{MaxInlineInput: 1000})
	r := newRunner(t, s)
	name := strings.Repeat("n", 1000)
	job := r.running(s, devserver.TaskRequest{Properties: map[string]any{"yourName": name}})
	if job.Input != "" || job.InputURL == "" {
		t.Fatalf("offered with input %q and URL %q", job.Input, job.InputURL)
	}
	response, err := r.api.InputWithResponse(t.Context(), job.JobID)
	if err != nil {
		t.Fatal(err)
	}
	job.Input = string(response.Body)
	if got := property(r.input(job), "yourName").Value; got != name {
		t.Errorf("fetched %v", got)
	}
	small := r.running(s, devserver.TaskRequest{TaskType: "unknown.Type", Image: "i"})
	if response, err := r.api.InputWithResponse(t.Context(), small.JobID); err != nil || response.StatusCode() != 404 {
		t.Errorf("an input that was in its offer: %v, %v", response.StatusCode(), err)
	}
}

func TestResultDecidesTaskView(t *testing.T) {
	plugin := func(r contract.Result) func(*testRunner, api.Job) api.Ending {
		return func(runner *testRunner, job api.Job) api.Ending { return runner.result(job, r) }
	}
	bare := func(e api.Ending) func(*testRunner, api.Job) api.Ending {
		return func(*testRunner, api.Job) api.Ending { return e }
	}
	tests := map[string]struct {
		ending  func(*testRunner, api.Job) api.Ending
		state   devserver.State
		message string
	}{
		"exit code 0":               {plugin(contract.Result{}), devserver.Completed, ""},
		"a plugin's failure":        {plugin(contract.Result{ExitCode: 1, JobErrorMessage: "no luck"}), devserver.Failed, "Execution failed.\nCause: no luck"},
		"a failure without message": {plugin(contract.Result{ExitCode: 7}), devserver.Failed, "Execution failed.\nCause: exit code 7"},
		"no result":                 {bare(api.Ending{Outcome: api.OutcomeFailed, Message: "no such image"}), devserver.Failed, "Execution failed.\nCause: no such image"},
		"aborted":                   {bare(api.Ending{Outcome: api.OutcomeAborted, Message: "asked for"}), devserver.Aborted, "Aborted: asked for"},
		"timed out":                 {bare(api.Ending{Outcome: api.OutcomeTimedOut}), devserver.Failed, "Execution failed.\nCause: timeout exceeded"},
	}
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			job := r.running(s, devserver.TaskRequest{})
			ending := test.ending(r, job)
			for range 2 {
				if status := r.finish(job, ending); status != 204 {
					t.Errorf("finish: status %d, want 204", status)
				}
			}
			v, err := s.Wait(t.Context(), job.JobID)
			if err != nil || v.State != test.state || v.Message != test.message || v.Outcome != ending.Outcome {
				t.Errorf("%s, %s: %q, %v", v.State, v.Outcome, v.Message, err)
			}
		})
	}
	if violations := s.Ledger().Violations(); len(violations) > 0 {
		t.Error(violations)
	}
}

func TestPasswordOutputsAreMasked(t *testing.T) {
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	job := r.running(s, devserver.TaskRequest{})
	r.finish(job, r.result(job, contract.Result{OutputProperties: map[string]any{"greeting": "Hello", "key": "hidden"}}))
	want := map[string]any{"greeting": "Hello", "key": "***"}
	if diff := cmp.Diff(want, view(t, s, job.JobID).OutputProperties); diff != "" {
		t.Error(diff)
	}
}

func TestUnregisterFailsRunningJobs(t *testing.T) {
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	job := r.running(s, devserver.TaskRequest{})
	waiting := submit(t, s, devserver.TaskRequest{TaskType: "test.Hello"})
	r.reserve(1, "0s")
	if response, err := r.api.UnregisterWithResponse(t.Context(), r.RunnerID); err != nil || response.StatusCode() != 204 {
		t.Fatal(response, err)
	}
	if v := view(t, s, job.JobID); v.State != devserver.Failed {
		t.Errorf("the job that ran is %s", v.State)
	}
	if jobs := newRunner(t, s).reserve(1, "0s"); len(jobs) != 1 || jobs[0].JobID != waiting {
		t.Errorf("the next runner is offered %v", jobs)
	}
}

func TestInterceptMakesServerFail(t *testing.T) {
	lost := true
	s := newServer(t, devserver.Options{Intercept: func(op string, w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if op == "confirm" && lost {
			lost = false
			next(discard{http.Header{}}, r)
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		next(w, r)
	}})
	r := newRunner(t, s)
	submit(t, s, devserver.TaskRequest{TaskType: "test.Hello"})
	job := r.reserve(1, "0s")[0]
	if first, second := r.confirm(job), r.confirm(job); first != 502 || second != 204 {
		t.Errorf("confirms: status %d and %d, want 502 and 204", first, second)
	}
}

type discard struct{ header http.Header }

func (d discard) Header() http.Header       { return d.header }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}
