package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"sync"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/client"

	"runnerd/infra/driver"
	msg "runnerd/messages"
)

// Options are the runner's settings of the driver.
type Options struct {
	RunnerID    string                // uuid; what is made is marked with it
	Credentials map[string]Credential // by the name of the pull secret
	Limits      msg.Limits            // where a spec leaves them open; zero: see defaultLimits
	Progress    Terminal              // where pulls show how far they are; nil: nowhere
}

// Terminal is where somebody looks on: a terminal, or anything that takes lines.
type Terminal interface {
	io.Writer
	FD() uintptr
	IsTerminal() bool
}

// Credential opens a registry.
type Credential struct {
	Username string
	Password msg.Secret
	Registry string // host, as images of it begin; empty: whichever the image is pulled from
}

// What a plugin gets that nobody has set limits for: room for an interpreter with its libraries, and one core.
var defaultLimits = msg.Limits{Memory: 512 << 20, CPUs: 1, Pids: 200}

// The labels that the driver itself goes by.
const (
	runnerLabel   = "runnerd.runner"
	executorLabel = "runnerd.executor"
)

// Driver runs executors in a Docker Engine.
type Driver struct {
	engine      *client.Client
	runner      string
	credentials map[string]Credential
	limits      msg.Limits
	progress    Terminal
	pulling     driver.Flight[msg.ImageID]

	mu  sync.Mutex
	ids map[msg.ExecutorID]string // the engine's ids of their containers, as far as they are known; guarded by mu
}

var _ driver.Driver = (*Driver)(nil)

// New is a driver for the engine that DOCKER_HOST and its sisters name, or the machine's; one on another machine is refused. It
// asks the engine nothing yet.
func New(o Options) (*Driver, error) {
	if len(o.RunnerID) < shortRunner {
		return nil, fmt.Errorf("use runner id %q: it must be a uuid", o.RunnerID)
	}
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("use DOCKER_HOST %q: %w; set it to unix:///path/of/docker.sock, or unset it", os.Getenv("DOCKER_HOST"), err)
	}
	d := &Driver{
		engine: engine, runner: o.RunnerID, credentials: o.Credentials,
		limits: orElse(o.Limits, defaultLimits), progress: o.Progress, ids: map[msg.ExecutorID]string{},
	}
	if err := d.checkLocal(); err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	return d, nil
}

// Close gives up the connections to the engine. The executors live on.
func (d *Driver) Close() error { return d.engine.Close() }

// Ready is nil once the engine answers; the error says what a person can do.
func (d *Driver) Ready(ctx context.Context) error {
	_, err := d.engine.Ping(ctx)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return failed(ctx, "ask the Docker Engine at "+d.engine.DaemonHost(), err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("ask the Docker Engine: this user may not use %s: add it to the socket's group (usually docker), "+
			"or set DOCKER_HOST to an engine it may use: %w", d.engine.DaemonHost(), err)
	default:
		return fmt.Errorf("ask the Docker Engine: nothing answers at %s: start the engine, or set DOCKER_HOST to where it "+
			"listens: %w", d.engine.DaemonHost(), err)
	}
}

// Check refuses an engine that cannot work with this runner, and says what to do. It needs the engine's answer: a failure to
// ask is returned as by Ready.
func (d *Driver) Check(ctx context.Context) error {
	if err := d.Ready(ctx); err != nil {
		return err
	}
	v, err := d.engine.ServerVersion(ctx)
	if err != nil {
		return failed(ctx, "ask the engine's version", err)
	}
	if v.Os != "linux" {
		return fmt.Errorf("the Docker Engine at %s runs %s containers: plugins are linux images; switch it to linux containers",
			d.engine.DaemonHost(), v.Os)
	}
	return nil
}

func (d *Driver) checkLocal() error {
	host := d.engine.DaemonHost()
	u, err := url.Parse(host)
	if err == nil && (u.Scheme == "unix" || loopback(u.Hostname())) {
		return nil
	}
	return fmt.Errorf("the Docker Engine at %s is on another machine: executors get their files from directories of this one, "+
		"which it cannot see; run runnerd where the engine runs, with DOCKER_HOST unset or unix:///var/run/docker.sock", host)
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// failed says which step did not work, if err is not nil. A context that ended is its cause.
func failed(ctx context.Context, step string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return fmt.Errorf("%s: %w", step, err)
}

// failedFor is failed for a step about one executor. If it was not found, inspect decides whether the executor exists: verbs
// word absence in their own ways, and a proxy that says 404 knows nothing about it.
func (d *Driver) failedFor(ctx context.Context, step string, id msg.ExecutorID, err error) error {
	if ctx.Err() == nil && cerrdefs.IsNotFound(err) && !errors.Is(err, msg.ErrNoExecutor) {
		if _, gone := d.inspect(ctx, id); errors.Is(gone, msg.ErrNoExecutor) {
			err = gone
		}
	}
	return failed(ctx, step, err)
}
