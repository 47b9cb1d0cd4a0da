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

// sample is a task of the sample plugin and its expected outcome.
type sample struct {
	taskType   string
	properties map[string]any
	abortAt    string // the task is aborted when its log has this text; empty: never
	want       devserver.State
	check      func(view devserver.TaskView, log string) error // nil: only the state is checked
}

const samplePassword = `pa55"word-of-the-sample`

func samples() []sample {
	large := strings.Repeat("all work and no play ", 1<<16) // 1.3 MiB, more than a Kubernetes Secret can hold
	return []sample{
		{"sample.Hello", map[string]any{"yourName": "World"}, "", devserver.Completed, func(v devserver.TaskView, _ string) error {
			return expectOutput(v, "greeting", "Hello World")
		}},
		{"sample.Secret", map[string]any{"password": samplePassword}, "", devserver.Completed, checkPasswordMasked},
		{"sample.Slow", map[string]any{"steps": 5, "delayMillis": 200}, "", devserver.Completed, nil},
		{"sample.Slow", map[string]any{"steps": 500, "delayMillis": 200}, "step 2 of ", devserver.Aborted, checkAbortCommand},
		{"sample.Large", map[string]any{"text": large}, "", devserver.Completed, func(v devserver.TaskView, _ string) error {
			return expectOutput(v, "text", large)
		}},
		{"sample.Fail", map[string]any{"message": "as it should"}, "", devserver.Failed, func(v devserver.TaskView, _ string) error {
			if !strings.Contains(v.Message, "as it should") {
				return errors.New("the plugin's message is missing")
			}
			return nil
		}},
		{"sample.Lookup", map[string]any{"prefix": "A", "_parameters": map[string]any{}}, "", devserver.Completed, func(v devserver.TaskView, _ string) error {
			return expectOutput(v, "commandResponse", `[{"label":"Ada","value":"ada"},{"label":"Alan","value":"alan"}]`)
		}},
		{"sample.TestConnection", map[string]any{"server": map[string]any{
			"url": "http://127.0.0.1:9", "username": "admin", "password": samplePassword, // nothing listens there
		}}, "", devserver.Completed, func(v devserver.TaskView, _ string) error {
			if answer := formatValue(v.OutputProperties["commandResponse"]); !strings.Contains(answer, `"success":false`) {
				return fmt.Errorf("it reports %s, but nothing listens there", answer)
			}
			return nil
		}},
	}
}

func expectOutput(v devserver.TaskView, property, want string) error {
	if got := formatValue(v.OutputProperties[property]); got != want {
		return fmt.Errorf("output %s is unexpected: %s", property, formatShort(got))
	}
	return nil
}

func checkAbortCommand(v devserver.TaskView, log string) error {
	if !strings.Contains(log, "aborted after ") || !strings.Contains(v.Message, "The plugin answered SIGABRT with its result") {
		return errors.New("the plugin's abort command did not run")
	}
	return nil
}

func checkPasswordMasked(_ devserver.TaskView, log string) error {
	inJSON, err := json.Marshal(samplePassword)
	if err != nil {
		return fmt.Errorf("encode the password: %w", err)
	}
	if strings.Contains(log, samplePassword) || strings.Contains(log, string(inJSON[1:len(inJSON)-1])) {
		return errors.New("the password is in the log")
	}
	if !strings.Contains(log, "plain:") {
		return errors.New("the log does not come from the plugin, so it proves nothing")
	}
	return nil
}

// runSamples runs the samples one after another, prints their outcomes, and returns the unexpected ones.
func runSamples(ctx context.Context, server *devServer, out io.Writer) error {
	var problems []error
	for _, s := range samples() {
		view, log, err := s.run(ctx, server)
		if err == nil {
			printSample(out, view, log)
			err = s.verify(view, log)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", s.taskType, err)
			fmt.Fprintln(out, "  UNEXPECTED:", err)
			problems = append(problems, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	for _, v := range server.Ledger().Violations() {
		problems = append(problems, fmt.Errorf("the runner violated the protocol: %s", v))
	}
	return errors.Join(problems...)
}

func (s sample) run(ctx context.Context, server *devServer) (devserver.TaskView, string, error) {
	id, err := server.Submit(devserver.TaskRequest{TaskType: s.taskType, Properties: s.properties})
	if err != nil {
		return devserver.TaskView{}, "", err
	}
	limited, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("not done after 2m"))
	defer cancel()
	if err := s.abort(limited, server, id); err != nil {
		return devserver.TaskView{}, "", err
	}
	view, err := server.WaitLog(limited, id)
	if err != nil {
		return view, "", err
	}
	log, err := httpGet(limited, server.url+"/api/tasks/"+id+"/log")
	return view, log, err
}

// abort aborts the task when its log has the text abortAt.
func (s sample) abort(ctx context.Context, server *devServer, id string) error {
	for s.abortAt != "" {
		log, err := httpGet(ctx, server.url+"/api/tasks/"+id+"/log")
		if err != nil {
			return err
		}
		if strings.Contains(log, s.abortAt) {
			return server.Abort(id, "stopped by the sample")
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the log has no %q: %w", s.abortAt, context.Cause(ctx))
		}
	}
	return nil
}

func (s sample) verify(view devserver.TaskView, log string) error {
	if view.State != s.want {
		return fmt.Errorf("state is %s, want %s: %s", view.State, s.want, view.Message)
	}
	if s.check == nil {
		return nil
	}
	return s.check(view, log)
}

func printSample(out io.Writer, view devserver.TaskView, log string) {
	kind := ""
	if view.Kind == api.KindScript {
		kind = " (a script: its log is in the runner's log)"
	}
	fmt.Fprintf(out, "\n%s  %s after %v%s\n", view.TaskType, view.State, view.Finished.Sub(view.Created).Round(time.Millisecond), kind)
	for line := range strings.Lines(log) {
		fmt.Fprintln(out, "  |", formatShort(strings.TrimRight(line, "\n")))
	}
	printOutcome(out, view, formatShort)
}

// printOutcome prints the status, comments, outputs and message of a task; format converts a value.
func printOutcome(out io.Writer, view devserver.TaskView, format func(any) string) {
	if view.StatusLine != "" {
		fmt.Fprintln(out, "  status: ", view.StatusLine)
	}
	for _, comment := range view.Comments {
		fmt.Fprintln(out, "  comment:", strings.ReplaceAll(format(comment), "\n", "\n           "))
	}
	for _, name := range slices.Sorted(maps.Keys(view.OutputProperties)) {
		fmt.Fprintf(out, "  %s = %s\n", name, format(view.OutputProperties[name]))
	}
	if view.Message != "" {
		fmt.Fprintln(out, "  message:", strings.ReplaceAll(view.Message, "\n", "\n           "))
	}
}

// formatShort is formatValue, truncated for a terminal.
func formatShort(value any) string {
	const limit = 160
	text := formatValue(value)
	if len(text) <= limit {
		return text
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:limit], ""), len(text))
}

func httpGet(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("GET %s: HTTP %s", url, answer.Status)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", fmt.Errorf("GET %s: %w", url, err)
	}
	return string(text), nil
}
