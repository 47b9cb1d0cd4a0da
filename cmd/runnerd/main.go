// Command runnerd is an open Release Runner. Its commands:
//
//	run       be a runner
//	dev       a server, a runner and a sample plugin in one terminal, to try and to develop plugins with
//	server    the development server alone
//	version   which build this is
//
// This package wires the program and decides nothing else: what can be set is in config.go, what a runner is made of in wire.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

type program struct {
	Run     runCommand     `cmd:"" help:"Run jobs of a Release server."`
	Dev     devCommand     `cmd:"" help:"Start a development server with a runner and the sample plugin."`
	Server  serverCommand  `cmd:"" help:"Start a development server, for runners elsewhere."`
	Version versionCommand `cmd:"" help:"Say which build this is."`
}

// Exit codes: what a service manager need not try again is told from what it should.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if err := dropEmpty(os.Environ()); err != nil {
		return fail(stderr, err, exitFailed)
	}
	command, err := parse(new(program), args, stdout, stderr)
	if err != nil {
		return fail(stderr, fmt.Errorf("%w; see runnerd --help", err), exitUsage)
	}
	command.BindTo(ctx, (*context.Context)(nil))
	command.BindTo(stdout, (*io.Writer)(nil))
	err = command.Run()
	if wrong, ok := errors.AsType[usageError](err); ok {
		return fail(stderr, wrong, exitUsage)
	}
	if err != nil {
		return fail(stderr, err, exitFailed)
	}
	return 0
}

// usageError is what is wrong with how the program was called or set up, and will be the next time.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func parse(p *program, args []string, stdout, stderr io.Writer) (*kong.Context, error) {
	parser, err := kong.New(p,
		kong.Name("runnerd"),
		kong.Description("An open Release Runner: takes jobs from a Release server and runs each in a container of a plugin image."),
		kong.DefaultEnvars("RELEASE_RUNNER"),
		kong.Resolvers(new(configFile)),
		kong.Writers(stdout, stderr),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		return nil, fmt.Errorf("build the command line: %w", err)
	}
	return parser.Parse(args)
}

func fail(stderr io.Writer, err error, code int) int {
	fmt.Fprintln(stderr, "runnerd:", err) // nobody is left to hear that this could not be written
	return code
}
