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

// shortIDLength is the length of the prefix of the runner's id in names. It is enough to distinguish the runners of a machine.
const shortIDLength = 8

func (d *Driver) name(id msg.ExecutorID) string {
	return fmt.Sprintf("%s-%s", d.network(), id)
}

// config returns the container's image, environment and labels. It leaves entrypoint, command and user to the image.
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

// cpuQuota returns the quota in µs. It is at least 1, because 0 means no limit, and at most what the kernel accepts. The engine
// rejects a quota that is too low.
func cpuQuota(cpus float64) int64 {
	const maxCPUs = 1e6
	return int64(max(min(cpus, maxCPUs)*cpuPeriod, 1))
}

func (d *Driver) hostConfig(spec msg.ExecutorSpec) *container.HostConfig {
	limits := withDefaults(spec.Limits, d.limits)
	return &container.HostConfig{
		NetworkMode: container.NetworkMode(d.network()),
		Mounts:      mounts(spec.Mounts),
		SecurityOpt: []string{"no-new-privileges"},
		CapDrop:     []string{"ALL"},
		IpcMode:     container.IPCModePrivate,
		// Process 1 must be the program, whatever the engine's default is, because it gets the signals of the stop sequence.
		Init: new(bool),
		// When the machine runs out of memory, the kernel kills executors before the runner and the engine.
		OomScoreAdj: 500,
		// A tmpfs counts towards the executor's memory limit. Its size is half of that, so that a full /tmp alone does
		// not kill the executor.
		// It is exec because plugins may unpack and run programs, which the root file system allows anyway.
		Tmpfs: map[string]string{"/tmp": fmt.Sprintf("rw,nosuid,nodev,exec,mode=1777,size=%d", limits.Memory/2)},
		// The engine never waits for the reader of a log, so this bounds how far the reader may fall behind: three files, which are
		// four seconds at 100 MB/s, and at 1 MB/s six minutes, enough for a restart of the runner. The json-file driver keeps
		// entries as they were written, and its logs can be read from a timestamp.
		LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{
			"max-size": strconv.Itoa(logFileSize), "max-file": strconv.Itoa(logFiles),
		}},
		Resources: container.Resources{
			Memory:     limits.Memory,
			MemorySwap: limits.Memory, // memory and swap together: no swap
			CPUPeriod:  cpuPeriod,
			// Not NanoCPUs: the engine rejects more of them than the machine has cores.
			CPUQuota:  cpuQuota(limits.CPUs),
			PidsLimit: &limits.Pids,
			Ulimits:   []*container.Ulimit{{Name: "nofile", Soft: 8192, Hard: 8192}, {Name: "core"}},
		},
	}
}

// mounts returns bind mounts. The engine rejects one whose source is missing. For HostConfig.Binds it would create an empty directory.
func mounts(from []msg.Mount) []mount.Mount {
	var to []mount.Mount
	for _, m := range from {
		to = append(to, mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
	}
	return to
}

func withDefaults(l, defaults msg.Limits) msg.Limits {
	return msg.Limits{
		Memory: cmp.Or(l.Memory, defaults.Memory),
		CPUs:   cmp.Or(l.CPUs, defaults.CPUs),
		Pids:   cmp.Or(l.Pids, defaults.Pids),
	}
}
