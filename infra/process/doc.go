// Package process runs executors as child processes, where no container engine answers: for development, and for plugins
// that a person trusts. It is for messages.Files, on Linux. An "image" is an executable of this machine, its image id a path.
//
// A child does not outlive the runner: the kernel kills it when the runner's process ends, however that ends, and New kills
// what the child had started and left. New lists an executor of an earlier runner as one that has exited with code -1, which
// means that nobody knows how. Its output can still be read to its end.
//
// Each executor has a directory <id>.<time of its create in ns> below the driver's, with its output (stdout and stderr) in it.
// Stamps of log entries are positions, not times: the time of the create plus one nanosecond for each byte before the entry.
//
// There is no isolation: limits and mounts are ignored, the child has the user and the network of runnerd, one that leaves its
// process group outlives it until the next start, and the output file has no bound.
package process
