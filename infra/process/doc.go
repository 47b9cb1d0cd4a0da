// Package process runs executors as child processes, where no container engine answers: for development, and for plugins
// that a person trusts. It is for messages.Files, on Linux.
//
// An "image" is an executable of this machine, by the reference that a job names. Its image id is its path and what is in it,
// so that a plugin that was built anew is another one.
//
// A child belongs to nobody: it has its own session, writes its output to a file, and goes on when runnerd ends. Below the
// driver's directory each executor has
//
//	<id>/spec.json     written by Create; by Start without the environment, in which the key of a job is
//	     process.json  written by Start, first without a pid: then the process, if there is one, is found by its environment
//	     output        stdout and stderr
//	     exit.json     how it ended
//
// A later runnerd knows its child by boot, pid and start time, and waits for it through a pidfd. Only a parent learns an exit
// code: a child that outlived its runnerd, or ended without one, is reported with -1. What it leaves behind in its process
// group is killed when its end is seen.
//
// Stamps of log entries are positions, not times: the start of the process plus one nanosecond for each byte before the
// entry. An entry is a line, or 16 KiB of one; it depends on the output alone, so that reading goes on exactly where it
// stopped, in this process or the next.
//
// There is no isolation: limits are kept in the record and not enforced, mounts are no mounts (a path in the environment
// that lies below a mount's target is given as the path below its source), the child has the user and the network of
// runnerd, one that leaves its process group outlives it, and the output file has no bound.
package process
