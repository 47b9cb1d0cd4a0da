// Package fakes provides the environment of the actors in a test: a Release server, a gateway, and plugins. Together with the
// fake engine they run in a synctest bubble, or under the scheduler of a simulation.
//
// Tests configure the behavior of the fakes, not the return values of calls: a plugin takes five seconds, hangs, dies with code 3,
// or exits with 255 after its result; a server rejects a request, loses an answer, or is down. When the runner violates an
// invariant, the fakes record the violation with the invariant's name. Tests read the violations with Violations.
package fakes
