// Package messages holds runnerd's shared types and the messages that its actors send to one another.
//
// A message is a value that never changes after it has been sent. Each exchange between actors has a file of its own, which
// lists the messages in the order in which they are sent. Commands are imperative (Assign), facts are in the past tense (ResultStored).
// Each actor accepts one sealed set of messages (ToDispatcher, ToExecutor, …): sending it any other does not compile, and
// go-check-sumtype finds cases that are not handled. An actor's timers and the results of its background tasks belong to its
// set too, so one file lists everything that an actor can receive.
//
// The package imports the standard library only.
package messages
