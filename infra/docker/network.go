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

const apartOption = "com.docker.network.bridge.enable_icc"

// network is the name of the runner's network.
func (d *Driver) network() string { return "runnerd-" + d.runner[:shortRunner] }

// EnsureNetwork makes the runner's network if it is not there, and returns the address at which executors reach this machine.
// It may be repeated; as long as the network is there the address is the same.
func (d *Driver) EnsureNetwork(ctx context.Context) (gateway string, err error) {
	step := "prepare the network " + d.network()
	all, err := d.networks(ctx)
	if err == nil && len(all) == 0 {
		if err = d.makeNetwork(ctx); err == nil {
			all, err = d.networks(ctx)
		}
	}
	switch {
	case err != nil:
		return "", networkFailed(ctx, step, err)
	case len(all) == 0:
		return "", fmt.Errorf("%s: %w", step, errNotEngine)
	}
	for _, n := range all {
		if !d.owns(n.Labels) || n.Options[apartOption] != "false" {
			return "", fmt.Errorf("%s: there is one of that name which this runner did not make; remove it (docker network rm %s)", step, n.ID)
		}
	}
	if err := d.removeNetworks(ctx, all[1:]); err != nil {
		return "", networkFailed(ctx, step+": remove another one of that name that this runner made", err)
	}
	if gateway, err = ours(all[0]); err != nil {
		return "", fmt.Errorf("%s: %w", step, err)
	}
	return gateway, nil
}

// networks are those of the runner's network's name: first those with containers, and of these the oldest. There are several when
// a create was repeated whose answer was late; then the engine refuses the name as ambiguous.
func (d *Driver) networks(ctx context.Context) (all []network.Inspect, err error) {
	found, err := d.engine.NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(filters.Arg("name", d.network()))})
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		if f.Name != d.network() { // the filter takes a part of the name
			continue
		}
		n, err := d.engine.NetworkInspect(ctx, f.ID, network.InspectOptions{}) // a list does not say which containers it has
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

// networkIsMade is how long the engine may take for that.
const networkIsMade = 10 * time.Second

// makeNetwork is content if somebody else was faster. It is not broken off: the engine would go on with it after its caller has
// cleared away.
func (d *Driver) makeNetwork(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), networkIsMade)
	defer cancel()
	_, err := d.engine.NetworkCreate(ctx, d.network(), network.CreateOptions{
		Driver: "bridge", Labels: map[string]string{runnerLabel: d.runner}, Options: map[string]string{apartOption: "false"},
	})
	if cerrdefs.IsConflict(err) {
		return nil
	}
	return err
}

// ours returns the bridge's address if it is one of this machine: else nothing that listens here is reached through it.
func ours(n network.Inspect) (string, error) {
	local, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("list the addresses of this machine: %w", err)
	}
	for _, c := range n.IPAM.Config {
		ip := net.ParseIP(c.Gateway)
		if slices.ContainsFunc(local, func(a net.Addr) bool { n, ok := a.(*net.IPNet); return ok && ip != nil && n.IP.Equal(ip) }) {
			return c.Gateway, nil
		}
	}
	return "", fmt.Errorf("its bridge has no address on this machine, so executors cannot reach runnerd: if runnerd is in a " +
		"container, run it with --network host; if the engine is in a virtual machine, run runnerd in there")
}

func networkFailed(ctx context.Context, step string, err error) error {
	if ctx.Err() == nil && strings.Contains(err.Error(), "non-overlapping") {
		step += ": the engine has no address range left; remove networks that nobody uses (docker network prune), or " +
			"give it more (default-address-pools in its daemon.json)"
	}
	return failed(ctx, step, err)
}

// RemoveNetwork takes the network away once no executor is left in it. Repeated: no effect.
func (d *Driver) RemoveNetwork(ctx context.Context) error {
	all, err := d.networks(ctx)
	if err == nil {
		err = d.removeNetworks(ctx, slices.DeleteFunc(all, func(n network.Inspect) bool { return !d.owns(n.Labels) }))
	}
	return failed(ctx, "remove the network "+d.network(), err)
}
