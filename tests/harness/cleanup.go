package harness

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

// maxShownLogs bounds the number of runner processes whose log a failed test shows.
const maxShownLogs = 4

// close drains the runner and checks that nothing is left behind. It removes what is left in the engine in any case.
func (e *Env) close() {
	e.readUUID()
	if e.Runner != nil && !e.T.Failed() {
		e.Drain()
	}
	if e.Runner != nil {
		e.Kill()
	}
	if !e.T.Failed() {
		e.checkServer()
		e.CheckSpoolEmpty()
		e.CheckEngineEmpty()
	}
	for _, p := range e.processes {
		e.checkRunnerLog(p)
	}
	for _, p := range e.processes[max(0, len(e.processes)-maxShownLogs):] {
		if e.T.Failed() {
			e.T.Logf("the runner's log:\n%s", p.LogTail())
		}
	}
	e.removeLeftovers()
	e.StopServer()
}

// checkServer checks that the runner kept the protocol, and reported all tasks except those in Unreported.
func (e *Env) checkServer() {
	if e.Server == nil {
		return
	}
	for _, v := range e.Server.Ledger().Violations() {
		e.T.Errorf("protocol violation: %s", v)
	}
	for _, task := range e.Server.Tasks() {
		if !task.LogComplete && !slices.Contains(e.Unreported, task.ID) {
			e.T.Errorf("task %s (%s) is not fully reported at the end: it is %s, and its log is not complete", task.ID, task.TaskType, task.State)
		}
	}
}

// CheckSpoolEmpty fails the test if anything is left in the spool, or if any file of the runner contains the marker.
func (e *Env) CheckSpoolEmpty() {
	for _, dir := range []string{"jobs", "executors", "tmp", "corrupt", "rejected"} {
		entries, err := os.ReadDir(filepath.Join(e.Spool(), dir))
		if err != nil && !os.IsNotExist(err) {
			e.T.Error(err)
		}
		for _, entry := range entries {
			e.T.Errorf("left in the spool: %s/%s", dir, entry.Name())
		}
	}
	for _, file := range e.FilesContaining(e.Marker) {
		e.T.Errorf("the marker is in %s", file)
	}
}

// CheckEngineEmpty fails the test if anything is left in the engine.
func (e *Env) CheckEngineEmpty() {
	for _, c := range e.harness.Containers(e.T, e.UUID) {
		e.T.Errorf("left in the engine: container %v, %s", c.Names, c.Status)
	}
	for _, n := range e.harness.Networks(e.T, e.UUID) {
		if err := e.harness.Engine.NetworkRemove(context.Background(), n.ID); isEndpointLost(err) {
			e.T.Logf("the engine lost an endpoint: %v", err)
			continue
		}
		e.T.Errorf("left in the engine: network %s", n.Name)
	}
}

// isEndpointLost recognizes the error of a defect of Docker Engine 20.10, seen once: a busy engine did not notice that a container had left
// its network. The network cannot be removed until the engine restarts. The callers have checked before that there is no container.
func isEndpointLost(err error) bool {
	return err != nil && strings.Contains(err.Error(), "has active endpoints")
}

// checkRunnerLog checks that there is no data race, no panic and no token in the runner's log.
func (e *Env) checkRunnerLog(p *Process) {
	log := p.Log()
	for what, text := range map[string]string{"a data race": "WARNING: DATA RACE", "a panic": "panic", "the token": Token} {
		if i := strings.Index(log, text); i >= 0 {
			e.T.Errorf("%s in the runner's log: …%s", what, log[max(0, i-200):min(len(log), i+2000)])
		}
	}
}

// readUUID reads the runner's UUID from the spool, because the runner may never have reached the server.
func (e *Env) readUUID() {
	text, err := os.ReadFile(filepath.Join(e.Spool(), "identity.json"))
	if err != nil {
		return
	}
	_, body, _ := strings.Cut(string(text), "{")
	var identity struct {
		UUID string `json:"uuid"`
	}
	if err := json.NewDecoder(strings.NewReader("{" + body)).Decode(&identity); err != nil {
		e.T.Errorf("read the runner's identity: %v", err)
	}
	e.UUID = identity.UUID
}

func (e *Env) removeLeftovers() {
	if e.UUID == "" {
		return
	}
	ctx := context.Background()
	for _, c := range e.harness.Containers(e.T, e.UUID) {
		err := e.harness.Engine.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true})
		if err != nil && !cerrdefs.IsConflict(err) && !cerrdefs.IsNotFound(err) { // the runner may be removing it
			e.T.Errorf("remove container %v: %v", c.Names, err)
		}
	}
	for _, n := range e.harness.Networks(e.T, e.UUID) {
		if err := e.harness.Engine.NetworkRemove(ctx, n.ID); err != nil && !isEndpointLost(err) {
			e.T.Errorf("remove network %s: %v", n.Name, err)
		}
	}
}

// BridgeAddress returns this machine's address in the runner's network, which exists once the runner has been ready.
func (e *Env) BridgeAddress() string {
	e.T.Helper()
	for _, n := range e.harness.Networks(e.T, e.UUID) {
		for _, c := range n.IPAM.Config {
			return c.Gateway
		}
	}
	e.T.Fatal("the runner has no network")
	return ""
}

// Networks returns the runner's networks.
func (h *Harness) Networks(t *testing.T, runner string) []network.Summary {
	t.Helper()
	found, err := h.Engine.NetworkList(context.Background(), network.ListOptions{
		Filters: filters.NewArgs(filters.Arg("label", runnerLabel+"="+runner)),
	})
	Must(t, err)
	return found
}
