// Command runnerd is an open Release Runner. Its commands:
//
//	run       be a runner
//	status    how the runner on this machine fares
//	drain     let it finish what it has, and end it
//	spool     look at what it keeps, and mend it
//	exec      run one task of a plugin image, and end
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
	_ "golang.org/x/crypto/x509roots/fallback" // for images that have no certificates of their own
)

type program struct {
	Run     runCommand     `cmd:"" help:"Run jobs of a Release server."`
	Dev     devCommand     `cmd:"" help:"Start a development server with a runner and the sample plugin."`
	Exec    execCommand    `cmd:"" help:"Run one task of a plugin image, with a development server and a runner of its own, and end."`
	Server  serverCommand  `cmd:"" help:"Start a development server, for runners elsewhere."`
	Status  statusCommand  `cmd:"" help:"Say how the runner on this machine fares."`
	Drain   drainCommand   `cmd:"" help:"Let the runner finish what it has, and end it."`
	Spool   spoolCommand   `cmd:"" help:"Look at what the runner keeps, and mend it."`
	Version versionCommand `cmd:"" help:"Say which build this is."`
}

// Exit codes: what a service manager need not try again is told from what it should.
const (
	exitFailed   = 1
	exitUsage    = 2 // how it was called or set up is wrong, and will be the next time
	exitNoRunner = 3 // a command finds no runner that lives
	exitNoResult = 4 // exec has no word of the plugin
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
	command.BindTo(os.Stdin, (*io.Reader)(nil))
	err = command.Run()
	if known, ok := errors.AsType[exitError](err); ok {
		return fail(stderr, err, known.code)
	}
	if err != nil {
		return fail(stderr, err, exitFailed)
	}
	return 0
}

// outliveReaders is for commands with a runner. Who reads their output may leave, as head does: the write fails then, and they do not
// end with no chance to clear away.
func outliveReaders() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// exitError ends the program with a code of its own.
type exitError struct {
	error
	code int
}

func (e exitError) Unwrap() error { return e.error }

func parse(p *program, args []string, stdout, stderr io.Writer) (*kong.Context, error) {
	file := new(configFile)
	parser, err := kong.New(p,
		kong.Name("runnerd"),
		kong.Description("An open Release Runner: takes jobs from a Release server and runs each in a container of a plugin image."),
		kong.DefaultEnvars("RELEASE_RUNNER"),
		kong.Resolvers(file),
		kong.Writers(stdout, stderr),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		return nil, fmt.Errorf("build the command line: %w", err)
	}
	command, err := parser.Parse(args)
	if file.err != nil { // kong says it of the flag that it was about to resolve
		return nil, file.err
	}
	return command, err
}

func fail(stderr io.Writer, err error, code int) int {
	fmt.Fprintln(stderr, "runnerd:", err) // nobody is left to hear that this could not be written
	return code
}
