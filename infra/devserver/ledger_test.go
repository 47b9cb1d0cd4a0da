package devserver_test

import (
	"net/http"
	"strings"
	"testing"

	"runnerd/infra/contract"
	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
	"runnerd/infra/seal"
)

func TestLedgerNamesEveryViolation(t *testing.T) {
	const password = "correct horse"
	failed := api.Ending{Outcome: api.OutcomeFailed, ExitCode: 1}
	tests := map[string]struct {
		violate   func(*testRunner, api.Job)
		invariant string
		detail    string
	}{
		"a second finish that differs": {func(r *testRunner, job api.Job) {
			r.finish(job, failed)
			r.finish(job, r.result(job, contract.Result{}))
		}, "I1", "the first finish was failed"},
		"a finish under an older execution": {func(r *testRunner, job api.Job) {
			job.ExecutionID = "older"
			r.finish(job, failed)
		}, "I3", "failed"},
		"more jobs than there is capacity": {func(r *testRunner, _ api.Job) { r.reserve(5, "0s") }, "I4", "requested 5"},
		"a gap in the log":                 {func(r *testRunner, job api.Job) { r.log(job, "bytes 1-3/*", "abc") }, "I7", "gap"},
		"a log that contradicts itself": {func(r *testRunner, job api.Job) {
			r.log(job, "bytes 0-2/*", "abc")
			r.log(job, "bytes 1-2/*", "xy")
		}, "I7", "overlap"},
		"log after the total": {func(r *testRunner, job api.Job) {
			r.log(job, "bytes 0-2/3", "abc")
			r.log(job, "bytes 3-3/*", "d")
		}, "I7", "the total was 3"},
		"a total that is not the end": {func(r *testRunner, job api.Job) { r.log(job, "bytes 0-2/9", "abc") }, "I7", "total is 9"},
		"a password in the log": {func(r *testRunner, job api.Job) {
			r.log(job, "bytes 0-12/*", password)
		}, "I8", "password"},
		"a password split over two chunks": {func(r *testRunner, job api.Job) {
			r.log(job, "bytes 0-3/*", password[:4])
			r.log(job, "bytes 4-4/*", password[4:5])
			r.log(job, "bytes 5-12/*", password[5:])
		}, "I8", "password"},
		"a password in the message": {func(r *testRunner, job api.Job) {
			r.finish(job, api.Ending{Outcome: api.OutcomeFailed, Message: "exit: " + password})
		}, "I8", "message"},
		"a result that cannot be decrypted": {func(r *testRunner, job api.Job) {
			r.finish(job, api.Ending{Outcome: api.OutcomeCompleted, Result: "bm90IGVuY3J5cHRlZCBhdCBhbGwsIG5vdCBldmVuIGEgYml0"})
		}, "I9", "session key"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, devserver.Options{})
			r := newRunner(t, s)
			job := r.running(s, devserver.TaskRequest{Properties: map[string]any{"password": password}})
			test.violate(r, job)
			violations := s.Ledger().Violations()
			if len(violations) != 1 || violations[0].Invariant != test.invariant || !strings.Contains(violations[0].Detail, test.detail) {
				t.Errorf("the violations are %v", violations)
			}
		})
	}
}

func TestUnconfirmedJobMustNotRun(t *testing.T) {
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	submit(t, s, devserver.TaskRequest{TaskType: "test.Hello"})
	job := r.reserve(1, "0s")[0]
	if status := r.finish(job, api.Ending{Outcome: api.OutcomeFailed}); status != http.StatusConflict {
		t.Errorf("finish: status %d, want 409", status)
	}
	if status, _ := r.log(job, "bytes 0-0/*", "x"); status != http.StatusGone {
		t.Errorf("log: status %d, want 410", status)
	}
	for _, violation := range s.Ledger().Violations() {
		if violation.Invariant != "I3" {
			t.Errorf("unexpected violation %v", violation)
		}
	}
	if n := len(s.Ledger().Violations()); n != 2 {
		t.Errorf("%d violations, want 2", n)
	}
}

func TestUndecryptableResultFailsTask(t *testing.T) {
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	job := r.running(s, devserver.TaskRequest{})
	for range 2 {
		if status := r.finish(job, api.Ending{Outcome: api.OutcomeCompleted, Result: "AAAA"}); status != http.StatusConflict {
			t.Errorf("finish: status %d, want 409", status)
		}
	}
	if v := view(t, s, job.JobID); v.State != devserver.Failed {
		t.Errorf("the task is %s", v.State)
	}
}

func TestUnparsableResultFailsTaskWithoutViolation(t *testing.T) {
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	for text, want := range map[string]devserver.State{
		`{"exitCode":0}`: devserver.Completed, // the control
		`no JSON`:        devserver.Failed,
		``:               devserver.Failed,
		`{"exitCode":0,"outputProperties":{"deep":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + `}}`: devserver.Failed,
	} {
		job := r.running(s, devserver.TaskRequest{})
		if status := r.finish(job, api.Ending{Outcome: api.OutcomeCompleted, Result: seal.Encrypt(r.key(job), []byte(text))}); status != http.StatusNoContent {
			t.Errorf("finish with %.40q: status %d, want 204", text, status)
		}
		if v := view(t, s, job.JobID); v.State != want {
			t.Errorf("with %.40q the task is %s: %s", text, v.State, v.Message)
		}
	}
	if violations := s.Ledger().Violations(); len(violations) > 0 {
		t.Error(violations) // an invalid result of a plugin is not the runner's fault
	}
}

func TestLogResumesAtServerOffset(t *testing.T) {
	s := newServer(t, devserver.Options{MaxLogBytes: 8})
	r := newRunner(t, s)
	job := r.running(s, devserver.TaskRequest{})
	steps := []struct {
		what, contentRange, text string
		status                   int
		offset                   string
	}{
		{"the first chunk", "bytes 0-2/*", "abc", 204, "3"},
		{"the first chunk again, because the response was lost", "bytes 0-2/*", "abc", 204, "3"},
		{"the first chunk again, longer", "bytes 0-4/*", "abcde", 409, "3"},
		{"from the offset in the response", "bytes 3-4/*", "de", 204, "5"},
		{"beyond the stored bytes", "bytes 5-11/*", "fghijkl", 204, "12"},
		{"the empty end", "bytes */12", "", 204, "12"},
		{"the end again", "bytes */12", "", 204, "12"},
		{"a range that does not fit", "bytes 12-13/*", "x", 400, ""},
		{"an invalid range", "lines 12-13/*", "xy", 400, ""},
	}
	for _, step := range steps {
		if status, offset := r.log(job, step.contentRange, step.text); status != step.status || offset != step.offset {
			t.Errorf("%s: %d at %q, want %d at %q", step.what, status, offset, step.status, step.offset)
		}
	}
	if violations := s.Ledger().Violations(); len(violations) > 0 {
		t.Error(violations)
	}
	if _, text := request(t, s, "GET", "/api/tasks/"+job.JobID+"/log", ""); text != "abcdefgh" {
		t.Errorf("stored %q", text)
	}
}

func TestLedgerRecordsJobSteps(t *testing.T) {
	s := newServer(t, devserver.Options{})
	r := newRunner(t, s)
	job := r.running(s, devserver.TaskRequest{})
	r.log(job, "bytes 0-0/1", "x")
	r.finish(job, r.result(job, contract.Result{}))
	var ops []string
	for _, e := range s.Ledger().Job(job.JobID) {
		ops = append(ops, e.Op)
	}
	if got := strings.Join(ops, " "); got != "offer confirm log finish" {
		t.Error(got)
	}
}
