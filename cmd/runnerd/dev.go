package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/rs/zerolog"

	"runnerd/infra/logging"
	msg "runnerd/messages"
)

// devCommand runs a server and a runner in one process, and provides a plugin for them.
type devCommand struct {
	Once   bool   `help:"Run the sample tasks, print their outcomes, and exit. The exit code says whether all were as expected."`
	Plugin string `type:"existingfile" placeholder:"FILE" help:"Static binary of a plugin. Default: the sample plugin, built from the clone in the working directory."`

	Server   ServerConfig   `embed:"" group:"Development server"`
	Executor ExecutorConfig `embed:"" group:"Executors"`
	Time     TimeConfig     `embed:"" group:"Time limits"`
	Gateway  GatewayConfig  `embed:"" group:"Gateway, where executors get their jobs"`
	Log      LogConfig      `embed:"" prefix:"log-"`
}

// Run serves until ctx ends or, with --once, until the samples are done.
func (c *devCommand) Run(ctx context.Context, out io.Writer) (err error) {
	ignoreSIGPIPE()
	if c.Once && c.Plugin != "" {
		return fmt.Errorf("--once runs the tasks of the sample plugin, but --plugin is %s: remove one of them", c.Plugin)
	}
	if err := checkRunner(c.Executor, c.Time, c.Gateway); err != nil {
		return configError(err)
	}
	log, err := logging.New(os.Stderr, c.Log.Format, c.Log.Level)
	if err != nil {
		return err
	}
	p, err := c.preparePlugin(ctx, out)
	if err != nil {
		return err
	}
	generated := c.Server.generateToken()
	server, err := startServer(c.Server, [][]byte{p.definitions}, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	state, err := os.MkdirTemp("", "runnerd-dev-")
	if err != nil {
		return fmt.Errorf("create a temporary state directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(state)) }()

	if c.Once {
		err := withRunner(ctx, c.runnerConfig(server.url, state), log, func(ctx context.Context) error { return runSamples(ctx, server, out) })
		if err == nil { // after the runner's log, so that it is the last line in a pipe
			fmt.Fprintln(out, "\nAll samples ended as expected.")
		}
		return err
	}
	fmt.Fprintf(out, "Server   %s\nToken    %s\nState    %s (removed at exit)\nPlugin   %s, as image %s\n\n%s\nCtrl-C stops everything.\n\n",
		server.url, cmp.Or(generated, "the given one"), state, p.program, p.image, submitHint(server.url, c.customImage(p)))
	return runDaemon(ctx, c.runnerConfig(server.url, state), log)
}

// customImage returns the image of a plugin other than the sample; else "".
func (c *devCommand) customImage(p plugin) string {
	if c.Plugin == "" {
		return ""
	}
	return p.image
}

// preparePlugin also chooses the driver, because what an image is depends on it.
func (c *devCommand) preparePlugin(ctx context.Context, out io.Writer) (plugin, error) {
	driver, reason, err := chooseDriver(ctx, c.Executor.Driver)
	if err != nil {
		return plugin{}, err
	}
	fmt.Fprintf(out, "Driver   %s, %s\n", driver, reason)
	c.Executor.Driver = driver
	p, err := findPlugin(ctx, c.Plugin, out)
	if err != nil {
		return plugin{}, err
	}
	if driver == "docker" {
		return p, p.buildImage(ctx)
	}
	p.setImage(p.program)
	c.Executor.ProcessImages = map[string]string{p.image: p.program}
	return p, nil
}

// runnerConfig returns the settings of the runner.
func (c *devCommand) runnerConfig(url, state string) RunConfig {
	return RunConfig{
		Release: devRelease("dev", url, c.Server.Token), Executor: c.Executor, Time: c.Time, Gateway: c.Gateway,
		Self: SelfConfig{StateDir: state, Health: "127.0.0.1:0", Log: c.Log},
	}
}

// devRelease returns a runner's settings for the development server of the same process.
func devRelease(name, url string, token msg.Secret) ReleaseConfig {
	return ReleaseConfig{
		Name: name, URL: url, Token: token, Environment: "development", Capabilities: []string{"remote", "remote-script", "container"},
	}
}

// withRunner calls do while a runner runs, then stops the runner. If the runner ends first, withRunner cancels the context of do.
func withRunner(ctx context.Context, config RunConfig, log zerolog.Logger, do func(context.Context) error) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	running, cancel := context.WithCancelCause(ctx)
	done := make(chan error, 1)
	go func() {
		err := runDaemon(serving, config, log)
		cancel(errors.New("the runner has ended"))
		done <- err
	}()
	err := do(running)
	stop()
	return errors.Join(err, <-done)
}
