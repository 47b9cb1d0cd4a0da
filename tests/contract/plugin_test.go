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

// samplePlugin builds the plugin that is made with the official Go SDK, once.
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

// plugin is a process of the sample plugin. It sees its service account where a container would: it lives in a mount namespace of its
// own.
type plugin struct {
	t      testing.TB
	log    *gatewaytest.Log
	atWork chan struct{} // on sample.Slow
	done   chan struct{} // the process has ended
}

// goSDK is an executor whose container runs the plugin.
func (e *env) goSDK(id msg.ExecutorID, mode msg.Mode, more ...string) (*executor, *plugin) {
	e.t.Helper()
	if exec.Command("unshare", "-m", "true").Run() != nil {
		if os.Getenv("CI") == "true" {
			e.t.Fatal("no mount namespace can be made: run as root")
		}
		e.t.Skip("no mount namespace can be made: run as root")
	}
	binary, err := samplePlugin()
	must(e.t, err)
	p := &plugin{t: e.t, log: &gatewaytest.Log{}, atWork: make(chan struct{}), done: make(chan struct{})}
	return e.executorOf(id, mode, func(ctx context.Context, w *fake.World) int {
		defer close(p.done)
		return p.run(ctx, binary, w, e.store.ExecutorDir(id), more)
	}), p
}

func (p *plugin) run(ctx context.Context, binary string, w *fake.World, dir string, more []string) int {
	const script = `mount -t tmpfs none /run && mkdir -p "$2" && mount --bind "$1" "$2" && exec "$3"`
	command := exec.CommandContext(ctx, "unshare", "-m", "sh", "-c", script, "sh", filepath.Join(dir, "sa"), "/run/secrets/kubernetes.io/serviceaccount", binary)
	for k, v := range w.Spec.Env {
		command.Env = append(command.Env, k+"="+v)
	}
	command.Env = append(command.Env, contract.OutputLocation+"="+filepath.Join(dir, "out", "result"))
	command.Env = append(command.Env, more...)
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

// childProcess is the plugin without a container: its job is in a file.
func childProcess(binary string) func(context.Context, *fake.World) int {
	return func(ctx context.Context, w *fake.World) int {
		command := exec.CommandContext(ctx, binary)
		for k, v := range w.Spec.Env {
			command.Env = append(command.Env, k+"="+v)
		}
		_ = command.Run()
		return command.ProcessState.ExitCode()
	}
}

// Write takes what the plugin says.
func (p *plugin) Write(text []byte) (int, error) {
	before := strings.Contains(p.log.String(), "step 1")
	n, err := p.log.Write(text)
	if !before && strings.Contains(p.log.String(), "step 1") {
		close(p.atWork)
	}
	return n, err
}

// ran fails unless the plugin has run so many jobs.
func (p *plugin) ran(want int) {
	p.t.Helper()
	if n := strings.Count(p.log.String(), "Finished executing runner function"); n != want {
		p.t.Errorf("the plugin ran %d jobs, want %d:\n%s", n, want, p.log)
	}
}

// runs takes a job through the plugin, from the assignment to its result.
func (x *executor) runs(j task) contract.Result {
	x.t.Helper()
	x.assign(j)
	if rec := x.expectOver(j); rec.Ending.Outcome != msg.Completed {
		x.t.Fatalf("it ended %+v", rec.Ending)
	}
	return x.outcome(j)
}

// idles waits until the plugin asks for its next job.
func (x *executor) idles() { x.t.Helper(); expect[msg.Idle](x) }

// retires ends the executor, and waits until it is gone.
func (x *executor) retires() {
	x.t.Helper()
	x.actor.Tell(msg.Retire{Reason: "its test is over"})
	eventually[msg.SlotFreed](x)
}

// untilThereIs waits for a file with something in it.
func untilThereIs(t testing.TB, name string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range int(gatewaytest.Timeout / (5 * time.Millisecond)) {
		if info, err := os.Stat(name); err == nil && info.Size() > 0 {
			return
		}
		<-tick.C
	}
	t.Fatalf("%s does not come", name)
}
