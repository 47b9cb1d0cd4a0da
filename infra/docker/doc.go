// Package docker runs executors as containers of a Docker Engine on this machine.
//
// # Model
//
// An executor is one container, and its name is derived from the runner and the executor, so that every verb finds it
// without a record of ours, and a create whose answer was lost is found by the next one. Everything that is made carries the
// runner's id as a label, and nothing without it is ever listed or removed.
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
// EnsureNetwork). The engine keeps the newest 128 MiB of an executor's log; what is overwritten before it was read is lost.
// The engine stamps stdout and stderr independently, so stamps can go back a little; they are made monotone, which is
// repeatable as long as they go back by less than ten seconds: with engines before 23, a clock that is set back further
// while an executor runs can cost log lines when reading is resumed.
//
// The client library is frozen upstream; only this package may import it.
package docker
