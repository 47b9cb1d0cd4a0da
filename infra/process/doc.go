// Package process runs executors as child processes, for development without a container engine and for trusted plugins. It
// works on Linux, in the mode messages.Files (one job per process). An "image" is an executable of this machine; its image id is a path.
//
// A child does not outlive the runner: the kernel kills it when the runner's process ends in any way, and New kills the
// processes that the child left behind. An executor of an earlier runner is listed as exited with code -1, because its exit is
// unknown. Its output can still be read.
//
// Each executor has a directory <id>.<creation time in ns> in the driver's directory, which contains its output (stdout and stderr).
// Timestamps of log entries are positions: the creation time plus one nanosecond for each byte before the entry.
//
// There is no isolation. Limits and mounts are ignored, a child has the user and the network of runnerd, a process that leaves
// the child's process group survives until the runner's next start, and the size of the output file is unlimited.
package process
