// Package fake is a driver that lives in memory, for tests of what uses drivers. It passes the conformance suite.
//
// It is scripted by what things do, not by what calls return: an image has a Program that prints, runs for a while, ignores
// SIGTERM, dies of memory; or is a Go function in the place of a plugin. The engine itself can be slow, lose an answer, or be
// away (Script, Down).
//
// Who acts when is the Stage's to decide: on Live, time is package time, so that in a synctest bubble a test of hours takes no
// time (make the driver inside the bubble, and Close it there: that kills what still runs); on a simulation's own stage two
// runs of one seed are the same.
package fake
