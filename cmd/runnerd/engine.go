package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"runnerd/infra/docker"
	"runnerd/infra/driver"
	"runnerd/infra/process"
	msg "runnerd/messages"
)

// engine is a driver with what the wiring needs.
type engine interface {
	driver.Driver
	// Address returns the address at which executors reach this machine.
	Address(context.Context) (string, error)
	// FilesOnly reports whether executors get their jobs by files, because they cannot reach the Secrets API.
	FilesOnly() bool
	// TearDown removes what remains in the engine after the last executor.
	TearDown(context.Context) error
	Close() error
}

func openEngine(c ExecutorConfig, runner, stateDir string) (engine, error) {
	switch c.Driver {
	case "docker":
		credentials, err := readPullSecrets(c.PullSecrets)
		if err != nil {
			return nil, exitError{err, exitUsage}
		}
		d, err := docker.New(docker.Options{RunnerID: runner, Credentials: credentials,
			Limits: msg.Limits{Memory: int64(c.Memory), CPUs: c.CPUs, Pids: c.Pids}})
		if err != nil {
			return nil, exitError{err, exitUsage}
		}
		return dockerEngine{d}, nil
	case "process":
		d, err := process.New(process.Options{Dir: filepath.Join(stateDir, "processes"), Images: c.ProcessImages})
		if err != nil {
			return nil, err
		}
		return processEngine{d}, nil
	default:
		return nil, fmt.Errorf("--driver is %q: choose docker or process", c.Driver)
	}
}

// readPullSecrets reads registry credentials by name.
func readPullSecrets(file string) (map[string]docker.Credential, error) {
	text, err := readOptional(file)
	if err != nil {
		return nil, fmt.Errorf("--pull-secrets: %w", err)
	}
	var found map[string]struct {
		Registry string
		Username string
		Password string
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&found); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("--pull-secrets: %s: %w; write each as NAME: {registry: HOST, username: NAME, password: PASSWORD}", file, err)
	}
	credentials := map[string]docker.Credential{}
	for name, c := range found {
		if c.Username == "" || c.Password == "" {
			return nil, fmt.Errorf("--pull-secrets: %s: %s needs a username and a password", file, name)
		}
		credentials[name] = docker.Credential{Registry: c.Registry, Username: c.Username, Password: msg.Secret(c.Password)}
	}
	return credentials, nil
}

type dockerEngine struct{ *docker.Driver }

// Ready also creates the network of the executors, because an engine that was reinstalled has lost it.
func (e dockerEngine) Ready(ctx context.Context) error {
	_, err := e.Address(ctx)
	return err
}

func (e dockerEngine) Address(ctx context.Context) (string, error) {
	if err := e.Check(ctx); err != nil {
		return "", err
	}
	return e.EnsureNetwork(ctx)
}

func (dockerEngine) FilesOnly() bool                      { return false }
func (e dockerEngine) TearDown(ctx context.Context) error { return e.RemoveNetwork(ctx) }

type processEngine struct{ *process.Driver }

func (processEngine) Address(context.Context) (string, error) { return "127.0.0.1", nil }
func (processEngine) FilesOnly() bool                         { return true }
func (processEngine) TearDown(context.Context) error          { return nil }
func (e processEngine) Close() error                          { e.Driver.Close(); return nil }
