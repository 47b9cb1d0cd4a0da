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

// execCommand runs one task as a Release server would have it run: through a runner, in a container of the image.
type execCommand struct {
	Image  string            `arg:"" help:"The plugin image; with --driver=process the plugin's program."`
	Type   string            `short:"t" required:"" placeholder:"TYPE" help:"Task type, for example sample.Hello."`
	Set    map[string]string `short:"s" mapsep:"none" placeholder:"NAME=VALUE" help:"A property of the task; once for each. A value that begins with {, [ or a double quote is JSON."`
	Types  []string          `name:"type-definitions" type:"existingfile" placeholder:"FILE" help:"type-definitions.yaml of the plugin: says which properties there are, their kinds and defaults, and which are passwords."`
	Script bool              `help:"Run it as a script. Without it the type definitions say so."`
	Pull   string            `enum:"if-not-present,always,never" default:"if-not-present" help:"When the image is pulled: if-not-present, always or never."`

	Executor ExecutorConfig `embed:"" group:"Executors"`
	Time     TimeConfig     `embed:"" group:"Time limits"`
	Gateway  GatewayConfig  `embed:"" group:"Gateway, where executors get their jobs"`
	LogLevel string         `enum:"debug,info,warn,error" default:"error" help:"Of the runner's own log: debug, info, warn or error."`
}

// Run shows the task's log while it comes, and what it leaves. Ctrl-C aborts the task. Only the plugin's own word is exit code 1.
func (c *execCommand) Run(ctx context.Context, out io.Writer) error {
	err := c.run(ctx, out)
	if _, known := errors.AsType[exitError](err); err == nil || known {
		return err
	}
	return exitError{err, exitNoResult}
}

func (c *execCommand) run(ctx context.Context, out io.Writer) (err error) {
	outliveReaders()
	request, err := c.request()
	if err != nil {
		return exitError{err, exitUsage}
	}
	if err := checkRunner(c.Executor, c.Time, c.Gateway); err != nil {
		return wrongSettings(err)
	}
	log, err := logging.NewWithScripts(os.Stderr, "auto", c.LogLevel, out) // a script's log is its runner's
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
		return fmt.Errorf("make a state directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(state)) }()
	config := RunConfig{
		Release: ownRelease("exec", server.url, token), Executor: c.Executor, Time: c.Time, Gateway: c.Gateway,
		Self: SelfConfig{StateDir: state, Health: "127.0.0.1:0"},
	}
	err = besideRunner(ctx, config, log, func(waiting context.Context) error { return c.follow(ctx, waiting, server, id, out) })
	return errors.Join(tell(server, id, out, err), err)
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
				return r, fmt.Errorf("--set %s: it begins like JSON and is none: %w; a text that begins so goes into double quotes: --set '%s=%q'", name, err, name, text)
			}
			r.Properties[name] = value
		}
	}
	return r, nil
}

// prepareImage pulls where somebody can look on.
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
		return fmt.Errorf("%w; or run the plugin's program with --driver=process", err)
	}
	_, err = engine.Pull(ctx, c.Image, msg.PullPolicy(c.Pull), "")
	return err
}

type terminal struct{ *os.File }

func (t terminal) FD() uintptr      { return t.Fd() }
func (t terminal) IsTerminal() bool { return isatty.IsTerminal(t.Fd()) }

// afterAbort is how long an aborted task may take to end, above the waits of its stop sequence.
const afterAbort = 30 * time.Second

// follow shows a task's log. When asked ends, or nobody takes the log, the task is aborted, and its end is waited for.
func (c *execCommand) follow(asked, waiting context.Context, server *releaseServer, id string, out io.Writer) error {
	err := server.CopyLog(waiting, id, out)
	reason := "Ctrl-C"
	switch {
	case asked.Err() != nil:
		err = nil
	case err == nil || waiting.Err() != nil: // it is over, or the runner is
		return err
	default:
		reason = "its log cannot be shown"
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(asked), c.Time.AbortWait+c.Time.TermWait+afterAbort)
	defer cancel()
	if failed := server.Abort(id, reason); failed != nil {
		return errors.Join(err, failed)
	}
	_, failed := server.Wait(limited, id)
	return errors.Join(err, failed)
}

// tell says what became of the task, if anything did before the runner failed. The runner has ended: what a script has printed is
// shown.
func tell(server *releaseServer, id string, out io.Writer, failed error) error {
	view, err := server.Task(id)
	if err != nil || failed != nil && view.Finished.IsZero() {
		return err
	}
	fmt.Fprintf(out, "\n%s after %v\n", view.State, view.Finished.Sub(view.Created).Round(time.Millisecond))
	showOutcome(out, view, whole)
	if view.Note != "" && view.State != devserver.Completed {
		fmt.Fprintf(out, "  note: %s; --type-definitions would say which it is\n", view.Note)
	}
	return verdict(view)
}

// whole writes a value as it is; what is no text as JSON.
func whole(value any) string {
	if text, is := value.(string); is {
		return text
	}
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

// verdict is the exit code: the plugin's word where there is one.
func verdict(view devserver.TaskView) error {
	switch {
	case view.State == devserver.Completed:
		return nil
	case view.Outcome == api.OutcomeCompleted:
		return exitError{errors.New("the plugin says that the task has failed"), exitFailed}
	case view.Outcome == api.OutcomeAborted: // with the plugin's result or without
		return exitError{errors.New("the task is aborted"), exitNoResult}
	case view.Outcome == api.OutcomeTimedOut:
		return exitError{errors.New("the task ran longer than it may"), exitNoResult}
	default:
		return exitError{errors.New("there is no result: the task is failed"), exitNoResult}
	}
}
