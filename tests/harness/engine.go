package harness

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/docker/docker/client"
)

// Engine is a Docker Engine that belongs to one test, which may kill and restart it. The embedded Harness uses this engine.
type Engine struct {
	*Harness

	t          *testing.T
	dir        string
	bridge     string
	containerd *exec.Cmd
	daemon     *exec.Cmd
	parent     *Harness // of the machine's engine, which has the images
}

// StartEngine starts an engine that has the images Blue and Green. With liveRestore its containers outlive it.
func (h *Harness) StartEngine(t *testing.T, liveRestore bool) *Engine {
	t.Helper()
	if h == nil {
		t.Skip("no Docker Engine answers")
	}
	for _, program := range []string{"containerd", "dockerd", "fuse-overlayfs", "ip"} {
		if _, err := exec.LookPath(program); err != nil || os.Geteuid() != 0 {
			t.Skip("a test's own engine needs root, containerd, dockerd, fuse-overlayfs and ip")
		}
	}
	dir, err := os.MkdirTemp("", "engine") // short: a socket's path has at most 108 bytes
	Must(t, err)
	own := *h
	e := &Engine{Harness: &own, t: t, dir: dir, bridge: "e2e" + dir[len(dir)-8:], parent: h}
	t.Cleanup(e.remove)
	before := defaultBridge()
	t.Cleanup(func() {
		if before && !defaultBridge() {
			t.Error("the machine's engine lost its bridge docker0")
		}
	})
	e.createBridge()
	e.configure(liveRestore)
	e.containerd = e.startProgram("containerd", "-c", e.path("containerd.toml"))
	WaitUntil(t, "containerd listens", func() bool { _, err := os.Stat(e.path("containerd.sock")); return err == nil })
	own.Engine, err = client.NewClientWithOpts(client.WithHost("unix://"+e.path("docker.sock")), client.WithAPIVersionNegotiation())
	Must(t, err)
	e.Start()
	e.copyImages()
	return e
}

// Environ returns the environment variable that makes a runner use the engine.
func (e *Engine) Environ() string { return "DOCKER_HOST=unix://" + e.path("docker.sock") }

func (e *Engine) path(name string) string { return filepath.Join(e.dir, name) }

// configure writes the configuration. The engine shares nothing with the machine's engine: it has its own directories, sockets, bridge
// and addresses, and no packet filter rules.
func (e *Engine) configure(liveRestore bool) {
	e.t.Helper()
	Must(e.t, os.WriteFile(e.path("containerd.toml"), fmt.Appendf(nil, `version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = %q
`, e.path("root"), e.path("state"), e.path("containerd.sock")), 0o600))
	text, err := json.Marshal(map[string]any{ // without address pools: with them, the engine would remove docker0
		"data-root": e.path("data"), "storage-driver": "fuse-overlayfs", "live-restore": liveRestore,
		"bridge": e.bridge, "iptables": false, "ip6tables": false,
	})
	Must(e.t, err)
	Must(e.t, os.WriteFile(e.path("daemon.json"), text, 0o600))
}

// engines counts the engines started so far. Each has its own address range for its bridge.
var engines atomic.Int32

func defaultBridge() bool {
	_, err := os.Stat("/sys/class/net/docker0")
	return err == nil
}

// createBridge creates the engine's bridge. An engine that is configured without a bridge removes docker0, which is the machine's.
func (e *Engine) createBridge() {
	e.t.Helper()
	e.ip("link", "add", e.bridge, "type", "bridge")
	e.ip("address", "add", fmt.Sprintf("10.214.%d.1/24", engines.Add(1)), "dev", e.bridge)
	e.ip("link", "set", e.bridge, "up")
}

func (e *Engine) ip(args ...string) {
	e.t.Helper()
	if log, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		e.t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, log)
	}
}

func (e *Engine) startProgram(program string, args ...string) *exec.Cmd {
	e.t.Helper()
	log, err := os.OpenFile(e.path(program+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	Must(e.t, err)
	defer log.Close()
	c := exec.Command(program, args...)
	c.Stdout, c.Stderr = log, log
	Must(e.t, c.Start())
	return c
}

// Start starts the engine, and returns once it answers.
func (e *Engine) Start() {
	e.t.Helper()
	e.daemon = e.startProgram("dockerd", "--config-file", e.path("daemon.json"), "--containerd", e.path("containerd.sock"),
		"--exec-root", e.path("exec"), "--pidfile", e.path("docker.pid"), "-H", "unix://"+e.path("docker.sock"))
	WaitUntil(e.t, "the engine answers", func() bool { _, err := e.Harness.Engine.Ping(e.t.Context()); return err == nil })
}

// Kill kills the engine with SIGKILL.
func (e *Engine) Kill() {
	e.t.Helper()
	Must(e.t, e.daemon.Process.Kill())
	_ = e.daemon.Wait() // the error only says that it was killed
	e.daemon = nil
}

// copyImages copies the images from the machine's engine.
func (e *Engine) copyImages() {
	e.t.Helper()
	images, err := e.parent.Engine.ImageSave(e.t.Context(), []string{e.Blue, e.Green})
	Must(e.t, err)
	defer images.Close()
	answer, err := e.Harness.Engine.ImageLoad(e.t.Context(), images)
	Must(e.t, err)
	_, err = io.Copy(io.Discard, answer.Body)
	Must(e.t, err)
	Must(e.t, answer.Body.Close())
}

// remove stops the engine and deletes its files. The test's Env has already removed the containers.
func (e *Engine) remove() {
	for _, c := range []*exec.Cmd{e.daemon, e.containerd} {
		if c != nil {
			_ = c.Process.Signal(syscall.SIGTERM)
			_ = c.Wait()
		}
	}
	if e.t.Failed() {
		text, _ := os.ReadFile(e.path("dockerd.log"))
		e.t.Logf("the engine's log:\n%s", text[max(0, len(text)-4000):])
	}
	if e.Harness.Engine != nil {
		_ = e.Harness.Engine.Close()
	}
	e.ip("link", "delete", e.bridge)
	e.unmount()
	Must(e.t, os.RemoveAll(e.dir))
}

// unmount unmounts what a killed engine left mounted.
func (e *Engine) unmount() {
	mounts, err := os.ReadFile("/proc/self/mounts")
	Must(e.t, err)
	for _, line := range slices.Backward(strings.Split(string(mounts), "\n")) { // the newest first
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], e.dir+"/") {
			Must(e.t, syscall.Unmount(fields[1], syscall.MNT_DETACH))
		}
	}
}
