// Package bench measures the whole program from outside, and what docs/performance.md says is measured by it.
//
// BenchmarkJob runs the real binary against a development server and a Docker Engine, with the sample plugin, which is built
// with the official Go SDK. In every round the same job is done in all ways in turn, so that all meet the same machine: by
// `docker run --rm`, in a container made by bare calls of the Engine API, cold, and ten times warm. It takes no time from
// the program: the server, which is in the benchmark's process, says when requests came and answers were ready, and packets
// on the bridge, stamped by the kernel, say when a job's input left and its result arrived. That needs root.
//
// BenchmarkScript asks how long a person waits for a script: of an idle runner, of one whose other executors work, and of one
// whose executors all work while more tasks wait; each in turn, in every round.
//
// BenchmarkFlood does a warm job beside an executor that floods its log.
//
// BenchmarkStart and BenchmarkRecovery say how long a start takes that finds much to do.
//
// BenchmarkExecutors runs actors and spool with the fake engine: what a job costs them must not depend on the number of
// executors.
//
// A round of BenchmarkJob takes five seconds, so it wants a number of rounds (-benchtime 30x) rather than a time.
package bench
