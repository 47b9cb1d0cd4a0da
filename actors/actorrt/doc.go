// Package shell is how runnerd uses Proto.Actor: typed actors, of which each is one Go value with one life.
//
//	Spawn ─ Start ─┬─ Receive … ─┬─ stop: Stop, children stop, goroutines end ──┐
//	               └─ panic ─────┴─ crash:      children stop, goroutines end ──┴─ the parent's ChildDown
//
// # The model
//
// An actor is a Behavior for one sealed set of messages M; a Ref[M] takes no other. What the actor does between two
// messages is its turn, and its fields belong to its turns. Nothing may block in a turn: blocking work is a task (Ctx.Go,
// Ctx.Stream), waiting is a timer (Ctx.After), and the answers of both are messages of M.
//
// A panic ends the actor. It is never started again under the hood: its parent hears of it in ChildDown and decides by its
// own policy, with its own timers, in its own turn. A parent that does not listen crashes with its child. A root that
// crashes is the system's Fatal.
//
// # Guarantees
//
//   - Messages of one sender to one actor arrive in the order they were sent.
//   - A cancelled or re-armed timer never delivers, nor does a cancelled task, not even what is in the mailbox already.
//   - The context of an actor ends at its crash itself, before anyone decides what to do about it.
//   - ChildDown comes once per child, after the child's own children and goroutines have ended: a successor of the same
//     name never runs beside them. Goroutines that do not end within the grace are logged and left behind.
//   - What is sent to an actor that has ended is discarded; it never reaches a successor of the same name.
//   - Ask never waits for an actor that has ended.
//
// ChildDown may overtake the last messages that the child sent to its parent: what they said must be found elsewhere too.
//
// # Limits
//
// The message on which an actor panicked is lost, and so is what waited behind it and behind a stop: who must not lose work
// keeps it elsewhere and looks there in Start. Mailboxes have no bound; the protocol between actors is what bounds them.
//
// Everything that is not the actors' own decision (whose turn it is, when a task begins, time, chance) goes through the
// Scheduler, so that a simulation can take its place.
package actorrt
