package devserver_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/launchdarkly/eventsource"

	"runnerd/infra/contract"
	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
)

func TestInputFollowsTypeDefinition(t *testing.T) {
	s := newServer(t, devserver.Options{PublicURL: "http://release.test"})
	r := newRunner(t, s)
	status, text := request(t, s, "POST", "/api/tasks", `{
		"taskType": "test.Hello",
		"runAs": {"username": "joe", "password": "joe's"},
		"properties": {"count": "7", "loud": "true", "headers": {"a": "b"},
			"server": {"username": "admin", "password": "hidden"}}
	}`)
	var created devserver.TaskView
	if err := json.Unmarshal([]byte(text), &created); err != nil || status != http.StatusCreated {
		t.Fatal(status, text, err)
	}
	job := r.reserve(1, "0s")[0]
	if job.JobID != created.ID || job.Image != "test/plugin:1" {
		t.Errorf("offered %+v", job)
	}
	input := r.input(job)
	item, _ := property(input, "server").Value.(map[string]any)
	delete(item, "id") // random
	want := contract.InputContext{
		Release: contract.Release{
			ID: "Applications/Release1", URL: "http://release.test",
			AutomatedTaskAsUser: contract.User{Username: "joe", Password: "joe's"},
		},
		Task: contract.Task{ID: created.ID, Type: "test.Hello", Properties: []contract.Property{
			{Name: "count", Value: json.Number("7"), Kind: "INTEGER", Category: "input"},
			{Name: "headers", Value: map[string]any{"a": "b"}, Kind: "MAP_STRING_STRING", Category: "input"},
			{Name: "loud", Value: true, Kind: "BOOLEAN", Category: "input"},
			{Name: "password", Kind: "STRING", Category: "input", Password: true},
			{Name: "server", Kind: "CI", Category: "input", Value: map[string]any{
				"type": "test.Server",
				"properties": []any{
					map[string]any{"name": "password", "value": "hidden", "kind": "STRING", "category": "input", "password": true},
					map[string]any{"name": "url", "value": "http://example.org", "kind": "STRING", "category": "input", "password": false},
					map[string]any{"name": "username", "value": "admin", "kind": "STRING", "category": "input", "password": false},
				},
			}},
			{Name: "servers", Kind: "LIST_OF_CI", Category: "input"},
			{Name: "tags", Value: []any{"a", "b"}, Kind: "LIST_OF_STRING", Category: "input"},
			{Name: "yourName", Value: "World", Kind: "STRING", Category: "input"},
		}},
	}
	if diff := cmp.Diff(want, input); diff != "" {
		t.Error(diff)
	}
}

func TestUndefinedPropertyKindFollowsValue(t *testing.T) {
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	status, text := request(t, s, "POST", "/api/tasks", `{"image": "other/plugin", "taskType": "other.Type", "properties":
		{"text": "7", "count": 1000000, "ratio": 0.5, "loud": true, "tags": ["a"], "headers": {"a": "b"}, "apiToken": "hidden"}}`)
	if status != http.StatusCreated {
		t.Fatal(status, text)
	}
	input := r.input(r.reserve(1, "0s")[0])
	want := []contract.Property{
		{Name: "apiToken", Value: "hidden", Kind: "STRING", Category: "input", Password: true},
		{Name: "count", Value: json.Number("1000000"), Kind: "INTEGER", Category: "input"},
		{Name: "headers", Value: map[string]any{"a": "b"}, Kind: "MAP_STRING_STRING", Category: "input"},
		{Name: "loud", Value: true, Kind: "BOOLEAN", Category: "input"},
		{Name: "ratio", Value: "0.5", Kind: "STRING", Category: "input"},
		{Name: "tags", Value: []any{"a"}, Kind: "LIST_OF_STRING", Category: "input"},
		{Name: "text", Value: "7", Kind: "STRING", Category: "input"},
	}
	if diff := cmp.Diff(want, input.Task.Properties); diff != "" {
		t.Error(diff)
	}
}

