// Command sampleplugin is a plugin image's program, built with the official Go SDK, unmodified: what runnerd runs in its tests
// and in `runnerd dev`. What holds for it holds for a plugin of anyone's.
//
// The types are in type-definitions.yaml: four that do what plugins do, one that tries to give its password away, two scripts,
// and Misbehave, which does what plugins should not. It logs to stderr, as the SDK does.
//
// It is a module of its own, so that the SDK's dependencies are not the runner's.
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

// commands makes the command of a task type. The SDK asks for a new one for every job.
type commands map[command.CommandType]command.CommandExecutor

func newCommands() commands {
	slow := newSlow()
	return commands{
		"sample.Hello":                      &hello{},
		"sample.Fail":                       &fail{},
		"sample.Slow":                       slow,
		command.AbortCommand("sample.Slow"): &abortSlow{of: slow},
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
	return nil, fmt.Errorf("this plugin has no type %s", t)
}
