package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// server is a client of the development server's REST API.
type server struct{ url string }

// task is a task of the REST API.
type task struct {
	ID               string         `json:"id"`
	State            string         `json:"state"`
	Message          string         `json:"message"`
	OutputProperties map[string]any `json:"outputProperties"`
	Created          time.Time      `json:"created"`
	Finished         time.Time      `json:"finished"`
}

func (t task) duration() time.Duration { return t.Finished.Sub(t.Created).Round(time.Millisecond) }

func (s server) request(ctx context.Context, method, path string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		var problem struct{ Detail string }
		_ = json.NewDecoder(res.Body).Decode(&problem) // on error, only the status is known
		return fmt.Errorf("%s %s: %s %s", method, path, res.Status, problem.Detail)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(answer)
}

func (s server) countRunners(ctx context.Context) (n int, err error) {
	var all []any
	err = s.request(ctx, http.MethodGet, "/api/runners", nil, &all)
	return len(all), err
}

func (s server) submit(ctx context.Context, image, taskType string, properties map[string]any) (t task, err error) {
	err = s.request(ctx, http.MethodPost, "/api/tasks", map[string]any{"image": image, "taskType": taskType, "properties": properties}, &t)
	return t, err
}

func (s server) abort(ctx context.Context, id, reason string) error {
	return s.request(ctx, http.MethodPost, "/api/tasks/"+id+"/abort", map[string]any{"reason": reason}, nil)
}

// waitForTask waits until a task has ended.
func (s server) waitForTask(ctx context.Context, id string) (t task, err error) {
	err = waitUntil(ctx, "task "+id+" is done", func() (bool, error) {
		err := s.request(ctx, http.MethodGet, "/api/tasks/"+id, nil, &t)
		return !t.Finished.IsZero(), err
	})
	return t, err
}

func (s server) violations(ctx context.Context) (all []any, err error) {
	var ledger struct{ Violations []any }
	err = s.request(ctx, http.MethodGet, "/api/ledger", nil, &ledger)
	return ledger.Violations, err
}

// follow calls line for each line of a log until the log ends.
func (s server) follow(ctx context.Context, id string, line func(string) error) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/api/tasks/"+id+"/log", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "text/event-stream")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if text, is := strings.CutPrefix(lines.Text(), "data: "); is {
			if err := line(text); err != nil {
				return err
			}
		}
		if lines.Text() == "event: end" {
			return nil
		}
	}
	return nil
}
