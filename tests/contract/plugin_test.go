package contract_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"runnerd/infra/contract"
	"runnerd/infra/driver/fake"
	"runnerd/infra/gateway/gatewaytest"
	msg "runnerd/messages"
)

var pluginDir string // made by samplePlugin, removed by TestMain

// samplePlugin builds the sample plugin, which uses the official Go SDK, once.
var samplePlugin = sync.OnceValues(func() (string, error) {
	var err error
	if pluginDir, err = os.MkdirTemp("", "runnerd-contract"); err != nil {
		return "", err
	}
	binary := filepath.Join(pluginDir, "plugin")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = "../../infra/sampleplugin"
	build.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	return binary, build.Run()
})

// plugin is a process of the sample plugin. It runs in its own mount namespace, so that it finds its service account where a container
// would.
type plugin struct {
	t       testing.TB
	log     *gatewaytest.LogBuffer
	working chan struct{} // closed when sample.Slow has started
	done    chan struct{} // closed when the process has ended
}

// newGoSDKExecutor starts an executor whose container runs the sample plugin. It skips the test if it cannot create a mount namespace.
func (e *env) newGoSDKExecutor(id msg.ExecutorID, mode msg.Mode, extraEnv ...string) (*executor, *plugin) {
	e.t.Helper()
	if exec.Command("unshare", "-m", "true").Run() != nil {
		if os.Getenv("CI") == "true" {
			e.t.Fatal("cannot create a mount namespace: run as root")
		}
		e.t.Skip("cannot create a mount namespace: run as root")
	}
	binary, err := samplePlugin()
	must(e.t, err)
	p := &plugin{t: e.t, log: &gatewaytest.LogBuffer{}, working: make(chan struct{}), done: make(chan struct{})}
	return e.newExecutorRunning(id, mode, func(ctx context.Context, w *fake.Process) int {
		defer close(p.done)
		return p.run(ctx, binary, w, e.store.ExecutorDir(id), extraEnv)
	}), p
}

func (p *plugin) run(ctx context.Context, binary string, w *fake.Process, dir string, extraEnv []string) int {
	const script = `mount -t tmpfs none /run && mkdir -p "$2" && mount --bind "$1" "$2" && exec "$3"`
	command := exec.CommandContext(ctx, "unshare", "-m", "sh", "-c", script, "sh", filepath.Join(dir, "sa"), "/run/secrets/kubernetes.io/serviceaccount", binary)
	for k, v := range w.Spec.Env {
		command.Env = append(command.Env, k+"="+v)
	}
	command.Env = append(command.Env, contract.OutputLocation+"="+filepath.Join(dir, "out", "result"))
	command.Env = append(command.Env, extraEnv...)
	command.Stdout, command.Stderr = p, p
	if err := command.Run(); command.ProcessState == nil {
		p.t.Errorf("start the plugin: %v", err)
		return 1
	}
	if code := command.ProcessState.ExitCode(); code >= 0 {
		return code
	}
	return 137
}

// childProcess returns a function that runs the plugin without a container, with its job in a file.
func childProcess(binary string) func(context.Context, *fake.Process) int {
	return func(ctx context.Context, w *fake.Process) int {
		command := exec.CommandContext(ctx, binary)
		for k, v := range w.Spec.Env {
			command.Env = append(command.Env, k+"="+v)
		}
		_ = command.Run()
		return command.ProcessState.ExitCode()
	}
}

// Write receives the plugin's output.
func (p *plugin) Write(text []byte) (int, error) {
	before := strings.Contains(p.log.String(), "step 1")
	n, err := p.log.Write(text)
	if !before && strings.Contains(p.log.String(), "step 1") {
		close(p.working)
	}
	return n, err
}

// checkRuns fails unless the plugin has run the given number of jobs.
func (p *plugin) checkRuns(want int) {
	p.t.Helper()
	if n := strings.Count(p.log.String(), "Finished executing runner function"); n != want {
		p.t.Errorf("the plugin ran %d jobs, want %d:\n%s", n, want, p.log)
	}
}

// runJob assigns a job, waits until the plugin has completed it, and returns its result.
func (x *executor) runJob(j task) contract.Result {
	x.t.Helper()
	x.assign(j)
	if rec := x.expectEnded(j); rec.Ending.Outcome != msg.Completed {
		x.t.Fatalf("ending: %+v", rec.Ending)
	}
	return x.storedResult(j)
}

// awaitIdle waits until the plugin polls for its next job.
func (x *executor) awaitIdle() { x.t.Helper(); expect[msg.Idle](x) }

// retire retires the executor and waits until it is gone.
func (x *executor) retire() {
	x.t.Helper()
	x.actor.Tell(msg.Retire{Reason: "the test is done"})
	awaitMessage[msg.SlotFreed](x)
}

// awaitFile waits until a file exists and is not empty.
func awaitFile(t testing.TB, name string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range int(gatewaytest.Timeout / (5 * time.Millisecond)) {
		if info, err := os.Stat(name); err == nil && info.Size() > 0 {
			return
		}
		<-tick.C
	}
	t.Fatalf("%s is missing or empty", name)
}
