// Package contract defines what plugin images built with the official integration SDKs read and write: the JSON of an input
// and of a result, the names of environment variables, and the keys of a Secret.
//
// It defines names and formats only. Transport and encryption are elsewhere.
package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

type (
	// InputContext is the job's input as the plugin reads it.
	InputContext struct {
		Release Release `json:"release"`
		Task    Task    `json:"task"`
	}
	// Release is the release that the task belongs to.
	Release struct {
		ID                  string `json:"id"`
		AutomatedTaskAsUser User   `json:"automatedTaskAsUser"`
		URL                 string `json:"url"`
	}
	// User is the account with which a plugin may call the server.
	User struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	// Task is the task to run. A property of KindCI has a value of the same form.
	Task struct {
		ID         string     `json:"id"`
		Type       string     `json:"type"`
		Properties []Property `json:"properties"`
	}
	// Property is an argument of a task. The SDKs require all five fields.
	Property struct {
		Name     string `json:"name"`
		Value    any    `json:"value"`
		Kind     string `json:"kind"`
		Category string `json:"category"`
		Password bool   `json:"password"`
	}
)

// KindCI is the kind of a property whose value is a configuration item in the form of a Task.
const KindCI = "CI"

// Result is what a plugin reports. Each SDK omits different fields when they are empty.
type Result struct {
	ExitCode         int            `json:"exitCode"`
	OutputProperties map[string]any `json:"outputProperties,omitempty"`
	JobErrorMessage  string         `json:"jobErrorMessage,omitempty"`
}

// ParseInput parses an input context. Numbers keep their original text (json.Number), so that masking finds them in a plugin's output.
func ParseInput(data []byte) (InputContext, error) {
	var in *InputContext
	if err := parse(data, &in); err != nil {
		return InputContext{}, fmt.Errorf("parse input context: %w", err)
	}
	if in == nil {
		return InputContext{}, errors.New("parse input context: it is null")
	}
	return *in, nil
}

// ParseResult parses a result.
func ParseResult(data []byte) (Result, error) {
	var r *Result
	if err := parse(data, &r); err != nil {
		return Result{}, fmt.Errorf("parse result: %w", err)
	}
	if r == nil {
		return Result{}, errors.New("parse result: it is null")
	}
	return *r, nil
}

func parse(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("data after the end of the JSON value")
	}
	return nil
}
