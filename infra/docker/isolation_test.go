package docker_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	msg "runnerd/messages"
)

func TestRule18ExecutorRunsUnprivilegedWithinLimits(t *testing.T) {
	e := engine(t)
	t.Setenv("HTTP_PROXY", "http://proxy:1") // of the runner; the executor must not get it
	code, self := e.outcome(t, e.run(t, e.spec(t, "self", "")))
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, self)
	}
	for what, want := range map[string]string{
		"is process 1 with the image's user": "pid 1 uid 65532",
		"has no capabilities":                "CapEff:\t0000000000000000",
		"cannot gain capabilities":           "CapBnd:\t0000000000000000",
		"gets no new privileges":             "NoNewPrivs:\t1",
		"may open 8192 files":                "Max open files            8192                 8192",
		"leaves no core files":               "Max core file size        0                    0",
		"is killed before runner and engine": "\n500\n",
	} {
		if !strings.Contains(self, want) {
			t.Errorf("the program does not meet %q: no %q in %s", what, want, self)
		}
	}
	for what, never := range map[string]string{"the engine's socket": "docker.sock", "proxy variables": "PROXY"} {
		if strings.Contains(self, never) {
			t.Errorf("the program has %s: %s", what, self)
		}
	}
	tmp := lineWith(self, " /tmp ")
	for _, option := range []string{"tmpfs", "nosuid", "nodev", "size=32768k"} {
		if !strings.Contains(tmp, option) {
			t.Errorf("/tmp is not %s: %s", option, tmp)
		}
	}
}

func TestContainerHasLimitsAndLabels(t *testing.T) {
	t.Parallel()
	e := engine(t)
	spec := e.spec(t, "waits", "")
	spec.Limits = msg.Limits{CPUs: 64} // more than the machine has
	spec.Labels = map[string]string{"job": "j1", "runnerd.runner": "forged"}
	c, err := e.engine.ContainerInspect(t.Context(), e.container(e.run(t, spec)))
	check(t, err)
	h := c.HostConfig
	if h.Memory != 512<<20 || h.MemorySwap != h.Memory || h.CPUQuota != 6_400_000 || *h.PidsLimit != 200 {
		t.Errorf("memory %d, with swap %d, cpu %d, pids %d", h.Memory, h.MemorySwap, h.CPUQuota, *h.PidsLimit)
	}
	if h.Privileged || *h.Init || len(h.Binds) > 0 || h.LogConfig.Config["max-size"] == "" {
		t.Errorf("privileged %v, init %v, binds %v, log %v", h.Privileged, *h.Init, h.Binds, h.LogConfig)
	}
	for label, want := range map[string]string{
		"runnerd.runner": e.runner, "runnerd.executor": string(spec.ID), "job": "j1",
	} {
		if c.Config.Labels[label] != want {
			t.Errorf("label %s is %q, want %q", label, c.Config.Labels[label], want)
		}
	}
}

func TestMountsWorkForAnyUser(t *testing.T) {
	t.Parallel()
	e := engine(t)
	for _, c := range []struct {
		name, do, path string
		code           int
		wants          string
	}{
		{name: "out is writable", do: "write", path: "/run/out/result"},
		{name: "sa is readable", do: "read", path: "/run/sa/token", wants: "let me in"},
		{name: "sa is not writable", do: "write", path: "/run/sa/token", code: 1, wants: "read-only file system"},
	} {
		for _, ref := range []string{e.user, e.root} {
			t.Run(c.name+" in "+ref, func(t *testing.T) {
				dir := executorDir(t)
				spec := e.spec(t, c.do, c.path)
				spec.Image, _ = e.driver.Pull(t.Context(), ref, msg.PullNever, "")
				spec.Mounts = []msg.Mount{
					{Source: filepath.Join(dir, "out"), Target: "/run/out"},
					{Source: filepath.Join(dir, "sa"), Target: "/run/sa", ReadOnly: true},
				}
				code, text := e.outcome(t, e.run(t, spec))
				if code != c.code || !strings.Contains(text, c.wants) {
					t.Fatalf("exit code %d: %s", code, text)
				}
				if written, err := os.ReadFile(filepath.Join(dir, "out", "result")); c.do == "write" && c.code == 0 &&
					(err != nil || string(written) != "written") {
					t.Errorf("result is %q, %v", written, err)
				}
			})
		}
	}
}

// executorDir returns a directory like those that the spool creates for executors: other users cannot enter it, and its subdirectories
// are accessible to all of them once they are mounted.
func executorDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	check(t, os.Chmod(dir, 0o700))
	check(t, os.Mkdir(filepath.Join(dir, "out"), 0o777))
	check(t, os.Chmod(filepath.Join(dir, "out"), 0o777)) // whatever the umask
	check(t, os.Mkdir(filepath.Join(dir, "sa"), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "sa", "token"), []byte("let me in"), 0o644))
	return dir
}

func TestMissingMountSourceIsRejected(t *testing.T) {
	t.Parallel()
	e := engine(t)
	spec := e.spec(t, "exits", "")
	spec.Mounts = []msg.Mount{{Source: filepath.Join(t.TempDir(), "gone"), Target: "/run/out"}}
	if err := e.driver.Create(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("create returns %v", err)
	}
}

func TestExecutorsReachGatewayButNotEachOther(t *testing.T) {
	t.Parallel()
	e := engine(t)
	gateway, err := net.Listen("tcp", net.JoinHostPort(e.gateway, "0"))
	check(t, err)
	defer gateway.Close()

	victim := e.run(t, e.spec(t, "listen", "8080"))
	address := e.firstLine(t, victim)

	if code, text := e.outcome(t, e.run(t, e.spec(t, "dial", gateway.Addr().String()))); code != 0 {
		t.Errorf("an executor cannot reach the gateway: %s", text)
	}
	if code, text := e.outcome(t, e.run(t, e.spec(t, "dial", address))); code == 0 {
		t.Errorf("an executor reaches another at %s: %s", address, text)
	}
	// The control: this process reaches it.
	c, err := net.Dial("tcp", address)
	check(t, err)
	check(t, c.Close())
}

func TestExecutorKilledExternallyExitsWith137(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "waits", ""))
	e.firstLine(t, id)
	check(t, e.engine.ContainerKill(t.Context(), e.container(id), "KILL"))
	if exit, err := e.driver.Wait(t.Context(), id); err != nil || exit.Code != 137 || exit.OOM {
		t.Errorf("ended with %+v, %v", exit, err)
	}
}

func TestExecutorRemovedExternallyIsErrNoExecutor(t *testing.T) {
	t.Parallel()
	e := engine(t)
	id := e.run(t, e.spec(t, "waits", ""))
	e.firstLine(t, id)
	check(t, e.engine.ContainerRemove(t.Context(), e.container(id), container.RemoveOptions{Force: true}))
	if c, err := e.driver.Inspect(t.Context(), id); !errors.Is(err, msg.ErrNoExecutor) {
		t.Errorf("inspect returns %v, %v", c, err)
	}
}

// firstLine waits for the executor's first line.
func (e *env) firstLine(t *testing.T, id msg.ExecutorID) (line string) {
	t.Helper()
	ctx, seen := context.WithCancel(t.Context())
	defer seen()
	err := e.driver.Logs(ctx, id, msg.Position{}, func(batch []msg.LogEntry) error {
		if len(batch) == 0 {
			return nil
		}
		line += string(batch[0].Text)
		seen()
		return ctx.Err()
	})
	if line == "" {
		t.Fatalf("the program prints nothing: %v", err)
	}
	return strings.TrimSpace(line)
}

func lineWith(text, part string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}
