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

// ServerConfig is what can be set for the development server.
type ServerConfig struct {
	Listen   string        `default:"127.0.0.1:5516" help:"Where the server answers. Whoever reaches it can submit tasks: leave it on the loopback interface."`
	Token    msg.Secret    `placeholder:"TOKEN" help:"Registration token. Default: a new one, which is printed."`
	Types    []string      `name:"type-definitions" type:"existingfile" placeholder:"FILE" help:"type-definitions.yaml of plugins whose tasks are to be submitted."`
	Capacity int           `default:"4" help:"Executors that a new runner may keep."`
	Eviction time.Duration `default:"60s" help:"How long its executors stay idle. 0: one executor per task."`
}

// Validate is called by kong.
func (c ServerConfig) Validate() error {
	if c.Capacity < 0 {
		return fmt.Errorf("--capacity=%d: no runner takes a negative one", c.Capacity)
	}
	if c.Eviction < 0 || c.Eviction%time.Second != 0 {
		return fmt.Errorf("--eviction=%v: runners are told whole seconds, 0 or more", c.Eviction)
	}
	return nil
}

type serverCommand struct {
	Check bool `help:"Start none: say by the exit code whether one answers at --listen. For health checks."`

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
	drawn := c.Server.drawToken()
	server, err := startServer(c.Server, nil, log)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Development server at %s\n\nStart a runner:\n  RELEASE_RUNNER_RELEASE_URL=%s RELEASE_RUNNER_TOKEN=%s runnerd run\n\n%s",
		server.url, server.url, cmp.Or(drawn, "…"), submitHint(server.url, "your/plugin:1.0"))
	<-ctx.Done()
	return server.close()
}

// checkServer asks for what a server always has.
func checkServer(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := fetch(ctx, "http://"+address+"/api/v1/openapi.yaml")
	return err
}

// drawToken draws a token where none is given, and returns it for printing. One that is given is never printed.
func (c *ServerConfig) drawToken() string {
	if c.Token != "" {
		return ""
	}
	drawn := "rpa_" + rand.Text()
	c.Token = msg.Secret(drawn)
	return drawn
}

// submitHint says how to go on by hand. image is a plugin's of somebody else; empty: it is the sample plugin's.
func submitHint(url, image string) string {
	task := `"taskType": "sample.Hello", "properties": {"yourName": "World"}`
	if image != "" {
		task = fmt.Sprintf(`"image": %q, "taskType": "your.Type", "properties": {"name": "value"}`, image)
	}
	return fmt.Sprintf(`Submit a task, and look at what became of it:
  curl -s -H 'Content-Type: application/json' %[1]s/api/tasks -d '{%[2]s}'
  curl -s %[1]s/api/tasks
  curl -s %[1]s/api/tasks/ID/log
docs/devserver.md has more: scripts, aborts, and what a server says to its runners.
`, url, task)
}

// releaseServer is a development server behind a listener.
type releaseServer struct {
	*devserver.Server
	url   string
	http  *http.Server
	ended chan error
}

// startServer answers on return. definitions are further type definitions.
func startServer(c ServerConfig, definitions [][]byte, log zerolog.Logger) (*releaseServer, error) {
	for _, file := range c.Types {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the type definitions: %w", err)
		}
		definitions = append(definitions, text)
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("start the development server: %w: give another --listen", err)
	}
	url := "http://" + listener.Addr().String()
	server, err := devserver.New(devserver.Options{
		Token: string(c.Token), PublicURL: url, Log: log, TypeDefinitions: definitions,
		Config: api.Config{Revision: 1, Enabled: true, Capacity: c.Capacity, EvictionSeconds: int64(c.Eviction / time.Second)},
	})
	if err != nil {
		return nil, errors.Join(exitError{fmt.Errorf("%w: mend --type-definitions %s", err, strings.Join(c.Types, ", ")), exitUsage}, listener.Close())
	}
	s := &releaseServer{Server: server, url: url, ended: make(chan error, 1),
		http: &http.Server{Handler: server.Handler(), ReadHeaderTimeout: 10 * time.Second}}
	go func() { s.ended <- s.http.Serve(listener) }()
	return s, nil
}

// close answers what is under way, within a few seconds.
func (s *releaseServer) close() error {
	s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if ended := <-s.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	if err != nil {
		return fmt.Errorf("stop the development server: %w", err)
	}
	return nil
}
