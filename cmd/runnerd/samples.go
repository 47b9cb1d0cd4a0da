package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"runnerd/infra/devserver"
	"runnerd/infra/release/api"
)

// sample is a task of the sample plugin and what should become of it.
type sample struct {
	taskType   string
	properties map[string]any
	abortAt    string // what its log says when a person aborts it; empty: nobody does
	want       devserver.State
	check      func(view devserver.TaskView, log string) error // nil: the state is enough
}

const samplePassword = `pa55"word-of-the-sample`

func samples() []sample {
	large := strings.Repeat("all work and no play ", 1<<16) // 1.3 MiB, more than fits in a Kubernetes Secret
	return []sample{
		{"sample.Hello", map[string]any{"yourName": "World"}, "", devserver.Completed, func(v devserver.TaskView, _ string) error {
			return expect(v, "greeting", "Hello World")
		}},
		{"sample.Secret", map[string]any{"password": samplePassword}, "", devserver.Completed, passwordIsMasked},
		{"sample.Slow", map[string]any{"steps": 5, "delayMillis": 200}, "", devserver.Completed, nil},
		{"sample.Slow", map[string]any{"steps": 500, "delayMillis": 200}, "step 2 of ", devserver.Aborted, abortCommandRan},
		{"sample.Large", map[string]any{"text": large}, "", devserver.Completed, func(v devserver.TaskView, _ string) error {
			return expect(v, "text", large)
		}},
		{"sample.Fail", map[string]any{"message": "as it should"}, "", devserver.Failed, func(v devserver.TaskView, _ string) error {
			if !strings.Contains(v.Message, "as it should") {
				return errors.New("the plugin's message is missing")
			}
			return nil
		}},
		{"sample.Lookup", map[string]any{"prefix": "A", "_parameters": map[string]any{}}, "", devserver.Completed, func(v devserver.TaskView, _ string) error {
			return expect(v, "commandResponse", `[{"label":"Ada","value":"ada"},{"label":"Alan","value":"alan"}]`)
		}},
		{"sample.TestConnection", map[string]any{"server": map[string]any{
			"url": "http://127.0.0.1:9", "username": "admin", "password": samplePassword, // where nobody answers
		}}, "", devserver.Completed, func(v devserver.TaskView, _ string) error {
			if answer := whole(v.OutputProperties["commandResponse"]); !strings.Contains(answer, `"success":false`) {
				return fmt.Errorf("it answers %s where nobody does", answer)
			}
			return nil
		}},
	}
}

func expect(v devserver.TaskView, property, want string) error {
	if got := whole(v.OutputProperties[property]); got != want {
		return fmt.Errorf("%s is not what it should be, but %s", property, short(got))
	}
	return nil
}

func abortCommandRan(v devserver.TaskView, log string) error {
	if !strings.Contains(log, "aborted after ") || !strings.Contains(v.Message, "The plugin answered SIGABRT with its result") {
		return errors.New("the plugin's abort command has not run")
	}
	return nil
}

func passwordIsMasked(_ devserver.TaskView, log string) error {
	inJSON, err := json.Marshal(samplePassword)
	if err != nil {
		return fmt.Errorf("encode the password: %w", err)
	}
	if strings.Contains(log, samplePassword) || strings.Contains(log, string(inJSON[1:len(inJSON)-1])) {
		return errors.New("the password stands in the log")
	}
	if !strings.Contains(log, "plain:") {
		return errors.New("the log is not the plugin's: nothing is proven")
	}
	return nil
}

// runSamples submits the samples one after another, shows them, and returns what did not go as it should.
func runSamples(ctx context.Context, server *releaseServer, out io.Writer) error {
	var problems []error
	for _, s := range samples() {
		view, log, err := s.run(ctx, server)
		if err == nil {
			show(out, view, log)
			err = s.judge(view, log)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", s.taskType, err)
			fmt.Fprintln(out, "  WRONG:", err)
			problems = append(problems, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	for _, b := range server.Ledger().Breaches() {
		problems = append(problems, fmt.Errorf("the runner broke the protocol: %s", b))
	}
	if problems == nil {
		fmt.Fprintln(out, "\nAll samples went as they should.")
	}
	return errors.Join(problems...)
}

func (s sample) run(ctx context.Context, server *releaseServer) (devserver.TaskView, string, error) {
	id, err := server.Submit(devserver.TaskRequest{TaskType: s.taskType, Properties: s.properties})
	if err != nil {
		return devserver.TaskView{}, "", err
	}
	limited, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("not done after two minutes"))
	defer cancel()
	if err := s.abort(limited, server, id); err != nil {
		return devserver.TaskView{}, "", err
	}
	view, err := server.WaitLog(limited, id)
	if err != nil {
		return view, "", err
	}
	log, err := fetch(limited, server.url+"/api/tasks/"+id+"/log")
	return view, log, err
}

// abort does as a person would who reads the log.
func (s sample) abort(ctx context.Context, server *releaseServer, id string) error {
	for s.abortAt != "" {
		log, err := fetch(ctx, server.url+"/api/tasks/"+id+"/log")
		if err != nil {
			return err
		}
		if strings.Contains(log, s.abortAt) {
			return server.Abort(id, "we have seen enough")
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the log never said %q: %w", s.abortAt, context.Cause(ctx))
		}
	}
	return nil
}

func (s sample) judge(view devserver.TaskView, log string) error {
	if view.State != s.want {
		return fmt.Errorf("%s, and should be %s: %s", view.State, s.want, view.Message)
	}
	if s.check == nil {
		return nil
	}
	return s.check(view, log)
}

func show(out io.Writer, view devserver.TaskView, log string) {
	kind := ""
	if view.Kind == api.KindScript {
		kind = ", a script: its log is in the runner's own"
	}
	fmt.Fprintf(out, "\n%s  %s after %v%s\n", view.TaskType, view.State, view.Finished.Sub(view.Created).Round(time.Millisecond), kind)
	for line := range strings.Lines(log) {
		fmt.Fprintln(out, "  |", short(strings.TrimRight(line, "\n")))
	}
	showOutcome(out, view, short)
}

// showOutcome shows what a task leaves besides its log; as says how a value is written.
func showOutcome(out io.Writer, view devserver.TaskView, as func(any) string) {
	if view.StatusLine != "" {
		fmt.Fprintln(out, "  status: ", view.StatusLine)
	}
	for _, comment := range view.Comments {
		fmt.Fprintln(out, "  comment:", strings.ReplaceAll(as(comment), "\n", "\n           "))
	}
	for _, name := range slices.Sorted(maps.Keys(view.OutputProperties)) {
		fmt.Fprintf(out, "  %s = %s\n", name, as(view.OutputProperties[name]))
	}
	if view.Message != "" {
		fmt.Fprintln(out, "  message:", strings.ReplaceAll(view.Message, "\n", "\n           "))
	}
}

// short keeps a large value from filling the terminal.
func short(value any) string {
	const most = 160
	text := whole(value)
	if len(text) <= most {
		return text
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:most], ""), len(text))
}

func fetch(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", fmt.Errorf("ask the server: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask the server: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask the server: it answers %s", answer.Status)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", fmt.Errorf("ask the server: %w", err)
	}
	return string(text), nil
}
