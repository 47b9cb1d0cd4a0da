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

// Options configures a Driver.
type Options struct {
	RunnerID    string                // UUID, set as a label on all containers, networks and images
	Credentials map[string]Credential // by name of the pull secret
	Limits      msg.Limits            // for what a spec does not limit; zero values: defaultLimits
	Progress    Terminal              // receives the progress of pulls; nil: none
}

// Terminal receives progress output: a terminal or any line-based writer.
type Terminal interface {
	io.Writer
	FD() uintptr
	IsTerminal() bool
}

// Credential is a login for a registry.
type Credential struct {
	Username string
	Password msg.Secret
	Registry string // host, as in image references; empty: the registry of the image
}

// defaultLimits suffices for an interpreter with its libraries on one core.
var defaultLimits = msg.Limits{Memory: 512 << 20, CPUs: 1, Pids: 200}

// Labels by which the driver recognizes what it created.
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
	pulling     driver.SingleFlight[msg.ImageID]

	mu  sync.Mutex
	ids map[msg.ExecutorID]string // cached container ids; guarded by mu
}

var _ driver.Driver = (*Driver)(nil)

// New returns a driver for the engine that DOCKER_HOST and the related variables name, or this machine's default. It rejects an
// engine on another machine. It does not contact the engine.
func New(o Options) (*Driver, error) {
	if len(o.RunnerID) < shortIDLength {
		return nil, fmt.Errorf("use runner id %q: it must be a uuid", o.RunnerID)
	}
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("use DOCKER_HOST %q: %w; set it to unix:///path/of/docker.sock, or unset it", os.Getenv("DOCKER_HOST"), err)
	}
	d := &Driver{
		engine: engine, runner: o.RunnerID, credentials: o.Credentials,
		limits: withDefaults(o.Limits, defaultLimits), progress: o.Progress, ids: map[msg.ExecutorID]string{},
	}
	if err := d.checkLocal(); err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	return d, nil
}

// Close closes the connections to the engine. Executors keep running.
func (d *Driver) Close() error { return d.engine.Close() }

// Ready returns nil if the engine answers, otherwise an error that says how to fix it.
func (d *Driver) Ready(ctx context.Context) error {
	_, err := d.engine.Ping(ctx)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return wrapError(ctx, "connect to the Docker Engine at "+d.engine.DaemonHost(), err)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("connect to the Docker Engine: permission denied for %s: add this user to the socket's group (usually docker), "+
			"or set DOCKER_HOST to another engine: %w", d.engine.DaemonHost(), err)
	default:
		return fmt.Errorf("connect to the Docker Engine: no answer from %s: start the engine, or set DOCKER_HOST to its "+
			"address: %w", d.engine.DaemonHost(), err)
	}
}

// Check returns an error, with a fix, if the engine cannot be used. If the engine does not answer, it returns the error of Ready.
func (d *Driver) Check(ctx context.Context) error {
	if err := d.Ready(ctx); err != nil {
		return err
	}
	v, err := d.engine.ServerVersion(ctx)
	if err != nil {
		return wrapError(ctx, "get the engine's version", err)
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
	return fmt.Errorf("the Docker Engine at %s is on another machine: executors get their files from directories of this machine, "+
		"which that engine cannot access; run runnerd where the engine runs, with DOCKER_HOST unset or unix:///var/run/docker.sock", host)
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// wrapError adds the step that failed to err. If ctx has ended, it wraps the context's cause instead. A nil err stays nil.
func wrapError(ctx context.Context, step string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return fmt.Errorf("%s: %w", step, err)
}

// wrapErrorFor is wrapError for a step about one executor. If err is "not found", it inspects the executor to decide whether
// it exists, because each API call words that error differently and a 404 may come from a proxy.
func (d *Driver) wrapErrorFor(ctx context.Context, step string, id msg.ExecutorID, err error) error {
	if ctx.Err() == nil && cerrdefs.IsNotFound(err) && !errors.Is(err, msg.ErrNoExecutor) {
		if _, absent := d.inspect(ctx, id); errors.Is(absent, msg.ErrNoExecutor) {
			err = absent
		}
	}
	return wrapError(ctx, step, err)
}
