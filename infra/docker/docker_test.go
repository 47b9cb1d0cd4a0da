package docker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"runnerd/infra/docker"
	"runnerd/infra/driver"
	"runnerd/infra/driver/drivertest"
	msg "runnerd/messages"
)

// env is shared by the tests: the driver of a runner that only they use, and images of the test program.
type env struct {
	runner  string
	driver  *docker.Driver
	engine  *client.Client // for changes from outside
	user    string         // reference of an image that runs as 65532
	root    string         // reference of an image that runs as root
	gateway string         // address at which executors reach this machine
}

// shared is nil if no engine answers.
var shared *env

func TestMain(m *testing.M) { os.Exit(withEngine(m)) }

func withEngine(m *testing.M) int {
	e, err := prepare()
	if err != nil {
		fmt.Fprintln(os.Stderr, "without an engine:", err)
		if os.Getenv("CI") == "true" {
			return 1
		}
		return m.Run()
	}
	shared = e
	code := m.Run()
	if err := e.cleanUp(); err != nil {
		fmt.Fprintln(os.Stderr, "clean up:", err)
		code = max(code, 1)
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	return code
}

func prepare() (*env, error) {
	ctx := context.Background()
	runner := uuid.NewString()
	d, err := docker.New(docker.Options{RunnerID: runner})
	if err != nil {
		return nil, err
	}
	if err := d.Check(ctx); err != nil {
		return nil, err
	}
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, err
	}
	e := &env{
		runner: runner, driver: d, engine: engine,
		user: "runnerd-test/user:" + runner[:8], root: "runnerd-test/root:" + runner[:8],
	}
	return e, e.build(ctx)
}

func (e *env) build(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "program")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "program")
	compile := exec.CommandContext(ctx, "go", "build", "-o", program, "./testdata/program")
	compile.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := compile.CombinedOutput(); err != nil {
		return fmt.Errorf("compile the test program: %w: %s", err, out)
	}
	for ref, user := range map[string]string{e.user: "65532:65532", e.root: "0:0"} {
		if _, err := e.driver.BuildScratch(ctx, ref, program, user); err != nil {
			return err
		}
	}
	e.gateway, err = e.driver.EnsureNetwork(ctx)
	return err
}

// cleanUp removes everything that the tests share. It returns an error if a test left an executor behind.
func (e *env) cleanUp() error {
	ctx := context.Background()
	left, err := e.driver.List(ctx)
	if err != nil {
		return err
	}
	for _, c := range left {
		if err := e.driver.Remove(ctx, c.ID); err != nil {
			return err
		}
	}
	for range 2 { // the second call has no effect
		if err := e.driver.RemoveNetwork(ctx); err != nil {
			return err
		}
	}
	for _, ref := range []string{e.user, e.root} {
		if _, err := e.engine.ImageRemove(ctx, ref, image.RemoveOptions{PruneChildren: true}); err != nil {
			return err
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("tests left executors behind: %v", left)
	}
	return errors.Join(e.driver.Close(), e.engine.Close())
}

func TestDockerDriverConforms(t *testing.T) {
	t.Parallel()
	e := engine(t)
	drivertest.Run(t, drivertest.Harness{
		Driver: func(*testing.T) driver.Driver { return e.driver },
		Spec: func(t *testing.T, _ driver.Driver, does drivertest.Behavior) (msg.ExecutorSpec, bool) {
			return e.spec(t, string(does), ""), true
		},
		Restart: func(t *testing.T, _ driver.Driver, id msg.ExecutorID) { e.restart(t, id) },
		Reopen: func(_ *testing.T, _ driver.Driver) driver.Driver {
			next, err := docker.New(docker.Options{RunnerID: e.runner})
			check(t, err)
			t.Cleanup(func() { check(t, next.Close()) }) // after the suite's cleanup
			return next
		},
		Image: e.user, Missing: "runnerd-test/nowhere:1",
	})
}

func engine(t *testing.T) *env {
	t.Helper()
	if shared == nil {
		t.Skip("no Docker Engine answers")
	}
	return shared
}

// spec returns the spec of an executor in which the test program gets DO=do and ARG=arg. It has little memory, so that the OOM test
// is fast.
func (e *env) spec(t *testing.T, do, arg string) msg.ExecutorSpec {
	t.Helper()
	image, err := e.driver.Pull(t.Context(), e.user, msg.PullNever, "")
	check(t, err)
	return msg.ExecutorSpec{
		ID: msg.ExecutorID(uuid.NewString()[:8]), Image: image, Limits: msg.Limits{Memory: 64 << 20},
		Env: map[string]string{"DO": do, "ARG": arg},
	}
}

// run starts an executor, which is removed when the test ends.
func (e *env) run(t *testing.T, spec msg.ExecutorSpec) msg.ExecutorID {
	t.Helper()
	t.Cleanup(func() { check(t, e.driver.Remove(context.WithoutCancel(t.Context()), spec.ID)) })
	check(t, e.driver.Create(t.Context(), spec))
	check(t, e.driver.Start(t.Context(), spec.ID))
	return spec.ID
}

// outcome waits for the executor's exit and returns its exit code and output.
func (e *env) outcome(t *testing.T, id msg.ExecutorID) (int, string) {
	t.Helper()
	exit, err := e.driver.Wait(t.Context(), id)
	check(t, err)
	return exit.Code, textOf(e.log(t, id, msg.Position{}))
}

// restart restarts the container like docker restart -t 0.
func (e *env) restart(t *testing.T, id msg.ExecutorID) {
	t.Helper()
	check(t, e.engine.ContainerRestart(t.Context(), e.container(id), container.StopOptions{Timeout: new(int)}))
}

func (e *env) container(id msg.ExecutorID) string {
	return "runnerd-" + e.runner[:8] + "-" + string(id)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
