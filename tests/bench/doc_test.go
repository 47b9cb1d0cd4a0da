// Package bench measures the whole program from outside. The numbers in docs/performance.md come from it.
//
// BenchmarkJob runs the real binary against a development server and a Docker Engine, with the sample plugin, which is built
// with the official Go SDK. Every round runs the same job in each way in turn, so that all ways share the machine's conditions:
// by `docker run --rm`, in a container created by plain Engine API calls, cold, and ten times warm. No times come from the
// program itself: the server, which is in the benchmark's process, records when requests arrive and answers are ready, and
// packets on the bridge, timestamped by the kernel, show when a job's input is sent and its result arrives. That needs root.
//
// BenchmarkScript measures how long a script takes on an idle runner, on one whose other executors are busy, and on one whose
// executors are all busy while more tasks wait. Every round measures all three.
//
// BenchmarkFlood measures a warm job while another executor floods its log.
//
// BenchmarkStart and BenchmarkRecovery measure the start of a runner with much to recover.
//
// BenchmarkExecutors runs the actors and the spool with the fake engine: the cost of a job must not depend on the number of executors.
//
// A round of BenchmarkJob takes five seconds, so give it a number of rounds (-benchtime 30x), not a time.
package bench
