// Package messages is the vocabulary of runnerd: the words everybody uses, and what the actors say to one another.
//
// A word is a named value; it never changes after it has been sent. A conversation has a file of its own, and reads top to
// bottom in the order in which it is held. Commands are imperative (Assign), facts are in the past tense (ResultStored).
// What an actor understands is a sealed set (ToDispatcher, ToExecutor, …): the wrong message does not compile and
// go-check-sumtype finds a case that nobody handles. Timers of an actor and the answers of work it started outside its
// mailbox belong to its set too, so that one file tells all it can ever hear.
//
// The package imports the standard library only.
package messages
