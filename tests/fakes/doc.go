// Package fakes provides the environment of the actors in a test: a Release server, a gateway, and plugins. Together with the
// fake engine they run in a synctest bubble, or under the scheduler of a simulation.
//
// Tests configure their behavior, not the return values of calls: a plugin takes five seconds, hangs, dies with code 3, exits
// with 255 after its result; a server refuses, loses an answer, is down. When the runner does what it must never do, the fakes
// record a violation with the name of the invariant. Tests read them with Violations.
package fakes
