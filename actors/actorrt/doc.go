// Package actorrt is runnerd's actor runtime on top of Proto.Actor. It adds typed messages, tasks and timers whose cancellation is
// guaranteed, and supervision by the parent's code. An actor runs once: it is never restarted, but replaced by a new one.
//
//	Spawn ─ Start ─┬─ Receive … ─┬─ stop: Stop, children stop, goroutines end ──┐
//	               └─ panic ─────┴─ crash:      children stop, goroutines end ──┴─ the parent's ChildDown
//
// # The model
//
// An actor is a Behavior for one sealed set of messages M; a Ref[M] accepts no other. Handling one message is the actor's turn, and the
// actor's fields are accessed in its turns only. A turn must not block: blocking work is a task (Ctx.Go, Ctx.Stream), waiting is a timer
// (Ctx.After), and the results of both are messages of M.
//
// A panic ends the actor. The runtime never restarts it: its parent is notified by ChildDown and decides by its own policy, with its own
// timers, in its own turn. A parent that does not implement ChildWatcher crashes with its child. The crash of a root is delivered by
// System.Fatal.
//
// # Guarantees
//
//   - Messages of one sender to one actor arrive in the order in which they were sent.
//   - A cancelled or reset timer never delivers, nor does a cancelled task, even if the message is in the mailbox already.
//   - The context of an actor is cancelled by its crash, before its parent is notified.
//   - ChildDown is called once per child, after the child's own children and goroutines have ended: a successor of the same
//     name never runs beside them. Goroutines that outlive Options.Grace are logged and abandoned.
//   - Messages to an actor that has ended are discarded; they never reach a successor of the same name.
//   - Ask never waits for an actor that has ended.
//
// ChildDown may overtake the last messages that the child sent to its parent: the parent must be able to find their content elsewhere.
//
// # Limits
//
// The message on which an actor panicked is lost, and so are the messages that are in its mailbox when it panics or stops. An actor that
// must not lose work stores it elsewhere and reads it in Start. Mailboxes are unbounded; the protocol between the actors has to bound them.
//
// The Scheduler controls everything that the actors do not decide themselves (whose turn it is, when a task begins, time, random
// numbers), so a simulation can replace it.
package actorrt
