package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"runnerd/infra/devserver"
	"runnerd/infra/logging"
	"runnerd/infra/release/api"
	msg "runnerd/messages"
)

// ServerConfig has the settings of the development server.
type ServerConfig struct {
	Listen   string        `default:"127.0.0.1:5516" help:"Address of the server. Anyone who can reach it can submit tasks: keep it on the loopback interface."`
	Token    msg.Secret    `placeholder:"TOKEN" help:"Registration token of runners. Default: a new one, which is printed."`
	Types    []string      `name:"type-definitions" type:"existingfile" placeholder:"FILE" help:"type-definitions.yaml of a plugin whose tasks are submitted."`
	Capacity int           `default:"4" help:"Capacity of a new runner: its maximum number of executors."`
	Eviction time.Duration `default:"60s" help:"Eviction time of idle executors. 0: one executor per task."`
}

// Validate is called by kong.
func (c ServerConfig) Validate() error {
	if c.Capacity < 0 {
		return fmt.Errorf("--capacity=%d: must be 0 or more", c.Capacity)
	}
	if c.Eviction < 0 || c.Eviction%time.Second != 0 {
		return fmt.Errorf("--eviction=%v: must be a number of whole seconds, 0 or more", c.Eviction)
	}
	return nil
}

type serverCommand struct {
	Check bool `help:"Do not start a server; exit with 0 if one answers at --listen, else with 1 (for health checks)."`

	Server ServerConfig `embed:""`
	Log    LogConfig    `embed:"" prefix:"log-"`
}

// Run serves until ctx ends.
func (c *serverCommand) Run(ctx context.Context, out io.Writer) error {
	if c.Check {
		return checkServer(ctx, c.Server.Listen)
	}
	log, err := logging.New(os.Stderr, c.Log.Format, c.Log.Level)
	if err != nil {
		return err
	}
	generated := c.Server.generateToken()
	server, err := startServer(c.Server, nil, log)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Development server at %s\n\nStart a runner:\n  RELEASE_RUNNER_RELEASE_URL=%s RELEASE_RUNNER_TOKEN=%s runnerd run\n\n%s",
		server.url, server.url, cmp.Or(generated, "…"), submitHint(server.url, "your/plugin:1.0"))
	<-ctx.Done()
	return server.close()
}

// checkServer returns nil if a server answers at address.
func checkServer(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := httpGet(ctx, "http://"+address+"/api/v1/openapi.yaml")
	return err
}

// generateToken sets a new token if none is set, and returns it for printing. A given token is never printed.
func (c *ServerConfig) generateToken() string {
	if c.Token != "" {
		return ""
	}
	generated := "rpa_" + rand.Text()
	c.Token = msg.Secret(generated)
	return generated
}

// submitHint returns commands that submit a task and show its outcome. image is that of a user's plugin; empty: the sample plugin's.
func submitHint(url, image string) string {
	task := `"taskType": "sample.Hello", "properties": {"yourName": "World"}`
	if image != "" {
		task = fmt.Sprintf(`"image": %q, "taskType": "your.Type", "properties": {"name": "value"}`, image)
	}
	return fmt.Sprintf(`Submit a task and look at its outcome:
  curl -s -H 'Content-Type: application/json' %[1]s/api/tasks -d '{%[2]s}'
  curl -s %[1]s/api/tasks
  curl -s %[1]s/api/tasks/ID/log
docs/devserver.md has more: scripts, aborts, and the events of the server.
`, url, task)
}

// devServer is a development server with its listener.
type devServer struct {
	*devserver.Server
	url  string
	http *http.Server
	done chan error
}

// startServer starts a server, which answers on return. definitions are type definitions in addition to those of the configuration.
func startServer(c ServerConfig, definitions [][]byte, log zerolog.Logger) (*devServer, error) {
	for _, file := range c.Types {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the type definitions: %w", err)
		}
		definitions = append(definitions, text)
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("start the development server: --listen is %s: %w; set another", c.Listen, err)
	}
	url := "http://" + listener.Addr().String()
	server, err := devserver.New(devserver.Options{
		Token: string(c.Token), PublicURL: url, Log: log, TypeDefinitions: definitions,
		Config: api.Config{Revision: 1, Enabled: true, Capacity: c.Capacity, EvictionSeconds: int64(c.Eviction / time.Second)},
	})
	if err != nil {
		return nil, errors.Join(exitError{fmt.Errorf("--type-definitions is %s: %w", strings.Join(c.Types, ", "), err), exitUsage}, listener.Close())
	}
	s := &devServer{Server: server, url: url, done: make(chan error, 1),
		http: &http.Server{Handler: server.Handler(), ReadHeaderTimeout: 10 * time.Second}}
	go func() { s.done <- s.http.Serve(listener) }()
	return s, nil
}

// close stops the server. Open requests get a few seconds to finish.
func (s *devServer) close() error {
	s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if ended := <-s.done; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	if err != nil {
		return fmt.Errorf("stop the development server: %w", err)
	}
	return nil
}
