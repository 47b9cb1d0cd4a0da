package release_test

import (
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/rs/zerolog"

	"runnerd/infra/devserver"
	"runnerd/infra/release"
	"runnerd/infra/seal"
	msg "runnerd/messages"
)

func TestJobRunsThroughDevelopmentServer(t *testing.T) {
	server, err := devserver.New(devserver.Options{Token: "token", Log: zerolog.Nop(), MaxInlineInput: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	front := httptest.NewServer(server.Handler())
	defer front.Close()
	identity, err := seal.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	c, err := release.New(release.Options{URL: front.URL, Token: "token", Name: "n", UUID: identity.UUID(), Version: "1", PublicKey: identity.PublicKey(), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := c.Register(ctx); err != nil {
		t.Fatal(err)
	}
	id, err := server.Submit(devserver.TaskRequest{TaskType: "a.B", Image: "i"})
	if err != nil {
		t.Fatal(err)
	}
	offers, err := c.Reserve(ctx, 1, 0)
	if err != nil || len(offers) != 1 || string(offers[0].ID) != id {
		t.Fatalf("%+v, %v", offers, err)
	}
	job := offers[0]
	input, err := c.FetchInput(ctx, job.InputURL)
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	if err := c.Confirm(ctx, job.ID, job.Execution); err != nil {
		t.Fatal(err)
	}
	if n, err := c.AppendLog(ctx, job.ID, 0, []byte("hello\n"), -1); n != 6 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	var refusal *msg.Refusal
	if _, err := c.AppendLog(ctx, job.ID, 9, []byte("gap"), -1); !errors.As(err, &refusal) || refusal.Offset != 6 {
		t.Errorf("a chunk after a gap: %v", err)
	}
	if n, err := c.AppendLog(ctx, job.ID, 6, nil, 6); n != 6 || err != nil {
		t.Errorf("an empty last chunk: %d, %v", n, err)
	}
	key, err := identity.OpenKey(job.SessionKey)
	if err != nil {
		t.Fatal(err)
	}
	result := []byte(seal.Encrypt(key, []byte(`{"exitCode":0,"outputProperties":{"x":"y"}}`)))
	for range 2 { // a retry, as after a lost answer
		if err := c.Finish(ctx, job.Job, msg.Ending{Outcome: msg.Completed}, result); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Confirm(ctx, "unknown", "e"); !errors.As(err, &refusal) || !refusal.Final() {
		t.Errorf("an unknown job: %v", err)
	}
	view, err := server.Task(id)
	if err != nil || view.State != devserver.Completed || view.OutputProperties["x"] != "y" || !view.LogComplete {
		t.Errorf("%+v, %v", view, err)
	}
	if violations := server.Ledger().Violations(); len(violations) != 1 {
		t.Errorf("want only the gap as a violation: %v", violations)
	}
}
