package rig

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
)

// lastSaid is how many of the runner's lives a failed test shows.
const lastSaid = 4

// end drains the runner and looks at what is left. Whatever it finds, it leaves nothing.
func (w *World) end() {
	w.readUUID()
	if w.Runner != nil && !w.T.Failed() {
		w.Drain()
	}
	if w.Runner != nil {
		w.Kill()
	}
	if !w.T.Failed() {
		w.checkServer()
		w.CheckSpool()
		w.CheckEngine()
	}
	for _, p := range w.said {
		w.checkSaid(p)
	}
	for _, p := range w.said[max(0, len(w.said)-lastSaid):] {
		if w.T.Failed() {
			w.T.Logf("the runner said:\n%s", p.Tail())
		}
	}
	w.clearAway()
	w.StopServer()
}

func (w *World) checkServer() {
	if w.Server == nil {
		return
	}
	for _, b := range w.Server.Ledger().Breaches() {
		w.T.Errorf("breach of the protocol: %s", b)
	}
	for _, task := range w.Server.Tasks() {
		if !task.LogComplete && !slices.Contains(w.Untold, task.ID) {
			w.T.Errorf("task %s (%s) is %s at the end", task.ID, task.TaskType, task.State)
		}
	}
}

// CheckSpool fails the test if anything is left in the spool.
func (w *World) CheckSpool() {
	for _, dir := range []string{"jobs", "executors", "tmp", "corrupt", "rejected"} {
		entries, err := os.ReadDir(filepath.Join(w.Spool(), dir))
		if err != nil && !os.IsNotExist(err) {
			w.T.Error(err)
		}
		for _, entry := range entries {
			w.T.Errorf("left in the spool: %s/%s", dir, entry.Name())
		}
	}
	for _, file := range w.OnDisk(w.Marker) {
		w.T.Errorf("the marker stands in %s", file)
	}
}

// CheckEngine fails the test if anything is left in the engine.
func (w *World) CheckEngine() {
	for _, c := range w.shop.Containers(w.T, w.UUID) {
		w.T.Errorf("left in the engine: container %v, %s", c.Names, c.Status)
	}
	for _, n := range w.shop.Networks(w.T, w.UUID) {
		if err := w.shop.Engine.NetworkRemove(context.Background(), n.ID); isEndpointLost(err) {
			w.T.Logf("the engine has lost an endpoint: %v", err)
			continue
		}
		w.T.Errorf("left in the engine: network %s", n.Name)
	}
}

// isEndpointLost: an engine (20.10) that is busy may forget, as seen once, that a container has left its network, which
// then stays until the engine is started anew. There is no container: that was looked at before.
func isEndpointLost(err error) bool {
	return err != nil && strings.Contains(err.Error(), "has active endpoints")
}

// checkSaid looks for what must not be in the runner's log.
func (w *World) checkSaid(p *Process) {
	said := p.Said()
	for what, text := range map[string]string{"a data race": "WARNING: DATA RACE", "a panic": "panic", "the token": Token} {
		if i := strings.Index(said, text); i >= 0 {
			w.T.Errorf("%s in what the runner says: …%s", what, said[max(0, i-200):min(len(said), i+2000)])
		}
	}
}

// readUUID finds out whose things to look for, also where the runner never came as far as the server.
func (w *World) readUUID() {
	text, err := os.ReadFile(filepath.Join(w.Spool(), "identity.json"))
	if err != nil {
		return
	}
	_, body, _ := strings.Cut(string(text), "{")
	var identity struct {
		UUID string `json:"uuid"`
	}
	if err := json.NewDecoder(strings.NewReader("{" + body)).Decode(&identity); err != nil {
		w.T.Errorf("read the runner's identity: %v", err)
	}
	w.UUID = identity.UUID
}

func (w *World) clearAway() {
	if w.UUID == "" {
		return
	}
	ctx := context.Background()
	for _, c := range w.shop.Containers(w.T, w.UUID) {
		err := w.shop.Engine.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true})
		if err != nil && !cerrdefs.IsConflict(err) && !cerrdefs.IsNotFound(err) { // the runner may have begun
			w.T.Errorf("remove container %v: %v", c.Names, err)
		}
	}
	for _, n := range w.shop.Networks(w.T, w.UUID) {
		if err := w.shop.Engine.NetworkRemove(ctx, n.ID); err != nil && !isEndpointLost(err) {
			w.T.Errorf("remove network %s: %v", n.Name, err)
		}
	}
}

// Bridge is this machine's address in the runner's network, which is there once the runner has been ready.
func (w *World) Bridge() string {
	w.T.Helper()
	for _, n := range w.shop.Networks(w.T, w.UUID) {
		for _, c := range n.IPAM.Config {
			return c.Gateway
		}
	}
	w.T.Fatal("the runner has no network")
	return ""
}

// Networks are the runner's.
func (s *Shop) Networks(t *testing.T, runner string) []network.Summary {
	t.Helper()
	found, err := s.Engine.NetworkList(context.Background(), network.ListOptions{
		Filters: filters.NewArgs(filters.Arg("label", runnerLabel+"="+runner)),
	})
	Must(t, err)
	return found
}
