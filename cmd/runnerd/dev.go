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

// devCommand is a whole world in one process: a server, a runner, and a plugin for it to run.
type devCommand struct {
	Once   bool   `help:"Run the sample tasks, show what becomes of them, and end. The exit code says whether all went as it should."`
	Plugin string `type:"existingfile" placeholder:"FILE" help:"A plugin's static binary. Default: the sample plugin, built from this clone."`

	Server   ServerConfig   `embed:"" group:"Development server"`
	Executor ExecutorConfig `embed:"" group:"Executors"`
	Time     TimeConfig     `embed:"" group:"Time limits"`
	Gateway  GatewayConfig  `embed:"" group:"Gateway, where executors get their jobs"`
	Log      LogConfig      `embed:"" prefix:"log-"`
}

// Run starts the world, and ends it with ctx or, with --once, after the samples.
func (c *devCommand) Run(ctx context.Context, out io.Writer) (err error) {
	outliveReaders()
	if c.Once && c.Plugin != "" {
		return errors.New("--once runs the sample plugin's tasks: leave --plugin out")
	}
	if err := checkRunner(c.Executor, c.Time, c.Gateway); err != nil {
		return wrongSettings(err)
	}
	log, err := logging.New(os.Stderr, c.Log.Format, c.Log.Level)
	if err != nil {
		return err
	}
	p, err := c.preparePlugin(ctx, out)
	if err != nil {
		return err
	}
	drawn := c.Server.drawToken()
	server, err := startServer(c.Server, [][]byte{p.definitions}, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	state, err := os.MkdirTemp("", "runnerd-dev-")
	if err != nil {
		return fmt.Errorf("make a state directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(state)) }()

	if c.Once {
		return besideRunner(ctx, c.runner(server.url, state), log, func(ctx context.Context) error { return runSamples(ctx, server, out) })
	}
	fmt.Fprintf(out, "Server   %s\nToken    %s\nState    %s, gone at the end\nPlugin   %s, as image %s\n\n%s\nEnd with Ctrl-C.\n\n",
		server.url, cmp.Or(drawn, "as given"), state, p.program, p.image, submitHint(server.url, c.foreignImage(p)))
	return runDaemon(ctx, c.runner(server.url, state), log)
}

// foreignImage is the image of a plugin that is not the sample.
func (c *devCommand) foreignImage(p plugin) string {
	if c.Plugin == "" {
		return ""
	}
	return p.image
}

// preparePlugin chooses the driver too: it decides what an image is.
func (c *devCommand) preparePlugin(ctx context.Context, out io.Writer) (plugin, error) {
	driver, why, err := chooseDriver(ctx, c.Executor.Driver)
	if err != nil {
		return plugin{}, err
	}
	fmt.Fprintf(out, "Driver   %s, %s\n", driver, why)
	c.Executor.Driver = driver
	p, err := findPlugin(ctx, c.Plugin, out)
	if err != nil {
		return plugin{}, err
	}
	if driver == "docker" {
		return p, p.makeImage(ctx)
	}
	p.nameImage(p.program)
	c.Executor.ProcessImages = map[string]string{p.image: p.program}
	return p, nil
}

// runner is the configuration of the runner beside the server.
func (c *devCommand) runner(url, state string) RunConfig {
	return RunConfig{
		Release: ownRelease("dev", url, c.Server.Token), Executor: c.Executor, Time: c.Time, Gateway: c.Gateway,
		Self: SelfConfig{StateDir: state, Health: "127.0.0.1:0", Log: c.Log},
	}
}

// ownRelease is the configuration towards a development server of one's own.
func ownRelease(name, url string, token msg.Secret) ReleaseConfig {
	return ReleaseConfig{
		Name: name, URL: url, Token: token, Environment: "development", Capabilities: []string{"remote", "remote-script", "container"},
	}
}

// besideRunner does something beside a runner, which ends with it. A runner that ends by itself ends it.
func besideRunner(ctx context.Context, config RunConfig, log zerolog.Logger, do func(context.Context) error) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	waiting, giveUp := context.WithCancelCause(ctx)
	ended := make(chan error, 1)
	go func() {
		err := runDaemon(running, config, log)
		giveUp(errors.New("the runner has ended"))
		ended <- err
	}()
	err := do(waiting)
	stop()
	return errors.Join(err, <-ended)
}
