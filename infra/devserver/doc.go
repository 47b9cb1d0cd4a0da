// Package devserver is a Release server for developers and tests: it hands out tasks over the whole Runner API
// (infra/release/api), to any number of runners, and shows what became of them over a small REST API of its own.
//
// # Model
//
// A task is queued → offered → running → completed, failed or aborted. An offer holds for a lease (60 s); after it the
// task is offered again under a fresh execution id, and the older one opens nothing any more. A script takes the same way
// but is pushed to one runner as an event and has no lease. Every offer has a session key of its own.
//
// # For people
//
//	POST   /api/tasks              a TaskRequest; the answer is a TaskView, at its Location too
//	GET    /api/tasks              all of them, newest first; /api/tasks/ID: one
//	GET    /api/tasks/ID/log       its log so far; with Accept: text/event-stream as it comes
//	POST   /api/tasks/ID/abort     {"reason"}
//	GET    /api/runners            those that are registered
//	PUT    /api/runners/ID/config  a configuration, but for its revision
//	POST   /api/runners/ID/enable  also disable and ping
//	DELETE /api/runners/ID         tells it that it is no more
//	GET    /api/ledger?job=ID      what was said, and what was wrong with it
//	GET    /api/v1/openapi.yaml    the Runner API
//
// docs/devserver.md has a line to paste for each of them.
//
// # Oracle
//
// The server believes no runner. Everything that one says goes into the Ledger, and whatever breaks an invariant of the
// protocol is there as a Breach, named after the project's list:
//
//	I1  a second finish that differs from the first
//	I3  a log or a finish of a job that is not confirmed
//	I4  a reserve of more jobs than the runner ever had capacity for
//	I7  log bytes that leave a gap, contradict those that are here, or come after the total
//	I8  a password value in a log or in a message
//	I9  a result that does not open with the session key of its job
//
// # Limits
//
// All state is in memory and is gone with the process: a runner then hears 401, registers again, and is told to stop what
// it still has. The number of finished tasks, the log of each, the ledger and every body have bounds (Options); beyond its
// limit a log is counted and no longer kept. The REST API asks nobody for a password: bind it to the loopback interface.
package devserver