func TestNumberKeepsAllDigits(t *testing.T) {
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	if status, text := request(t, s, "POST", "/api/tasks", `{"taskType": "test.Hello", "properties": {"count": 1000000, "yourName": 2000000}}`); status != http.StatusCreated {
		t.Fatal(status, text)
	}
	input := r.input(r.reserve(1, "0s")[0])
	if count, name := property(input, "count").Value, property(input, "yourName").Value; count != json.Number("1000000") || name != "2000000" {
		t.Errorf("count %v, name %v", count, name)
	}
}

func TestScriptItemHasOnlyGivenProperties(t *testing.T) {
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	stream := r.openEventStream(s, r.LastEventID)
	submit(t, s, devserver.TaskRequest{TaskType: "test.Check", Properties: map[string]any{
		"parameters": map[string]any{}, "server": map[string]any{"id": "Configuration/7", "password": "hidden"},
	}})
	var script api.ExecuteScriptEvent
	expectEvent(t, stream, "ExecuteScript", &script)
	input := r.input(script.Job)
	if diff := cmp.Diff(map[string]any{"type": "test.Parameters"}, property(input, "parameters").Value); diff != "" {
		t.Error(diff)
	}
	server, _ := property(input, "server").Value.(map[string]any)
	if server["id"] != "Configuration/7" || server["properties"] == nil {
		t.Errorf("the item is %v", server)
	}
	if secrets := input.Secrets(); len(secrets) != 1 || string(secrets[0]) != "hidden" {
		t.Errorf("found %d secrets, want the password", len(secrets))
	}
}

func TestInvalidTaskIsRejectedWithReason(t *testing.T) {
	tests := map[string]struct{ body, detail string }{
		"no task type":              {`{}`, "taskType is missing"},
		"a virtual type":            {`{"taskType":"test.Base"}`, "virtual"},
		"an unknown type, no image": {`{"taskType":"other.Type"}`, "image is missing, and type other.Type is not defined: give an image or a defined type: "},
		"a string for a list":       {`{"taskType":"test.Hello","capabilities":"gpu"}`, `the field "capabilities" cannot be of type string`},
		"a list":                    {`[]`, "the body must be a JSON object: got array"},
		"an unknown kind":           {`{"taskType":"test.Hello","kind":"job"}`, "task or script"},
		"an unknown property":       {`{"taskType":"test.Hello","properties":{"name":"x"}}`, `no property "name"; it has count, headers, loud, password, server, servers, tags, yourName`},
		"a type without properties": {`{"taskType":"test.Lookup","properties":{"name":"x"}}`, "it has no properties"},
		"not an integer":            {`{"taskType":"test.Hello","properties":{"count":"many"}}`, "properties.count must be an integer"},
		"not a boolean":             {`{"taskType":"test.Hello","properties":{"loud":"maybe"}}`, "properties.loud must be true or false"},
		"not a string":              {`{"taskType":"test.Hello","properties":{"yourName":[]}}`, "properties.yourName must be a string"},
		"not a list":                {`{"taskType":"test.Hello","properties":{"tags":1}}`, "properties.tags must be a list"},
		"not a map":                 {`{"taskType":"test.Hello","properties":{"headers":"a"}}`, "properties.headers must be an object"},
		"not a list of items":       {`{"taskType":"test.Hello","properties":{"servers":"s"}}`, "properties.servers must be a list of objects"},
		"a list with a non-item":    {`{"taskType":"test.Hello","properties":{"servers":[{},1]}}`, "properties.servers[1] must be an object"},
		"not an item":               {`{"taskType":"test.Hello","properties":{"server":"s"}}`, "properties.server must be an object with the properties of test.Server"},
		"not JSON":                  {`task`, "JSON"},
		"negative memory":           {`{"taskType":"test.Hello","limits":{"memory":-1}}`, "limits must not be negative"},
		"negative cores":            {`{"taskType":"test.Hello","limits":{"cpus":-0.5}}`, "limits must not be negative"},
		"negative processes":        {`{"taskType":"test.Hello","limits":{"pids":-1}}`, "limits must not be negative"},
		"a negative timeout":        {`{"taskType":"test.Hello","timeoutSeconds":-1}`, "timeoutSeconds is -1"},
		"a timeout that overflows":  {`{"taskType":"test.Hello","timeoutSeconds":9223372037}`, "give 1 to 9223372036 seconds"},
		"a misspelled field":        {`{"taskType":"test.Hello","timeout":5}`, `unknown field "timeout"`},
	}
	s := newServer(t, devserver.Options{})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			status, text := request(t, s, "POST", "/api/tasks", test.body)
			var problem api.Problem
			if err := json.Unmarshal([]byte(text), &problem); err != nil || status != 400 || !strings.Contains(problem.Detail, test.detail) {
				t.Errorf("got %d %s, want %s", status, problem.Detail, test.detail)
			}
		})
	}
}

