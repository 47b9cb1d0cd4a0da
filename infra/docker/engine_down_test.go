package docker_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"runnerd/infra/docker"
	msg "runnerd/messages"
)

func TestCheckSaysHowToFixUnreachableEngine(t *testing.T) {
	t.Parallel()
	host := "unix://" + filepath.Join(t.TempDir(), "docker.sock")
	err := driverAt(t, host).Check(t.Context())
	if err == nil || !strings.Contains(err.Error(), "start the engine") || !strings.Contains(err.Error(), host) {
		t.Errorf("check returns %v", err)
	}
}

func TestNewRejectsUnusableEngineWithFix(t *testing.T) {
	t.Parallel()
	for host, fix := range map[string]string{
		"tcp://10.0.0.7:2375":   "run runnerd where the engine runs",
		"ssh://build@elsewhere": "run runnerd where the engine runs",
		"nonsense":              "unset it",
	} {
		if _, err := newAt(host, "0123456789"); err == nil || !strings.Contains(err.Error(), fix) || !strings.Contains(err.Error(), host) {
			t.Errorf("DOCKER_HOST %s: new returns %v", host, err)
		}
	}
}

func TestEngineGoingDownIsNotErrNoExecutor(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "waits", ""))
	proxy := newCuttableProxy(t, e.engine.DaemonHost())
	d := driverAt(t, proxy.host, e.runner)

	errs := make(chan error, 2)
	reading := make(chan struct{})
	go func() {
		errs <- d.Logs(t.Context(), id, msg.Position{}, func(batch []msg.LogEntry) error {
			if len(batch) > 0 {
				close(reading)
			}
			return nil
		})
	}()
	<-reading
	go func() {
		_, err := d.Wait(t.Context(), id)
		errs <- err
	}()
	proxy.block()
	for range 2 {
		if err := <-errs; err == nil || errors.Is(err, msg.ErrNoExecutor) {
			t.Errorf("wait or logs returns %v without an engine", err)
		}
	}
	if _, err := d.List(t.Context()); err == nil {
		t.Error("list returns no error without an engine")
	}
	e.expectState(t, id, msg.ContainerRunning)
}

func TestCreateAfterLostResponseFindsContainer(t *testing.T) {
	t.Parallel()
	e := engine(t)
	spec := e.spec(t, "exits", "")
	check(t, e.driver.Create(t.Context(), spec)) // its response was lost
	restarted := driverAt(t, e.engine.DaemonHost(), e.runner)
	check(t, restarted.Create(t.Context(), spec))
	if code, _ := e.outcome(t, e.run(t, spec)); code != 7 {
		t.Errorf("exit code %d", code)
	}
}

func TestContainersOfOtherRunnersAreIgnored(t *testing.T) {
	t.Parallel()
	e := engine(t)
	spec := e.spec(t, "exits", "")
	e.run(t, spec)
	other := driverAt(t, e.engine.DaemonHost(), e.runner[:8]+"-another") // it has the same short id, and so the same names
	if err := other.Create(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "not this runner's") {
		t.Errorf("create returns %v", err)
	}
	if list, err := other.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("list returns %v, error %v", list, err)
	}
	if _, err := other.EnsureNetwork(t.Context()); err == nil || !strings.Contains(err.Error(), "did not create") {
		t.Errorf("ensure network returns %v", err)
	}
}

func TestConcurrentEnsureNetworkCreatesOneNetwork(t *testing.T) {
	t.Parallel()
	e := engine(t)
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			if gateway, err := e.driver.EnsureNetwork(t.Context()); err != nil || gateway != e.gateway {
				t.Errorf("the gateway is at %q, want %q, error %v", gateway, e.gateway, err)
			}
		})
	}
	calls.Wait()
}

// driverAt returns a driver for the engine at host.
func driverAt(t *testing.T, host string, runner ...string) *docker.Driver {
	t.Helper()
	d, err := newAt(host, append(runner, "0123456789")[0])
	check(t, err)
	t.Cleanup(func() { check(t, d.Close()) })
	return d
}

// environment guards DOCKER_HOST, which the client library reads, because tests run in parallel.
var environment sync.Mutex

func newAt(host, runner string) (*docker.Driver, error) {
	environment.Lock()
	defer environment.Unlock()
	before, set := os.LookupEnv("DOCKER_HOST")
	defer func() {
		os.Unsetenv("DOCKER_HOST")
		if set {
			os.Setenv("DOCKER_HOST", before)
		}
	}()
	os.Setenv("DOCKER_HOST", host)
	return docker.New(docker.Options{RunnerID: runner})
}

// cuttableProxy forwards connections to an engine until it is blocked.
type cuttableProxy struct {
	host        string
	target      string
	listener    net.Listener
	connections sync.WaitGroup

	mu      sync.Mutex // guards what follows
	blocked bool
	conns   []net.Conn
}

func newCuttableProxy(t *testing.T, host string) *cuttableProxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "proxy") // a socket's path must be short
	check(t, err)
	socket := filepath.Join(dir, "docker.sock")
	listener, err := net.Listen("unix", socket)
	check(t, err)
	p := &cuttableProxy{host: "unix://" + socket, target: strings.TrimPrefix(host, "unix://"), listener: listener}
	p.connections.Go(p.serve)
	t.Cleanup(func() {
		p.block()
		p.connections.Wait()
		check(t, os.RemoveAll(dir))
	})
	return p
}

func (p *cuttableProxy) serve() {
	for {
		from, err := p.listener.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("unix", p.target)
		if err != nil {
			from.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, from, to)
		if p.blocked {
			from.Close()
			to.Close()
		}
		p.mu.Unlock()
		p.connections.Go(func() { io.Copy(to, from); to.Close() })
		p.connections.Go(func() { io.Copy(from, to); from.Close() })
	}
}

func (p *cuttableProxy) block() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blocked = true
	p.listener.Close()
	for _, c := range p.conns {
		c.Close()
	}
}
