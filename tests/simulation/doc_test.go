// Package simulation runs the whole actor system under one seed: actors.Root with the real spool on an in-memory file system that
// can crash, and the fake server, engine, gateway and plugins, in virtual time. The seed decides what happens, in which order, and
// which faults occur: in answers, disks, containers, actors, the process, the machine.
//
//	scheduler   runs one action at a time: messages, tasks, timers, calls to the outside; the seed picks the next
//	faults      the fault injector: what goes wrong, and when
//	conditions  how likely it is at present that a call of each kind fails
//	env         the runner's environment and its processes: start, kill -9, loss of power
//	checker     what must hold all the time, and at the end (I1 to I12 of docs/architecture.md)
//	trace       what happened, in order: two runs of a seed have the same trace
//
// # Rules for simulated code
//
// A turn, in which an actor handles its messages, never blocks. Tasks, and the programs of executors, touch shared state only in actions
// of the scheduler (Do, Until). No code selects on two channels that can become ready at the same instant, except for the end of a
// context, after which an action decides. All randomness comes from the seed, that of cryptography too; no decision depends on the
// order of a map. Only the log attributor may hold a mutex while it calls the spool; its spool calls are therefore not separate actions.
//
// When code breaks these rules, two runs of one seed differ. A seed is valid for one build only: a bug that a seed has found gets
// a test of its own.
package simulation
