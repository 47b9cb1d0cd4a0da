// Package docker runs executors as containers of a Docker Engine on this machine.
//
// # Model
//
// An executor is one container. Its labels are the runner's id and the executor's, so that every verb finds it without a
// record of ours, whatever somebody renames it to, and nothing without them is ever listed or removed. Its name is derived
// from both: a create whose answer was lost meets it as a conflict.
//
// Whether a container exists, only the engine's own answer about it says. A 404 with other words, and an answer with nothing
// in it, are a proxy's, and an error.
//
// All executors of a runner are in a bridge network of its own, in which they cannot reach one another; they reach the
// gateway at the bridge's address (EnsureNetwork). The engine's firewall rules keep them apart: with an engine that runs with
// --iptables=false they can see each other.
//
// # Guarantees
//
// An image runs as it was built: entrypoint, command, user and root file system are its own, the program is process 1, and no
// proxy variables are added. Around it: no capabilities, no new privileges, limits of memory (swap included), CPU, processes
// and open files, a sized /tmp, and no mount but those of the spec. See hostConfig for each one's reason.
//
// # Limits
//
// The engine must be on this machine: files are handed over by bind mounts, and the gateway listens on the bridge (Check,
// EnsureNetwork). The engine keeps the newest 384 to 512 MiB of an executor's log; what it discards before it was read is lost,
// and a line in the log says so.
// The engine stamps stdout and stderr independently, so stamps can go back a little; they are made monotone, which is
// repeatable as long as they go back by less than ten seconds: with engines before 23, a clock that is set back further
// while an executor runs can cost log lines when reading is resumed.
//
// The client library is frozen upstream; only this package may import it.
package docker
