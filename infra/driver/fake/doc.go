// Package fake is an in-memory driver.Driver for tests. It passes the conformance suite.
//
// Tests script behavior instead of return values. An image has a Program that prints, runs for a while, ignores SIGTERM or runs
// out of memory, or a Go function that acts as the plugin. The engine can be slow, lose a response, or be down (Script, Down).
//
// A Scheduler decides who acts when. RealTime uses goroutines and package time, so that a test of hours takes no time in a
// synctest bubble; create and Close the driver inside the bubble, because Close kills what still runs. The simulation has a
// scheduler of its own, with which two runs with the same seed are identical.
package fake
