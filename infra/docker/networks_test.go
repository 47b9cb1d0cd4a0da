package docker_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/google/uuid"

	"runnerd/infra/docker"
	msg "runnerd/messages"
)

// newRunner returns a driver of a runner that has no network yet.
func (e *env) newRunner(t *testing.T) (d *docker.Driver, id, name string) {
	t.Helper()
	id = uuid.NewString()
	d, err := docker.New(docker.Options{RunnerID: id})
	check(t, err)
	t.Cleanup(func() { check(t, d.Close()) })
	return d, id, "runnerd-" + id[:8]
}

// makeNetwork creates a network even if one of that name exists, as the engine does when two creates race.
func (e *env) makeNetwork(t *testing.T, name, runner string) (id string) {
	t.Helper()
	request, err := json.Marshal(map[string]any{"Name": name, "CheckDuplicate": false, "Driver": "bridge",
		"Labels": map[string]string{"runnerd.runner": runner}, "Options": map[string]string{"com.docker.network.bridge.enable_icc": "false"}})
	check(t, err)
	scheme, address, _ := strings.Cut(e.engine.DaemonHost(), "://")
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, scheme, address)
	}}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Post("http://engine/v1.41/networks/create", "application/json", strings.NewReader(string(request)))
	check(t, err)
	defer answer.Body.Close()
	var made struct {
		ID      string `json:"Id"`
		Message string `json:"message"`
	}
	check(t, json.NewDecoder(answer.Body).Decode(&made))
	if made.ID == "" {
		t.Fatalf("the engine answers %s: %s", answer.Status, made.Message)
	}
	t.Cleanup(func() { _ = e.engine.NetworkRemove(context.WithoutCancel(t.Context()), made.ID) }) // the test may have removed it
	return made.ID
}

// existing returns the indexes of the networks that exist.
func (e *env) existing(t *testing.T, ids ...string) (found []int) {
	t.Helper()
	for n, id := range ids {
		if _, err := e.engine.NetworkInspect(t.Context(), id, network.InspectOptions{}); err == nil {
			found = append(found, n)
		}
	}
	return found
}

func TestDuplicateNetworksAreReducedToOne(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		when  string
		inUse int // index of the network with a container; -1: none
		kept  int
	}{{"none is used: the oldest", -1, 0}, {"the oldest is used", 0, 0}, {"the newest is used", 2, 2}} {
		t.Run(row.when, func(t *testing.T) {
			t.Parallel()
			e := engine(t)
			d, id, name := e.newRunner(t)
			made := []string{e.makeNetwork(t, name, id), e.makeNetwork(t, name, id), e.makeNetwork(t, name, id)}
			if row.inUse >= 0 {
				e.runInNetwork(t, made[row.inUse])
			}
			gateway, err := d.EnsureNetwork(t.Context())
			check(t, err)
			if found := e.existing(t, made...); len(found) != 1 || found[0] != row.kept {
				t.Fatalf("remaining: %v, want %d", found, row.kept)
			}
			kept, err := e.engine.NetworkInspect(t.Context(), name, network.InspectOptions{}) // the name is unambiguous again
			check(t, err)
			if kept.IPAM.Config[0].Gateway != gateway {
				t.Errorf("EnsureNetwork returned %s, but the network has %v", gateway, kept.IPAM.Config)
			}
		})
	}
}

// runInNetwork runs a container in a network until the test ends.
func (e *env) runInNetwork(t *testing.T, in string) {
	t.Helper()
	made, err := e.engine.ContainerCreate(t.Context(), &container.Config{Image: e.user, Env: []string{"DO=waits"}}, nil, nil, nil, "")
	check(t, err)
	t.Cleanup(func() {
		check(t, e.engine.ContainerRemove(context.WithoutCancel(t.Context()), made.ID, container.RemoveOptions{Force: true}))
	})
	check(t, e.engine.ContainerStart(t.Context(), made.ID, container.StartOptions{}))
	check(t, e.engine.NetworkConnect(t.Context(), in, made.ID, nil)) // a start fails if the name is ambiguous
}

func TestForeignNetworkOfSameNameIsRejected(t *testing.T) {
	t.Parallel()
	for _, alone := range []bool{true, false} {
		e := engine(t)
		d, id, name := e.newRunner(t)
		foreign := e.makeNetwork(t, name, "somebody-else")
		all := []string{foreign}
		if !alone {
			all = append(all, e.makeNetwork(t, name, id))
		}
		if _, err := d.EnsureNetwork(t.Context()); err == nil || !strings.Contains(err.Error(), "did not create") || !strings.Contains(err.Error(), foreign) {
			t.Errorf("alone: %v: %v", alone, err)
		}
		if found := e.existing(t, all...); len(found) != len(all) {
			t.Errorf("alone: %v: remaining: %v", alone, found)
		}
		check(t, d.RemoveNetwork(t.Context()))
		if found := e.existing(t, all...); len(found) != 1 || found[0] != 0 {
			t.Errorf("alone: %v: remaining: %v", alone, found)
		}
	}
}

func TestRemoveNetworkRemovesDuplicates(t *testing.T) {
	t.Parallel()
	e := engine(t)
	d, id, name := e.newRunner(t)
	made := []string{e.makeNetwork(t, name, id), e.makeNetwork(t, name, id)}
	check(t, d.RemoveNetwork(t.Context()))
	if found := e.existing(t, made...); len(found) > 0 {
		t.Errorf("remaining: %v", found)
	}
}

func TestStartSucceedsDespiteDuplicateNetwork(t *testing.T) {
	t.Parallel()
	e := engine(t)
	d, id, name := e.newRunner(t)
	_, err := d.EnsureNetwork(t.Context())
	check(t, err)
	t.Cleanup(func() { check(t, d.RemoveNetwork(context.WithoutCancel(t.Context()))) })
	e.makeNetwork(t, name, id)
	spec := e.spec(t, "waits", "")
	t.Cleanup(func() { check(t, d.Remove(context.WithoutCancel(t.Context()), spec.ID)) })
	check(t, d.Create(t.Context(), spec))
	check(t, d.Start(t.Context(), spec.ID))
	c, err := d.Inspect(t.Context(), spec.ID)
	check(t, err)
	if c.State != msg.ContainerRunning {
		t.Errorf("the container is %v", c.State)
	}
}
