package fakes

import (
	"encoding/json"
	"fmt"
	"time"

	"runnerd/infra/contract"
	"runnerd/infra/seal"
	msg "runnerd/messages"
)

// Task is what somebody wants done on the server.
type Task struct {
	Image    string
	Kind     msg.Kind // Task if empty
	Type     string
	Priority int
	Timeout  time.Duration
	Errand   Errand
	Secret   string // a password among the properties

	Unreadable bool // its input is not what the key encrypted
	Fetched    bool // its input is too large for the offer
}

// Errand is what a plugin does for one job. It travels in the job's input.
type Errand struct {
	Prints   []string      // lines, before the work
	Every    time.Duration // from one of them to the next; zero: nothing takes no time at all
	Works    time.Duration // until there is a result
	ExitCode int           // in the result
	Trails   []string      // lines, after the result
	Dies     int           // not zero: in the end it exits with this code instead of having a result
	Hangs    bool          // it never comes to an end
	Fills    int64         // bytes of disk
	Forks    bool          // it leaves a process behind
	FileOnly bool          // the result goes into the file, and nobody is called back
	TooLarge bool          // the result is larger than the gateway takes
}

const (
	errandProperty = "errand"
	secretProperty = "secret"
)

func (t Task) input(key seal.Key) (string, error) {
	errand, err := json.Marshal(t.Errand)
	if err != nil {
		return "", fmt.Errorf("write the errand: %w", err)
	}
	text, err := json.Marshal(contract.InputContext{Task: contract.Task{Type: t.Type, Properties: []contract.Property{
		{Name: errandProperty, Value: string(errand), Kind: "STRING", Category: "input"},
		{Name: secretProperty, Value: t.Secret, Kind: "STRING", Category: "input", Password: true},
	}}})
	if err != nil {
		return "", fmt.Errorf("write the input: %w", err)
	}
	if t.Unreadable {
		key = seal.NewKey()
	}
	return seal.Encrypt(key, text), nil
}

// readErrand is the plugin's side.
func readErrand(key seal.Key, input string) (Errand, error) {
	text, err := seal.Decrypt(key, []byte(input))
	if err != nil {
		return Errand{}, err
	}
	in, err := contract.ParseInput(text)
	if err != nil {
		return Errand{}, err
	}
	var e Errand
	for _, p := range in.Task.Properties {
		if p.Name == errandProperty {
			err = json.Unmarshal([]byte(p.Value.(string)), &e)
		}
	}
	return e, err
}

func resultOf(key seal.Key, code int) []byte {
	text, _ := json.Marshal(contract.Result{ExitCode: code}) // it cannot fail
	return []byte(seal.Encrypt(key, text))
}