func TestUnknownTypeIsAcceptedWithGuessedSecrets(t *testing.T) {
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	job := r.running(s, devserver.TaskRequest{TaskType: "other.Type", Image: "i", Properties: map[string]any{"apiToken": "hidden"}})
	if note := view(t, s, job.JobID).Note; !strings.Contains(note, "type other.Type is not defined: the kind of each property follows from its value") {
		t.Errorf("the note says %q", note)
	}
	input := r.input(job)
	if p := property(input, "apiToken"); !p.Password {
		t.Errorf("apiToken is not a password: %+v", p)
	}
}

func TestSamplePluginDefinitionsAreValid(t *testing.T) {
	file, err := os.ReadFile("../sampleplugin/type-definitions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, err := devserver.New(devserver.Options{TypeDefinitions: [][]byte{file}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for typeName, kind := range map[string]api.Kind{"sample.Hello": api.KindTask, "sample.Lookup": api.KindScript} {
		v := view(t, s, submit(t, s, devserver.TaskRequest{TaskType: typeName, Image: "sample"}))
		if v.Kind != kind || v.Note != "" {
			t.Errorf("%s is a %s; %s", typeName, v.Kind, v.Note)
		}
	}
	if _, err := s.Submit(devserver.TaskRequest{TaskType: "sample.Hello"}); err == nil {
		t.Error("an image with placeholders is accepted")
	}
}

func TestContradictoryDefinitionsAreRejected(t *testing.T) {
	for name, files := range map[string][]string{
		"defined twice":   {"types: {a.B: {extends: c.D}}", "types: {a.B: }"},
		"extends itself":  {"types: {a.B: {extends: a.C}, a.C: {extends: a.B}}"},
		"read type defin": {"types: [a"},
	} {
		var contents [][]byte
		for _, file := range files {
			contents = append(contents, []byte(file))
		}
		if _, err := devserver.New(devserver.Options{TypeDefinitions: contents}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: %v", files, err)
		}
	}
}

func TestCommentsAndStatusComeFromLog(t *testing.T) {
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	job := r.running(s, devserver.TaskRequest{})
	offset := 0
	for _, text := range []string{
		"one\n##[start: comment]first##[end: comment]\n##[start: sta", "tus]half way##[end: status]\n",
		"##[start: other]##[start: comment]sec", "ond\nline##[end: com", "ment] ##[start: status]done##[end: status]",
		"##[start: comment]never ends",
	} {
		r.log(job, contentRange(offset, text), text)
		offset += len(text)
	}
	v := view(t, s, job.JobID)
	if diff := cmp.Diff([]string{"first", "second\nline"}, v.Comments); diff != "" || v.StatusLine != "done" {
		t.Errorf("status %q, comments %s", v.StatusLine, diff)
	}
}

func contentRange(offset int, text string) string {
	return "bytes " + strconv.Itoa(offset) + "-" + strconv.Itoa(offset+len(text)-1) + "/*"
}

