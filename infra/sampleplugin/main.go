// Command sampleplugin is the program of a plugin image, built with the unmodified official Go SDK. Tests and `runnerd dev` run
// it like any other plugin.
//
// Its types are in type-definitions.yaml: four normal tasks, one that tries to leak its password, two scripts, and Misbehave,
// which does what plugins should not do. It logs to stderr, as the SDK does.
//
// It is a separate module, so that the SDK's dependencies do not become dependencies of the runner.
package main

import (
	"fmt"

	"github.com/digital-ai/release-integration-sdk-go/runner"
	"github.com/digital-ai/release-integration-sdk-go/task"
	"github.com/digital-ai/release-integration-sdk-go/task/command"
)

const (
	version   = "1.0.0"
	buildDate = "unset: builds are reproducible"
)

func main() {
	runner.Execute(version, buildDate, runner.NewCommandRunner(func(task.InputContext) (command.CommandFactory, error) {
		return newCommands(), nil
	}))
}

// commands has the command of each task type. The SDK creates new commands for every job.
type commands map[command.CommandType]command.CommandExecutor

func newCommands() commands {
	slow := newSlow()
	return commands{
		"sample.Hello":                      &hello{},
		"sample.Fail":                       &fail{},
		"sample.Slow":                       slow,
		command.AbortCommand("sample.Slow"): &abortSlow{slow: slow},
		"sample.Large":                      &large{},
		"sample.Secret":                     &secret{},
		"sample.Lookup":                     &lookup{},
		"sample.TestConnection":             &testConnection{},
		"sample.Misbehave":                  &misbehave{},
	}
}

func (c commands) InitCommand(t command.CommandType) (command.CommandExecutor, error) {
	if exec, ok := c[t]; ok {
		return exec, nil
	}
	return nil, fmt.Errorf("unknown task type %s", t)
}
