package devserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"runnerd/infra/contract"
	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
	"runnerd/infra/seal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "let me in"

const definitions = `
types:
  test.Base:
    extends: xlrelease.ContainerTask
    virtual: true
    hidden-properties:
      image:
        default: test/plugin:1
  test.Hello:
    extends: test.Base
    input-properties:
      yourName: {kind: string, default: World, required: true}
      password: {kind: string, password: true}
      count: {kind: integer, default: 3}
      loud: {kind: boolean}
      tags: {kind: list_of_string, default: "a, b"}
      headers: {kind: map_string_string}
      server: {kind: ci, referenced-type: test.Server}
      servers: {kind: list_of_ci, referenced-type: test.Server}
    output-properties:
      greeting: {kind: string}
      key: {kind: string, password: true}
  test.Server:
    extends: configuration.BasicAuthHttpConnection
    properties:
      url: {default: "http://example.org"}
  test.Lookup:
    extends: xlrelease.RemoteScriptExecution
    hidden-properties: {image: "test/plugin:2"}
  test.Check:
    extends: xlrelease.RemoteScriptExecution
    hidden-properties: {image: "test/plugin:2"}
    input-properties:
      server: {kind: ci, referenced-type: test.Server}
      parameters: {kind: ci, referenced-type: test.Parameters}
`

// handlerClient calls the handler without a network, so that a test can run in virtual time.
type handlerClient struct{ http.Handler }

func (p handlerClient) Do(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	response := w.Result()
	response.Request = r
	return response, nil
}

func newServer(t *testing.T, options devserver.Options) *devserver.Server {
	t.Helper()
	options.Token = token
	options.TypeDefinitions = [][]byte{[]byte(definitions)}
	s, err := devserver.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// testRunner is a runner with the generated client, controlled by the test.
type testRunner struct {
	t            *testing.T
	api          *api.ClientWithResponses
	identity     *seal.Identity
	uuid         string
	capabilities []string
	api.Registration
}

func newRunner(t *testing.T, s *devserver.Server) *testRunner {
	t.Helper()
	identity, err := seal.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return registerRunner(t, s, identity)
}

// registerRunner registers a runner. Without capabilities it gets all of them.
func registerRunner(t *testing.T, s *devserver.Server, identity *seal.Identity, can ...string) *testRunner {
	t.Helper()
	if len(can) == 0 {
		can = []string{"remote", "remote-script", "container"}
	}
	r := &testRunner{t: t, identity: identity, uuid: identity.UUID(), capabilities: can}
	var err error
	r.api, err = api.NewClientWithResponses("http://server.test", api.WithHTTPClient(handlerClient{s.Handler()}), api.WithRequestEditorFn(r.authorize))
	if err != nil {
		t.Fatal(err)
	}
	r.register()
	return r
}

func (r *testRunner) authorize(_ context.Context, q *http.Request) error {
	if q.Header.Get("Authorization") == "" {
		q.Header.Set("Authorization", "Bearer "+r.AccessToken)
	}
	return nil
}

func (r *testRunner) register() {
	r.t.Helper()
	r.AccessToken = token
	response, err := r.api.RegisterWithResponse(r.t.Context(), api.Runner{
		UUID: r.uuid, Name: "test", Version: "1", PublicKey: r.identity.PublicKey(), Capabilities: r.capabilities,
	})
	if err != nil || response.JSON200 == nil {
		r.t.Fatalf("register: %v, %v", response, err)
	}
	r.Registration = *response.JSON200
}

func (r *testRunner) reserve(limit int, wait string) []api.Job {
	r.t.Helper()
	response, err := r.api.ReserveWithResponse(r.t.Context(), r.RunnerID, &api.ReserveParams{Max: limit, Wait: wait})
	if err != nil {
		r.t.Fatal(err)
	}
	switch {
	case response.JSON200 != nil:
		return response.JSON200.Jobs
	case response.StatusCode() != http.StatusNoContent:
		r.t.Fatalf("reserve: %s %s", response.Status(), response.Body)
	}
	return nil
}

func (r *testRunner) confirm(job api.Job) int {
	r.t.Helper()
	response, err := r.api.ConfirmWithResponse(r.t.Context(), job.JobID, api.Confirmation{ExecutionID: job.ExecutionID})
	if err != nil {
		r.t.Fatal(err)
	}
	return response.StatusCode()
}

func (r *testRunner) log(job api.Job, contentRange, text string) (status int, offset string) {
	r.t.Helper()
	response, err := r.api.AppendLogWithTextBodyWithResponse(r.t.Context(), job.JobID, &api.AppendLogParams{ContentRange: contentRange}, text)
	if err != nil {
		r.t.Fatal(err)
	}
	return response.StatusCode(), response.HTTPResponse.Header.Get("Log-Offset")
}

func (r *testRunner) finish(job api.Job, ending api.Ending) int {
	r.t.Helper()
	ending.ExecutionID = job.ExecutionID
	if job.Kind == api.KindScript {
		response, err := r.api.FinishScriptWithResponse(r.t.Context(), job.JobID, ending)
		if err != nil {
			r.t.Fatal(err)
		}
		return response.StatusCode()
	}
	response, err := r.api.FinishWithResponse(r.t.Context(), job.JobID, ending)
	if err != nil {
		r.t.Fatal(err)
	}
	return response.StatusCode()
}

func (r *testRunner) key(job api.Job) seal.Key {
	r.t.Helper()
	key, err := r.identity.OpenKey(job.SessionKey)
	if err != nil {
		r.t.Fatal(err)
	}
	return key
}

// result returns a completed ending with a plugin's encrypted result.
func (r *testRunner) result(job api.Job, result contract.Result) api.Ending {
	r.t.Helper()
	text, err := json.Marshal(result)
	if err != nil {
		r.t.Fatal(err)
	}
	return api.Ending{Outcome: api.OutcomeCompleted, ExitCode: result.ExitCode, Result: seal.Encrypt(r.key(job), text)}
}

func (r *testRunner) input(job api.Job) contract.InputContext {
	r.t.Helper()
	text, err := seal.Decrypt(r.key(job), []byte(job.Input))
	if err != nil {
		r.t.Fatal(err)
	}
	input, err := contract.ParseInput(text)
	if err != nil {
		r.t.Fatal(err)
	}
	return input
}

// running submits a task, reserves and confirms it.
func (r *testRunner) running(s *devserver.Server, request devserver.TaskRequest) api.Job {
	r.t.Helper()
	if request.TaskType == "" {
		request.TaskType = "test.Hello"
	}
	submit(r.t, s, request)
	jobs := r.reserve(1, "0s")
	if len(jobs) != 1 || r.confirm(jobs[0]) != http.StatusNoContent {
		r.t.Fatalf("no job to confirm: %v", jobs)
	}
	return jobs[0]
}

func submit(t *testing.T, s *devserver.Server, request devserver.TaskRequest) string {
	t.Helper()
	id, err := s.Submit(request)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func view(t *testing.T, s *devserver.Server, id string) devserver.TaskView {
	t.Helper()
	v, err := s.Task(id)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func decode(t *testing.T, response *http.Response, into any) {
	t.Helper()
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		t.Fatalf("decode response of %s: %v", response.Request.URL, err)
	}
}

func property(input contract.InputContext, name string) contract.Property {
	for _, p := range input.Task.Properties {
		if p.Name == name {
			return p
		}
	}
	return contract.Property{}
}

// request sends a request to the REST API.
func request(t *testing.T, s *devserver.Server, method, path, body string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	text, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(bytes.TrimSpace(text))
}
