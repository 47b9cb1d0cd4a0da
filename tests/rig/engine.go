package rig

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

// Engine is a Docker Engine of a test's own, which may be killed and started again. It is the engine of its Shop.
type Engine struct {
	*Shop

	t          *testing.T
	dir        string
	bridge     string
	containerd *exec.Cmd
	daemon     *exec.Cmd
	shops      *Shop // the machine's
}

// OwnEngine starts one that has the blue and the green image. With live-restore its containers outlive it.
func (s *Shop) OwnEngine(t *testing.T, liveRestore bool) *Engine {
	t.Helper()
	if s == nil {
		t.Skip("no Docker Engine answers")
	}
	for _, program := range []string{"containerd", "dockerd", "fuse-overlayfs", "ip"} {
		if _, err := exec.LookPath(program); err != nil || os.Geteuid() != 0 {
			t.Skip("an engine of one's own needs root, containerd, dockerd, fuse-overlayfs and ip")
		}
	}
	dir, err := os.MkdirTemp("", "engine") // short: a socket's path has 108 bytes
	Must(t, err)
	own := *s
	e := &Engine{Shop: &own, t: t, dir: dir, bridge: "rig" + dir[len(dir)-8:], shops: s}
	t.Cleanup(e.end)
	before := defaultBridge()
	t.Cleanup(func() {
		if before && !defaultBridge() {
			t.Error("the machine's engine has lost its bridge docker0")
		}
	})
	e.makeBridge()
	e.configure(liveRestore)
	e.containerd = e.run("containerd", "-c", e.path("containerd.toml"))
	Until(t, "containerd listens", func() bool { _, err := os.Stat(e.path("containerd.sock")); return err == nil })
	own.Engine, err = client.NewClientWithOpts(client.WithHost("unix://"+e.path("docker.sock")), client.WithAPIVersionNegotiation())
	Must(t, err)
	e.Start()
	e.stock()
	return e
}

// Env leads a runner to the engine.
func (e *Engine) Env() string { return "DOCKER_HOST=unix://" + e.path("docker.sock") }

func (e *Engine) path(name string) string { return filepath.Join(e.dir, name) }

// configure leaves the machine alone: directories, sockets, bridges and addresses are the engine's own, and it has no rules for
// packets.
func (e *Engine) configure(liveRestore bool) {
	e.t.Helper()
	Must(e.t, os.WriteFile(e.path("containerd.toml"), fmt.Appendf(nil, `version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = %q
`, e.path("root"), e.path("state"), e.path("containerd.sock")), 0o600))
	text, err := json.Marshal(map[string]any{ // without address pools: with them an engine takes docker0 away, too
		"data-root": e.path("data"), "storage-driver": "fuse-overlayfs", "live-restore": liveRestore,
		"bridge": e.bridge, "iptables": false, "ip6tables": false,
	})
	Must(e.t, err)
	Must(e.t, os.WriteFile(e.path("daemon.json"), text, 0o600))
}

// engines counts those that there have been: each has a network of addresses for its bridge.
var engines atomic.Int32

func defaultBridge() bool {
	_, err := os.Stat("/sys/class/net/docker0")
	return err == nil
}

// makeBridge: an engine that is told to have none takes away docker0, which is the machine's.
func (e *Engine) makeBridge() {
	e.t.Helper()
	e.ip("link", "add", e.bridge, "type", "bridge")
	e.ip("address", "add", fmt.Sprintf("10.214.%d.1/24", engines.Add(1)), "dev", e.bridge)
	e.ip("link", "set", e.bridge, "up")
}

func (e *Engine) ip(args ...string) {
	e.t.Helper()
	if said, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		e.t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, said)
	}
}

func (e *Engine) run(program string, args ...string) *exec.Cmd {
	e.t.Helper()
	log, err := os.OpenFile(e.path(program+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	Must(e.t, err)
	defer log.Close()
	c := exec.Command(program, args...)
	c.Stdout, c.Stderr = log, log
	Must(e.t, c.Start())
	return c
}

// Start returns once the engine answers.
func (e *Engine) Start() {
	e.t.Helper()
	e.daemon = e.run("dockerd", "--config-file", e.path("daemon.json"), "--containerd", e.path("containerd.sock"),
		"--exec-root", e.path("exec"), "--pidfile", e.path("docker.pid"), "-H", "unix://"+e.path("docker.sock"))
	Until(e.t, "the engine answers", func() bool { _, err := e.Shop.Engine.Ping(e.t.Context()); return err == nil })
}

// Kill is kill -9.
func (e *Engine) Kill() {
	e.t.Helper()
	Must(e.t, e.daemon.Process.Kill())
	_ = e.daemon.Wait() // it says that it was killed
	e.daemon = nil
}

// stock copies the images.
func (e *Engine) stock() {
	e.t.Helper()
	images, err := e.shops.Engine.ImageSave(e.t.Context(), []string{e.Blue, e.Green})
	Must(e.t, err)
	defer images.Close()
	answer, err := e.Shop.Engine.ImageLoad(e.t.Context(), images)
	Must(e.t, err)
	_, err = io.Copy(io.Discard, answer.Body)
	Must(e.t, err)
	Must(e.t, answer.Body.Close())
}

// end takes the engine away; the world before has removed its containers.
func (e *Engine) end() {
	for _, c := range []*exec.Cmd{e.daemon, e.containerd} {
		if c != nil {
			_ = c.Process.Signal(syscall.SIGTERM)
			_ = c.Wait()
		}
	}
	if e.t.Failed() {
		text, _ := os.ReadFile(e.path("dockerd.log"))
		e.t.Logf("the engine said:\n%s", text[max(0, len(text)-4000):])
	}
	if e.Shop.Engine != nil {
		_ = e.Shop.Engine.Close()
	}
	e.ip("link", "delete", e.bridge)
	e.unmount()
	Must(e.t, os.RemoveAll(e.dir))
}

// unmount takes away what an engine that was killed has left mounted.
func (e *Engine) unmount() {
	mounts, err := os.ReadFile("/proc/self/mounts")
	Must(e.t, err)
	for _, line := range slices.Backward(strings.Split(string(mounts), "\n")) { // the newest first
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], e.dir+"/") {
			Must(e.t, syscall.Unmount(fields[1], syscall.MNT_DETACH))
		}
	}
}
