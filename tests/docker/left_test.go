package docker

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
)

// end drains the runner and looks at what is left. Whatever it finds, it leaves nothing.
func (w *world) end() {
	w.readUUID()
	if w.runner != nil && !w.t.Failed() {
		w.drain()
	}
	if w.runner != nil {
		w.kill()
	}
	if !w.t.Failed() {
		w.checkServer()
		w.checkSpool()
		w.checkEngine()
	}
	for _, p := range w.said {
		w.checkSaid(p)
		if w.t.Failed() {
			w.t.Logf("the runner said:\n%s", p.tail())
		}
	}
	w.clearAway()
	w.stopServer()
}

func (w *world) checkServer() {
	if w.server == nil {
		return
	}
	for _, b := range w.server.Ledger().Breaches() {
		w.t.Errorf("breach of the protocol: %s", b)
	}
	for _, task := range w.server.Tasks() {
		if !task.LogComplete {
			w.t.Errorf("task %s (%s) is %s at the end", task.ID, task.TaskType, task.State)
		}
	}
}

func (w *world) checkSpool() {
	for _, dir := range []string{"jobs", "executors", "tmp", "corrupt", "rejected"} {
		entries, err := os.ReadDir(filepath.Join(w.state, "spool", dir))
		if err != nil && !os.IsNotExist(err) {
			w.t.Error(err)
		}
		for _, entry := range entries {
			w.t.Errorf("left in the spool: %s/%s", dir, entry.Name())
		}
	}
	for _, file := range w.onDisk(w.marker) {
		w.t.Errorf("the marker stands in %s", file)
	}
}

func (w *world) checkEngine() {
	for _, c := range containers(w.t, w.uuid) {
		w.t.Errorf("left in the engine: container %v, %s", c.Names, c.Status)
	}
	for _, n := range networks(w.t, w.uuid) {
		w.t.Errorf("left in the engine: network %s", n.Name)
	}
}

// checkSaid looks for what must not be in the runner's log.
func (w *world) checkSaid(p *process) {
	said := p.said()
	for what, text := range map[string]string{"a data race": "WARNING: DATA RACE", "a panic": "panic", "the token": token} {
		if i := strings.Index(said, text); i >= 0 {
			w.t.Errorf("%s in what the runner says: …%s", what, said[max(0, i-200):min(len(said), i+2000)])
		}
	}
}

// readUUID finds out whose things to look for, also where the runner never came as far as the server.
func (w *world) readUUID() {
	text, err := os.ReadFile(filepath.Join(w.state, "spool", "identity.json"))
	if err != nil {
		return
	}
	_, body, _ := strings.Cut(string(text), "{")
	var identity struct {
		UUID string `json:"uuid"`
	}
	if err := json.NewDecoder(strings.NewReader("{" + body)).Decode(&identity); err != nil {
		w.t.Errorf("read the runner's identity: %v", err)
	}
	w.uuid = identity.UUID
}

func (w *world) clearAway() {
	if w.uuid == "" {
		return
	}
	ctx := context.Background()
	for _, c := range containers(w.t, w.uuid) {
		err := shop.engine.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true})
		if err != nil && !cerrdefs.IsConflict(err) && !cerrdefs.IsNotFound(err) { // the runner may have begun
			w.t.Errorf("remove container %v: %v", c.Names, err)
		}
	}
	for _, n := range networks(w.t, w.uuid) {
		if err := shop.engine.NetworkRemove(ctx, n.ID); err != nil {
			w.t.Errorf("remove network %s: %v", n.Name, err)
		}
	}
}

func networks(t *testing.T, runner string) []network.Summary {
	t.Helper()
	found, err := shop.engine.NetworkList(context.Background(), network.ListOptions{
		Filters: filters.NewArgs(filters.Arg("label", runnerLabel+"="+runner)),
	})
	must(t, err)
	return found
}
