package docker

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
)

const iccOption = "com.docker.network.bridge.enable_icc"

// network returns the name of the runner's network.
func (d *Driver) network() string { return "runnerd-" + d.runner[:shortIDLength] }

// EnsureNetwork creates the runner's network if it is missing and returns the address at which executors reach this machine.
// It is idempotent: the address stays the same as long as the network exists.
func (d *Driver) EnsureNetwork(ctx context.Context) (gateway string, err error) {
	step := "prepare the network " + d.network()
	all, err := d.networks(ctx)
	if err == nil && len(all) == 0 {
		if err = d.createNetwork(ctx); err == nil {
			all, err = d.networks(ctx)
		}
	}
	switch {
	case err != nil:
		return "", wrapNetworkError(ctx, step, err)
	case len(all) == 0:
		return "", fmt.Errorf("%s: %w", step, errNotFromEngine)
	}
	for _, n := range all {
		if !d.owns(n.Labels) || n.Options[iccOption] != "false" {
			return "", fmt.Errorf("%s: this runner did not create the existing network of that name; remove it (docker network rm %s)", step, n.ID)
		}
	}
	if err := d.removeNetworks(ctx, all[1:]); err != nil {
		return "", wrapNetworkError(ctx, step+": remove a duplicate of it", err)
	}
	if gateway, err = localGateway(all[0]); err != nil {
		return "", fmt.Errorf("%s: %w", step, err)
	}
	return gateway, nil
}

// networks returns all networks with the name of the runner's network: those with containers first, then the oldest first. There
// are several if a create was repeated because its response was late; the engine then rejects the name as ambiguous.
func (d *Driver) networks(ctx context.Context) (all []network.Inspect, err error) {
	found, err := d.engine.NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(filters.Arg("name", d.network()))})
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		if f.Name != d.network() { // the filter matches substrings
			continue
		}
		n, err := d.engine.NetworkInspect(ctx, f.ID, network.InspectOptions{}) // the list lacks a network's containers
		switch {
		case cerrdefs.IsNotFound(err):
		case err != nil:
			return nil, err
		default:
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b network.Inspect) int {
		return cmp.Or(cmp.Compare(min(len(b.Containers), 1), min(len(a.Containers), 1)), a.Created.Compare(b.Created))
	})
	return all, nil
}

func (d *Driver) removeNetworks(ctx context.Context, all []network.Inspect) error {
	for _, n := range all {
		if err := d.engine.NetworkRemove(ctx, n.ID); err != nil && !cerrdefs.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// networkCreateTimeout limits the creation of a network.
const networkCreateTimeout = 10 * time.Second

// createNetwork creates the network, or returns nil if it exists. It ignores the end of ctx, because the engine would finish a
// cancelled create after the caller has cleaned up.
func (d *Driver) createNetwork(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), networkCreateTimeout)
	defer cancel()
	_, err := d.engine.NetworkCreate(ctx, d.network(), network.CreateOptions{
		Driver: "bridge", Labels: map[string]string{runnerLabel: d.runner}, Options: map[string]string{iccOption: "false"},
	})
	if cerrdefs.IsConflict(err) {
		return nil
	}
	return err
}

// localGateway returns the bridge's address. It returns an error if that is not an address of this machine, because executors
// could not reach runnerd through it.
func localGateway(n network.Inspect) (string, error) {
	local, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("list the addresses of this machine: %w", err)
	}
	for _, c := range n.IPAM.Config {
		ip := net.ParseIP(c.Gateway)
		if slices.ContainsFunc(local, func(a net.Addr) bool { subnet, ok := a.(*net.IPNet); return ok && ip != nil && subnet.IP.Equal(ip) }) {
			return c.Gateway, nil
		}
	}
	return "", fmt.Errorf("its bridge has no address on this machine, so executors cannot reach runnerd: if runnerd is in a " +
		"container, run it with --network host; if the engine is in a virtual machine, run runnerd in there")
}

func wrapNetworkError(ctx context.Context, step string, err error) error {
	if ctx.Err() == nil && strings.Contains(err.Error(), "non-overlapping") {
		step += ": the engine has no free address range; remove unused networks (docker network prune), or " +
			"add ranges (default-address-pools in its daemon.json)"
	}
	return wrapError(ctx, step, err)
}

// RemoveNetwork removes the network. It is idempotent, and fails while a container uses the network.
func (d *Driver) RemoveNetwork(ctx context.Context) error {
	all, err := d.networks(ctx)
	if err == nil {
		err = d.removeNetworks(ctx, slices.DeleteFunc(all, func(n network.Inspect) bool { return !d.owns(n.Labels) }))
	}
	return wrapError(ctx, "remove the network "+d.network(), err)
}
