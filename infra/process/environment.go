package process

import (
	"slices"
	"strings"

	msg "runnerd/messages"
)

// markName is the variable by which the next runner finds what a child has started and left.
const markName = "RUNNERD_EXECUTOR_DIR"

// environment is what the spec says, and the least that a program needs; nothing of runnerd's own.
func (e *executor) environment() []string {
	env := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + e.dir, markName + "=" + e.dir}
	for name, value := range e.spec.Env {
		env = append(env, name+"="+onHost(value, e.spec.Mounts))
	}
	slices.Sort(env[3:])
	return env // of a name that comes twice, the last counts
}

// onHost is the path that a container's path stands for. What is no path below a mount stays as it is.
func onHost(value string, mounts []msg.Mount) string {
	for _, m := range mounts {
		if rest, below := strings.CutPrefix(value, m.Target); below && (rest == "" || rest[0] == '/') {
			return m.Source + rest
		}
	}
	return value
}