func TestLogIsFollowedToItsEnd(t *testing.T) {
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	job := r.running(s, devserver.TaskRequest{})
	r.log(job, contentRange(0, "one\ntw"), "one\ntw")
	web := httptest.NewServer(s.Handler())
	defer web.Close()
	stream := followLog(t, web.URL+"/api/tasks/"+job.JobID+"/log", "")
	expectLogEvent(t, stream, "log", "one")
	r.log(job, contentRange(6, "o\nthree"), "o\nthree")
	expectLogEvent(t, stream, "log", "two")
	r.finish(job, r.result(job, contract.Result{}))
	r.log(job, "bytes */13", "")
	expectLogEvent(t, stream, "log", "three")
	expectLogEvent(t, stream, "end", "completed")
	if _, err := stream.Decode(); err == nil {
		t.Error("the stream continues after its end event")
	}
	expectLogEvent(t, followLog(t, web.URL+"/api/tasks/"+job.JobID+"/log", "4"), "log", "two\nthree")
}

func followLog(t *testing.T, url, after string) *eventsource.Decoder {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Accept", "text/event-stream")
	q.Header.Set("Last-Event-ID", after)
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(q)
	if err != nil {
		t.Fatal(err)
	}
	return decoder(t, response.Body)
}

// decoder returns a decoder of the events in body. After the test it reads to the end, because the library's goroutine waits for that.
func decoder(t *testing.T, body io.ReadCloser) *eventsource.Decoder {
	d := eventsource.NewDecoder(body)
	t.Cleanup(func() {
		_ = body.Close()
		for e, err := d.Decode(); err == nil && e != nil; e, err = d.Decode() {
		}
	})
	return d
}

func expectLogEvent(t *testing.T, stream *eventsource.Decoder, name, data string) {
	t.Helper()
	e, err := stream.Decode()
	if err != nil || e.Event() != name || strings.TrimSuffix(e.Data(), "\n") != data {
		t.Fatalf("got %v, %v; want %s %q", e, err, name, data)
	}
}

func TestFinishedTasksAreBoundedByCount(t *testing.T) {
	s := newServer(t, devserver.Options{MaxFinishedTasks: 1})
	first, second := submit(t, s, devserver.TaskRequest{TaskType: "test.Hello"}), submit(t, s, devserver.TaskRequest{TaskType: "test.Hello"})
	for _, id := range []string{first, second} {
		if status, text := request(t, s, "POST", "/api/tasks/"+id+"/abort", ""); status != 204 {
			t.Error(text)
		}
	}
	if status, _ := request(t, s, "GET", "/api/tasks/"+first, ""); status != 404 {
		t.Errorf("the older task: status %d", status)
	}
	if status, _ := request(t, s, "GET", "/api/tasks/"+second, ""); status != 200 {
		t.Errorf("the newer task: status %d", status)
	}
}

func TestFinishedTasksAreBoundedByBytes(t *testing.T) {
	s := newServer(t, devserver.Options{MaxFinishedBytes: 1000})
	r := newRunner(t, s)
	var ids []string
	for range 2 {
		job := r.running(s, devserver.TaskRequest{})
		r.log(job, "bytes 0-599/600", strings.Repeat("x", 600))
		r.finish(job, api.Ending{Outcome: api.OutcomeFailed})
		ids = append(ids, job.JobID)
	}
	if _, err := s.Task(ids[0]); err == nil {
		t.Error("the older task is still stored")
	}
	view(t, s, ids[1])
}

func TestOpenTasksAreBounded(t *testing.T) {
	s := newServer(t, devserver.Options{MaxOpenTasks: 1})
	submit(t, s, devserver.TaskRequest{TaskType: "test.Hello"})
	if status, text := request(t, s, "POST", "/api/tasks", `{"taskType":"test.Hello"}`); status != http.StatusTooManyRequests {
		t.Errorf("the second open task: %d %s", status, text)
	}
}

func TestCrossSiteRequestIsForbidden(t *testing.T) {
	s := newServer(t, devserver.Options{})
	for site, want := range map[string]int{"cross-site": 403, "same-origin": 201} {
		q := httptest.NewRequest("POST", "/api/tasks", strings.NewReader(`{"taskType":"test.Hello"}`))
		q.Header.Set("Content-Type", "application/json")
		q.Header.Set("Sec-Fetch-Site", site)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, q)
		if w.Code != want {
			t.Errorf("%s: %d, want %d", site, w.Code, want)
		}
	}
}
