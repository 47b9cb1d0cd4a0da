package docker

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	msg "runnerd/messages"
)

// shortRunner is how much of the runner's id stands in names: enough to tell the runners of a machine apart.
const shortRunner = 8

func (d *Driver) name(id msg.ExecutorID) string {
	return fmt.Sprintf("%s-%s", d.network(), id)
}

// config leaves entrypoint, command and user to the image.
func (d *Driver) config(spec msg.ExecutorSpec) *container.Config {
	labels := map[string]string{}
	maps.Copy(labels, spec.Labels)
	labels[runnerLabel], labels[executorLabel] = d.runner, string(spec.ID)
	var env []string
	for _, name := range slices.Sorted(maps.Keys(spec.Env)) {
		env = append(env, name+"="+spec.Env[name])
	}
	return &container.Config{Image: string(spec.Image), Env: env, Labels: labels}
}

const cpuPeriod = 100_000 // µs, the kernel's own default

// cpuQuota is never 0 or below, which would be no limit at all: what is too little, the engine refuses. Nor is it more than the
// kernel takes.
func cpuQuota(cpus float64) int64 {
	const most = 1e6
	return int64(max(min(cpus, most)*cpuPeriod, 1))
}

func (d *Driver) hostConfig(spec msg.ExecutorSpec) *container.HostConfig {
	limits := orElse(spec.Limits, d.limits)
	return &container.HostConfig{
		NetworkMode: container.NetworkMode(d.network()),
		Mounts:      mounts(spec.Mounts),
		SecurityOpt: []string{"no-new-privileges"},
		CapDrop:     []string{"ALL"},
		IpcMode:     container.IPCModePrivate,
		// Process 1 must be the program, whatever the engine's default is: it is who gets the signals of the stop sequence.
		Init: new(bool),
		// When the machine runs out of memory an executor goes first, not the runner and not the engine.
		OomScoreAdj: 500,
		// It is memory, and counts as the executor's: half of it, so that a full /tmp alone does not kill. Plugins may unpack and
		// run programs in it; the root file system lets them do so anyway.
		Tmpfs: map[string]string{"/tmp": fmt.Sprintf("rw,nosuid,nodev,exec,mode=1777,size=%d", limits.Memory/2)},
		// The engine never waits for who reads the log, so this bounds how far a reader may be behind: three files, which at
		// 100 MB/s are four seconds, and for a plugin that writes 1 MB/s the six minutes of a runner's restart. json-file, as
		// it keeps entries as they were written, and can be read since a stamp.
		LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{
			"max-size": strconv.Itoa(logFileSize), "max-file": strconv.Itoa(logFiles),
		}},
		Resources: container.Resources{
			Memory:     limits.Memory,
			MemorySwap: limits.Memory, // of both together: no swap
			CPUPeriod:  cpuPeriod,
			// Not NanoCPUs: those are refused above the machine's number of cores.
			CPUQuota:  cpuQuota(limits.CPUs),
			PidsLimit: &limits.Pids,
			Ulimits:   []*container.Ulimit{{Name: "nofile", Soft: 8192, Hard: 8192}, {Name: "core"}},
		},
	}
}

// mounts are bind mounts of what exists: the engine refuses others, where a volume flag would make an empty directory.
func mounts(from []msg.Mount) []mount.Mount {
	var to []mount.Mount
	for _, m := range from {
		to = append(to, mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
	}
	return to
}

func orElse(l, other msg.Limits) msg.Limits {
	return msg.Limits{
		Memory: cmp.Or(l.Memory, other.Memory),
		CPUs:   cmp.Or(l.CPUs, other.CPUs),
		Pids:   cmp.Or(l.Pids, other.Pids),
	}
}
