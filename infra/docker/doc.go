// Package docker runs executors as containers of a Docker Engine on this machine.
//
// # Model
//
// An executor is one container, labelled with the runner's id and the executor's id. The driver finds containers by these
// labels, so it needs no record of its own and a renamed container is still found. It never lists or removes a container
// without them. The container's name is derived from both ids, so that repeating a create whose response was lost results in a
// name conflict.
//
// Only the engine's own answer counts as proof that a container does not exist. A 404 with another text, or an empty answer,
// comes from a proxy and is an error.
//
// All executors of a runner share a bridge network of their own, in which they cannot reach one another. They reach the
// gateway at the bridge's address (EnsureNetwork). The isolation depends on the engine's firewall rules: with --iptables=false
// executors can reach each other.
//
// # Guarantees
//
// An image runs as it was built: its entrypoint, command, user and root file system are unchanged, the program is process 1,
// and no proxy variables are added. The container has no capabilities and no new privileges, limits on memory (including
// swap), CPU, processes and open files, a /tmp of limited size, and only the mounts of its spec. hostConfig gives the reasons.
//
// # Limits
//
// The engine must be on this machine, because files are passed by bind mounts and the gateway listens on the bridge (Check,
// EnsureNetwork). The engine keeps the newest 384 to 512 MiB of an executor's log. Output that it discards before the driver
// reads it is lost, and a line in the log says so.
// The engine timestamps stdout and stderr independently, so timestamps can go back a little. The driver makes them monotone. Every
// read of a log gives the same timestamps if the engine's go back by less than ten seconds. With engines before 23, setting the
// clock back further while an executor runs can lose log lines when reading resumes.
//
// The Docker client library is frozen upstream. Only this package may import it.
package docker
