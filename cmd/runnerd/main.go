// Command runnerd is an open Release Runner. Its commands:
//
//	run       run jobs of a Release server
//	status    show the runner's status
//	drain     finish running jobs, then stop the runner
//	spool     inspect and repair the spool
//	exec      run one task of a plugin image, then exit
//	dev       run a server, a runner and a sample plugin in one terminal, to develop plugins
//	server    run the development server alone
//	version   print the version
//
// This package only wires the program. config.go defines the settings, and wire.go connects the parts of a runner.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	_ "golang.org/x/crypto/x509roots/fallback" // for images without CA certificates
)

type program struct {
	Run     runCommand     `cmd:"" help:"Run the runner: take jobs from a Release server and execute them."`
	Dev     devCommand     `cmd:"" help:"Run a development server, a runner and the sample plugin."`
	Exec    execCommand    `cmd:"" help:"Run one task of a plugin image with a temporary server and runner, then exit."`
	Server  serverCommand  `cmd:"" help:"Run a development server for runners elsewhere."`
	Status  statusCommand  `cmd:"" help:"Show the runner's status."`
	Drain   drainCommand   `cmd:"" help:"Finish running jobs, then stop the runner."`
	Spool   spoolCommand   `cmd:"" help:"Inspect and repair the spool."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

// The exit codes tell a service manager whether a restart can help.
const (
	exitFailed   = 1
	exitUsage    = 2 // wrong arguments or settings: a restart does not help
	exitNoRunner = 3 // the command needs a running runner, and there is none
	exitNoResult = 4 // exec: the task was aborted, timed out or left no result, or exec itself failed
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if err := unsetEmptyVariables(os.Environ()); err != nil {
		return fail(stderr, err, exitFailed)
	}
	command, err := parse(new(program), args, stdout, stderr)
	if err != nil {
		return fail(stderr, err, exitUsage)
	}
	command.BindTo(ctx, (*context.Context)(nil))
	command.BindTo(stdout, (*io.Writer)(nil))
	command.BindTo(os.Stdin, (*io.Reader)(nil))
	err = command.Run()
	if exit, ok := errors.AsType[exitError](err); ok {
		return fail(stderr, err, exit.code)
	}
	if err != nil {
		return fail(stderr, err, exitFailed)
	}
	return 0
}

// ignoreSIGPIPE makes writes to a closed pipe fail instead of ending the process, so that a command with a runner can clean up when
// the reader of its output exits, as head does.
func ignoreSIGPIPE() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// exitError is an error with its own exit code.
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
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(decodeDuration)),
		kong.DefaultEnvars("RELEASE_RUNNER"),
		kong.Resolvers(file),
		kong.Writers(stdout, stderr),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		return nil, fmt.Errorf("build the command line: %w", err)
	}
	command, err := parser.Parse(args)
	help := "runnerd"
	if failed, ok := errors.AsType[*kong.ParseError](err); ok && failed.Context.Selected() != nil {
		help = failed.Context.Selected().FullPath()
	}
	if file.err != nil { // kong's error names a flag that has nothing to do with it
		err = file.err
	}
	if err != nil {
		return nil, fmt.Errorf("%w; see %s --help", err, help)
	}
	command.Bind(file)
	return command, nil
}

// decodeDuration replaces kong's mapper, whose error does not say what to write.
func decodeDuration(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("duration", &text); err != nil {
		return err
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is not a duration: write 5s or 5m", text)
	}
	target.SetInt(int64(d))
	return nil
}

func fail(stderr io.Writer, err error, code int) int {
	fmt.Fprintln(stderr, "runnerd:", err)
	return code
}
