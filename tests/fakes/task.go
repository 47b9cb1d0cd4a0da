package fakes

import (
	"encoding/json"
	"fmt"
	"time"

	"runnerd/infra/contract"
	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// Task is a task to submit to the server.
type Task struct {
	Image    string
	Kind     msg.Kind // msg.Task if empty
	Type     string
	Priority int
	Timeout  time.Duration
	Behavior Behavior
	Secret   string // a password among the properties

	Undecryptable bool // the input is encrypted with another key
	InputByURL    bool // the input is too large for the offer and must be fetched
}

// Behavior is what a plugin does for one job. It is part of the job's input.
type Behavior struct {
	Lines         []string      // printed before the work
	LineInterval  time.Duration // between two lines; at least StepTime
	Duration      time.Duration // of the work, until there is a result
	ExitCode      int           // in the result
	TrailingLines []string      // printed after the result
	DeathCode     int           // not 0: after the work the process exits with this code, without a result
	Hangs         bool          // the work never ends
	DiskBytes     int64         // written to disk
	Forks         bool          // leaves a process behind
	FileOnly      bool          // the result is only written to the file, without a callback
	TooLarge      bool          // the result is larger than the gateway accepts
}

const (
	behaviorProperty = "behavior"
	secretProperty   = "secret"
)

func (t Task) input(key seal.Key) (string, error) {
	behavior, err := json.Marshal(t.Behavior)
	if err != nil {
		return "", fmt.Errorf("encode the behavior: %w", err)
	}
	text, err := json.Marshal(contract.InputContext{Task: contract.Task{Type: t.Type, Properties: []contract.Property{
		{Name: behaviorProperty, Value: string(behavior), Kind: "STRING", Category: "input"},
		{Name: secretProperty, Value: t.Secret, Kind: "STRING", Category: "input", Password: true},
	}}})
	if err != nil {
		return "", fmt.Errorf("encode the input: %w", err)
	}
	if t.Undecryptable {
		key = seal.NewKey()
	}
	return seal.Encrypt(key, text), nil
}

// readBehavior decrypts a job's input and returns its behavior.
func readBehavior(key seal.Key, input string) (Behavior, error) {
	text, err := seal.Decrypt(key, []byte(input))
	if err != nil {
		return Behavior{}, err
	}
	in, err := contract.ParseInput(text)
	if err != nil {
		return Behavior{}, err
	}
	var b Behavior
	for _, p := range in.Task.Properties {
		if p.Name == behaviorProperty {
			err = json.Unmarshal([]byte(p.Value.(string)), &b)
		}
	}
	return b, err
}

func resultOf(key seal.Key, code int) []byte {
	text, _ := json.Marshal(contract.Result{ExitCode: code}) // cannot fail
	return []byte(seal.Encrypt(key, text))
}
