package process

import "slices"

// markName is the variable by which the next runner finds what a child has started and left.
const markName = "RUNNERD_EXECUTOR_DIR"

// environment is what the spec says, and the least that a program needs; nothing of runnerd's own.
func (e *executor) environment() []string {
	env := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + e.dir, markName + "=" + e.dir}
	for name, value := range e.spec.Env {
		env = append(env, name+"="+value)
	}
	slices.Sort(env[3:])
	return env // of a name that comes twice, the last counts
}
