package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/mattn/go-isatty"

	"runnerd/infra/devserver"
	"runnerd/infra/docker"
	"runnerd/infra/logging"
	"runnerd/infra/release/api"
	msg "runnerd/messages"
)

// execCommand runs one task as a Release server does: through a runner, in a container of the image.
type execCommand struct {
	Image  string            `arg:"" help:"Plugin image; with --driver=process, the plugin's executable."`
	Type   string            `short:"t" required:"" placeholder:"TYPE" help:"Task type, such as sample.Hello."`
	Set    map[string]string `short:"s" mapsep:"none" placeholder:"NAME=VALUE" help:"Property of the task; repeat for each. A value that begins with {, [ or a double quote is JSON."`
	Types  []string          `name:"type-definitions" type:"existingfile" placeholder:"FILE" help:"type-definitions.yaml of the plugin, with the kinds and defaults of properties, and which are passwords."`
	Script bool              `help:"Run the task as a script. Default: as the type definitions say."`
	Pull   string            `enum:"if-not-present,always,never" default:"if-not-present" help:"When to pull the image: if-not-present, always or never."`

	Executor ExecutorConfig `embed:"" group:"Executors"`
	Time     TimeConfig     `embed:"" group:"Time limits"`
	Gateway  GatewayConfig  `embed:"" group:"Gateway, where executors get their jobs"`
	LogLevel string         `enum:"debug,info,warn,error" default:"error" help:"Level of the runner's log: debug, info, warn or error."`
}

// Run streams the task's log and prints its outcome. Ctrl-C aborts the task. Exit code 1 always means that the plugin reported a
// failure.
func (c *execCommand) Run(ctx context.Context, out io.Writer) error {
	err := c.run(ctx, out)
	if _, known := errors.AsType[exitError](err); err == nil || known {
		return err
	}
	return exitError{err, exitNoResult}
}

func (c *execCommand) run(ctx context.Context, out io.Writer) (err error) {
	ignoreSIGPIPE()
	request, err := c.request()
	if err != nil {
		return exitError{err, exitUsage}
	}
	if err := checkRunner(c.Executor, c.Time, c.Gateway); err != nil {
		return configError(err)
	}
	log, err := logging.NewWithScripts(os.Stderr, "auto", c.LogLevel, out) // a script's log is in its runner's log
	if err != nil {
		return err
	}
	if err := c.prepareImage(ctx); err != nil {
		return exitError{err, exitNoResult}
	}
	token := msg.Secret("rpa_" + rand.Text())
	server, err := startServer(ServerConfig{Listen: "127.0.0.1:0", Token: token, Types: c.Types, Capacity: 1}, nil, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	id, err := server.Submit(request)
	if err != nil {
		return exitError{err, exitUsage}
	}
	state, err := os.MkdirTemp("", "runnerd-exec-")
	if err != nil {
		return fmt.Errorf("create a temporary state directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(state)) }()
	config := RunConfig{
		Release: devRelease("exec", server.url, token), Executor: c.Executor, Time: c.Time, Gateway: c.Gateway,
		Self: SelfConfig{StateDir: state, Health: "127.0.0.1:0"},
	}
	err = withRunner(ctx, config, log, func(running context.Context) error { return c.follow(ctx, running, server, id, out) })
	return errors.Join(reportTask(server, id, out, err), err)
}

func (c *execCommand) request() (devserver.TaskRequest, error) {
	r := devserver.TaskRequest{Image: c.Image, TaskType: c.Type, Properties: map[string]any{}}
	if c.Script {
		r.Kind = api.KindScript
	}
	for name, text := range c.Set {
		r.Properties[name] = text
		if text != "" && strings.Contains(`{["`, text[:1]) {
			var value any
			if err := json.Unmarshal([]byte(text), &value); err != nil {
				return r, fmt.Errorf("--set %s: the value begins like JSON but is not valid: %w; write a text in double quotes: --set '%s=%q'", name, err, name, text)
			}
			r.Properties[name] = value
		}
	}
	return r, nil
}

// prepareImage pulls the image before the task starts, to show the progress on the terminal.
func (c *execCommand) prepareImage(ctx context.Context) error {
	if c.Executor.Driver == "process" {
		c.Executor.ProcessImages = map[string]string{c.Image: c.Image}
		return nil
	}
	c.Executor.Driver = "docker"
	engine, err := docker.New(docker.Options{RunnerID: uuid.NewString(), Progress: terminal{os.Stderr}})
	if err != nil {
		return err
	}
	defer engine.Close()
	if err := engine.Check(ctx); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("%w; without an engine, run the plugin's executable with --driver=process", err)
	}
	_, err = engine.Pull(ctx, c.Image, msg.PullPolicy(c.Pull), "")
	return err
}

type terminal struct{ *os.File }

func (t terminal) FD() uintptr      { return t.Fd() }
func (t terminal) IsTerminal() bool { return isatty.IsTerminal(t.Fd()) }

// abortMargin is how long an aborted task may take to end in addition to the waits of its stop sequence.
const abortMargin = 30 * time.Second

// follow streams a task's log. When ctx ends, or the log cannot be written, it aborts the task and waits for its end. running also ends
// when the runner does.
func (c *execCommand) follow(ctx, running context.Context, server *devServer, id string, out io.Writer) error {
	err := server.CopyLog(running, id, out)
	reason := "Ctrl-C"
	switch {
	case ctx.Err() != nil:
		err = nil
	case err == nil || running.Err() != nil: // the task or the runner has ended
		return err
	default:
		reason = "its log could not be written"
	}
	signals := c.Time.AbortWait + c.Time.TermWait
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), signals+abortMargin)
	defer cancel()
	fmt.Fprintf(os.Stderr, "runnerd: aborting the task (%s): its plugin has up to %v to end; Ctrl-C ends runnerd at once\n", reason, signals)
	if abortErr := server.Abort(id, reason); abortErr != nil {
		return errors.Join(err, abortErr)
	}
	_, waitErr := server.Wait(limited, id)
	return errors.Join(err, waitErr)
}

// reportTask prints the task's outcome, unless the runner failed before the task had one. It runs after the runner has stopped, so that
// a script's output comes first.
func reportTask(server *devServer, id string, out io.Writer, runnerErr error) error {
	view, err := server.Task(id)
	if err != nil || runnerErr != nil && view.Finished.IsZero() {
		return err
	}
	fmt.Fprintln(out)
	printOutcome(out, view, formatValue)
	if view.Note != "" && view.State != devserver.Completed {
		fmt.Fprintf(out, "  note: %s; set --type-definitions to the plugin's\n", view.Note)
	}
	fmt.Fprintf(out, "%s after %v\n", view.State, view.Finished.Sub(view.Created).Round(time.Millisecond)) // last, also in a pipe
	return taskError(view)
}

// formatValue returns a text as it is, and any other value as JSON.
func formatValue(value any) string {
	if text, is := value.(string); is {
		return text
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

// taskError returns nil for a completed task, else an error with the exit code.
func taskError(view devserver.TaskView) error {
	switch {
	case view.State == devserver.Completed:
		return nil
	case view.Outcome == api.OutcomeCompleted:
		return exitError{errors.New("the plugin reported a failure"), exitFailed}
	case view.Outcome == api.OutcomeAborted: // with or without a result of the plugin
		return exitError{errors.New("the task was aborted"), exitNoResult}
	case view.Outcome == api.OutcomeTimedOut:
		return exitError{errors.New("the task timed out"), exitNoResult}
	default:
		return exitError{errors.New("the task failed without a result"), exitNoResult}
	}
}
