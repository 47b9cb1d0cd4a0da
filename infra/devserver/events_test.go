package devserver_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/launchdarkly/eventsource"

	"runnerd/infra/contract"
	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
)

// openEventStream opens the event stream of a runner over a real connection.
func (r *testRunner) openEventStream(s *devserver.Server, after string) *eventsource.Decoder {
	r.t.Helper()
	web := httptest.NewServer(s.Handler())
	r.t.Cleanup(web.Close)
	q, err := api.NewEventsRequest(web.URL, r.RunnerID, &api.EventsParams{LastEventID: after})
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+r.AccessToken)
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(q.WithContext(r.t.Context()))
	if err != nil || response.StatusCode != 200 {
		r.t.Fatal(response, err)
	}
	return decoder(r.t, response.Body)
}

// expectEvent returns the next event that is not a ping.
func expectEvent(t *testing.T, stream *eventsource.Decoder, name string, into any) (id string) {
	t.Helper()
	for {
		e, err := stream.Decode()
		if err != nil {
			t.Fatal(err)
		}
		if e.Event() == "Ping" && name != "Ping" {
			continue
		}
		if e.Event() != name || e.Id() == "" {
			t.Fatalf("got event %s %q %s, want %s", e.Event(), e.Id(), e.Data(), name)
		}
		if err := json.Unmarshal([]byte(e.Data()), into); err != nil {
			t.Fatal(err)
		}
		return e.Id()
	}
}

func TestEventStreamDeliversEveryEvent(t *testing.T) {
	s := newServer(t, devserver.Options{PingInterval: time.Hour})
	r := newRunner(t, s)
	stream := r.openEventStream(s, r.LastEventID)
	job := r.running(s, devserver.TaskRequest{})
	for _, step := range []struct{ method, path, body string }{
		{"PUT", "/config", `{"enabled":false,"capacity":9,"evictionSeconds":0}`},
		{"PUT", "/config", `{"enabled":true,"capacity":9,"evictionSeconds":0}`},
		{"POST", "/disable", ""},
		{"POST", "/enable", ""},
		{"POST", "/ping", ""},
	} {
		if status, text := request(t, s, step.method, "/api/runners/"+r.RunnerID+step.path, step.body); status != 204 {
			t.Fatal(status, text)
		}
	}
	if status, text := request(t, s, "POST", "/api/tasks/"+job.JobID+"/abort", `{"reason":"no more"}`); status != 204 {
		t.Fatal(status, text)
	}
	if status, text := request(t, s, "DELETE", "/api/runners/"+r.RunnerID, ""); status != 204 {
		t.Fatal(status, text)
	}
	var nothing struct{}
	var configure api.ConfigureEvent
	var abort api.AbortJobEvent
	expectEvent(t, stream, "Configure", &configure)
	if configure.Config.Capacity != 9 || configure.Config.Revision != r.Config.Revision+1 {
		t.Errorf("configured %+v", configure.Config)
	}
	expectEvent(t, stream, "Disable", &nothing)
	expectEvent(t, stream, "Configure", &configure)
	expectEvent(t, stream, "Enable", &nothing)
	expectEvent(t, stream, "Configure", &configure)
	expectEvent(t, stream, "Disable", &nothing)
	expectEvent(t, stream, "Configure", &configure)
	if configure.Config.Capacity != 9 || !configure.Config.Enabled {
		t.Errorf("enabled with %+v", configure.Config)
	}
	expectEvent(t, stream, "Enable", &nothing)
	expectEvent(t, stream, "Ping", &nothing)
	expectEvent(t, stream, "AbortJob", &abort)
	if want := (api.AbortJobEvent{JobID: job.JobID, ExecutionID: job.ExecutionID, Reason: "no more"}); abort != want {
		t.Errorf("aborted %+v, want %+v", abort, want)
	}
	expectEvent(t, stream, "Delete", &nothing)
}

func TestInvalidRunnerConfigurationIsRejected(t *testing.T) {
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	for body, detail := range map[string]string{
		`{"enabled":true,"capacity":-1,"evictionSeconds":0}`:                 "capacity is -1",
		`{"enabled":true,"capacity":1,"evictionSeconds":-1}`:                 "evictionSeconds is -1",
		`{"enabled":true,"capacity":1,"evictionSeconds":1,"capabilites":[]}`: `unknown field \"capabilites\"`,
		`{"enabled":true,"capacity":1,"evictionSeconds":9223372037}`:         "give 1 to 9223372036 seconds",
	} {
		status, text := request(t, s, "PUT", "/api/runners/"+r.RunnerID+"/config", body)
		if status != 400 || !strings.Contains(text, detail) {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}
	if now := s.Runners()[0].Config; now.Revision != r.Config.Revision || now.Capacity != r.Config.Capacity {
		t.Errorf("the configuration is %+v, want %+v", now, r.Config)
	}
}

func TestIdleEventStreamGetsPings(t *testing.T) {
	s := newServer(t, devserver.Options{PingInterval: time.Millisecond})
	r := newRunner(t, s)
	var nothing struct{}
	expectEvent(t, r.openEventStream(s, r.LastEventID), "Ping", &nothing)
}

func TestScriptIsReplayedUntilConfirmed(t *testing.T) {
	s := newServer(t, devserver.Options{})
	id := submit(t, s, devserver.TaskRequest{TaskType: "test.Lookup"})
	r := newRunner(t, s) // the script waits for this runner
	var script api.ExecuteScriptEvent
	first := expectEvent(t, r.openEventStream(s, r.LastEventID), "ExecuteScript", &script)
	if script.Job.JobID != id || script.Job.Kind != api.KindScript {
		t.Errorf("got %+v", script)
	}
	if jobs := r.reserve(1, "0s"); jobs != nil {
		t.Errorf("a script is reserved: %v", jobs)
	}
	r.register() // a new session, so the event is replayed
	if again := expectEvent(t, r.openEventStream(s, r.LastEventID), "ExecuteScript", &script); again != first {
		t.Errorf("got event id %s, then %s", first, again)
	}
	if status := r.confirm(script.Job); status != 204 {
		t.Errorf("confirm: status %d, want 204", status)
	}
	other := submit(t, s, devserver.TaskRequest{TaskType: "test.Lookup"})
	expectEvent(t, r.openEventStream(s, "unknown id"), "ExecuteScript", &script)
	if script.Job.JobID != other {
		t.Error("a confirmed script is replayed")
	}
	if status := r.confirm(script.Job); status != 204 {
		t.Errorf("confirm: status %d, want 204", status)
	}
	if status := r.finish(script.Job, r.result(script.Job, contract.Result{})); status != 204 {
		t.Errorf("finish: status %d, want 204", status)
	}
	if v, err := s.WaitLog(t.Context(), other); err != nil || v.State != devserver.Completed {
		t.Error(v, err)
	}
}

func TestCloseEndsStreamsWithoutBlockingLaterCalls(t *testing.T) {
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	stream := r.openEventStream(s, "")
	s.Close()
	if e, err := stream.Decode(); err == nil {
		t.Errorf("got %v after Close", e)
	}
	if err := s.Delete(r.RunnerID); err != nil {
		t.Error(err)
	}
	if _, err := s.Submit(devserver.TaskRequest{TaskType: "test.Lookup"}); err != nil {
		t.Errorf("after Close: %v", err)
	}
}
