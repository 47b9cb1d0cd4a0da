// Package contract is what plugin images built with the official integration SDKs read and write: the JSON of an input
// and of a result, the names of environment variables, and the keys of a Secret.
//
// It only names and shapes; it knows nothing about how anything travels or is encrypted.
package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

type (
	// InputContext is all that a plugin is told about its job.
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
	// User is the one in whose name a plugin may call the server.
	User struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	// Task is what to do. It is also the value of a property of KindCI.
	Task struct {
		ID         string     `json:"id"`
		Type       string     `json:"type"`
		Properties []Property `json:"properties"`
	}
	// Property is an argument of a task. The SDKs want all five fields there.
	Property struct {
		Name     string `json:"name"`
		Value    any    `json:"value"`
		Kind     string `json:"kind"`
		Category string `json:"category"`
		Password bool   `json:"password"`
	}
)

// KindCI is the kind of a property whose value is a configuration item, shaped like a Task.
const KindCI = "CI"

// Result is what a plugin reports. Every SDK leaves out other fields where they are empty.
type Result struct {
	ExitCode         int            `json:"exitCode"`
	OutputProperties map[string]any `json:"outputProperties,omitempty"`
	JobErrorMessage  string         `json:"jobErrorMessage,omitempty"`
}

// ParseInput reads an input context. Numbers in values keep the text that they came in (json.Number), so that they can be
// found again where a plugin prints them.
func ParseInput(data []byte) (InputContext, error) {
	var in *InputContext
	if err := parse(data, &in); err != nil {
		return InputContext{}, fmt.Errorf("read input context: %w", err)
	}
	if in == nil {
		return InputContext{}, errors.New("read input context: it is null")
	}
	return *in, nil
}

// ParseResult reads a result.
func ParseResult(data []byte) (Result, error) {
	var r *Result
	if err := parse(data, &r); err != nil {
		return Result{}, fmt.Errorf("read result: %w", err)
	}
	if r == nil {
		return Result{}, errors.New("read result: it is null")
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
		return errors.New("there is more after its end")
	}
	return nil
}
