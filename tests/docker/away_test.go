package docker

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"runnerd/infra/devserver"
)

// door stands between the runner and the engine: a socket that is there or not.
type door struct {
	path     string
	listener net.Listener
	open     sync.WaitGroup
}

func newDoor(t *testing.T) *door {
	t.Helper()
	if shop == nil {
		t.Skip("no Docker Engine answers")
	}
	dir, err := os.MkdirTemp("", "door") // short: a socket's path has 108 bytes
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return &door{path: filepath.Join(dir, "docker.sock")}
}

func (d *door) host() string { return "DOCKER_HOST=unix://" + d.path }

// lift makes the socket; it leads to the real engine.
func (d *door) lift(t *testing.T) {
	t.Helper()
	network, address, _ := strings.Cut(shop.engine.DaemonHost(), "://")
	var err error
	d.listener, err = net.Listen("unix", d.path)
	must(t, err)
	d.open.Go(func() {
		for {
			in, err := d.listener.Accept()
			if err != nil {
				return
			}
			d.open.Go(func() { join(in, network, address) })
		}
	})
}

func join(in net.Conn, network, address string) {
	defer in.Close()
	out, err := net.Dial(network, address)
	if err != nil {
		return
	}
	defer out.Close()
	done := make(chan struct{}, 2)
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_ = to.(interface{ CloseWrite() error }).CloseWrite()
		done <- struct{}{}
	}
	go pass(in, out)
	go pass(out, in)
	<-done
	<-done
}

// shut takes the socket away; what goes through it already goes on.
func (d *door) shut(t *testing.T) {
	t.Helper()
	must(t, d.listener.Close())
}

func TestRunWaitsForItsEngineHoweverLongItTakesToComeUp(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	w := newWorld(t, plan{eviction: time.Second, env: []string{d.host()}, noRunner: true})
	t.Cleanup(d.open.Wait)
	job := w.submit(shop.blue, "sample.Hello", map[string]any{"yourName": w.marker})

	w.start()
	w.waitsForEngine(d, job)
	d.lift(t)
	w.ready()
	w.completed(job)
	w.noMoreThan(4)

	// After a drain its network is gone too: with it the address at which the gateway listens.
	w.allDie()
	w.drain()
	d.shut(t)
	again := w.submit(shop.blue, "sample.Hello", map[string]any{"yourName": w.marker})
	w.start()
	w.waitsForEngine(d, again)
	d.lift(t)
	w.ready()
	w.completed(again)
	w.allDie()
	w.drain()
	d.shut(t)
}

// waitsForEngine: it says so, in its log and at /ready, and does nothing else.
func (w *world) waitsForEngine(d *door, job string) {
	w.t.Helper()
	w.hears("waiting for the engine")
	var says string
	until(w.t, "/ready answers", func() bool {
		answer, err := http.Get("http://" + w.runner.health + "/ready")
		if err != nil {
			w.alive()
			return false
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		must(w.t, err)
		says = string(text)
		return answer.StatusCode == http.StatusServiceUnavailable
	})
	if !strings.Contains(says, d.path) {
		w.t.Errorf("/ready says %s", says)
	}
	if got := fetch(w.t, "http://"+w.runner.health+"/live", http.StatusOK); got == "" {
		w.t.Error("/live says nothing")
	}
	view, err := w.server.Task(job)
	must(w.t, err)
	if view.State != devserver.Queued {
		w.t.Errorf("without an engine the job is %s", view.State)
	}
}

func TestAServerThatIsAwayAtTheStartIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{eviction: time.Second, noServer: true, noRunner: true})
	w.start()
	w.hears("not registered: check --release-url (RELEASE_RUNNER_RELEASE_URL), the network, and that the server is up")
	if got := fetch(t, "http://"+w.runner.health+"/ready", http.StatusServiceUnavailable); !strings.Contains(got, "not registered with the server") ||
		!strings.Contains(got, w.address) {
		t.Errorf("/ready says %s", got)
	}
	w.startServer(token)
	w.ready()
	w.completed(w.submit(shop.blue, "sample.Hello", map[string]any{"yourName": w.marker}))
}

func TestATokenThatIsRefusedIsSaidAndTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, plan{eviction: time.Second, noServer: true, noRunner: true})
	w.startServer("another token")
	w.start()
	w.hears("the server refuses the registration token: check --token (RELEASE_RUNNER_TOKEN)")
	if got := fetch(t, "http://"+w.runner.health+"/ready", http.StatusServiceUnavailable); !strings.Contains(got, "not registered with the server") {
		t.Errorf("/ready says %s", got)
	}
	w.stopServer()
	w.startServer(token)
	w.ready()
	w.completed(w.submit(shop.blue, "sample.Hello", map[string]any{"yourName": w.marker}))
}
