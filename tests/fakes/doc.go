// Package fakes holds what is around the actors in a test: a Release server, a gateway, and the plugins that come to its
// doors. Together with the fake engine they are a world that runs in a synctest bubble, or on the stage of a simulation.
//
// They are scripted by what they do, not by what calls return: a plugin takes five seconds, hangs, dies with code 3, exits
// 255 after its result; a server refuses, loses an answer, is away. What a runner must never do is no return value but a
// breach, named by the invariant that forbids it, and kept until the test asks.
package fakes
