// Package simulation runs the whole actor system under one seed: actors.Root with the real spool on a file system in memory that
// crashes, and around it the fake server, engine, gateway and plugins, in virtual time. What happens, and in which order, the
// seed decides; what goes wrong too: answers, disks, containers, actors, the process, the machine.
//
//	stepper    one deed at a time: messages, tasks, timers, calls to the outside; the seed picks the next
//	fate       what befalls the runner, and when
//	world      what is around the runner, and its lives: start, kill -9, loss of power
//	oracle     what must hold all the time, and at the end (I1 to I12 of docs/architecture.md)
//	trace      what happened, in order: two runs of a seed have the same
//
// # Rules for what is simulated
//
// A turn never blocks. Tasks, and the programs of executors, touch what others touch only in deeds of the stage (Do, Until). No
// select on two things that one instant can make ready, but for the end of a context, after which a deed decides. All chance
// comes from the seed, that of cryptography too; no decision by the order of a map. A mutex may be held over a verb of the spool
// by the logbook only, whose verbs are therefore no deeds of their own.
//
// Breaking these shows as two runs of one seed that differ. A seed is valid for one build: a bug that one has found is kept as
// a scenario of its own.
package simulation
