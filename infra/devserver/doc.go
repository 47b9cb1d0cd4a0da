// Package devserver is a Release server for developers and tests: it offers tasks to any number of runners over the
// complete Runner API (infra/release/api), and shows their outcome over a small REST API of its own.
//
// # Model
//
// A task is queued → offered → running → completed, failed or aborted. An offer has a lease (60 s). When the lease expires,
// the task is offered again under a new execution id, and the old id is no longer accepted. A script has the same states, but
// it is pushed to one runner as an event and has no lease. Every offer has its own session key.
//
// # REST API
//
//	POST   /api/tasks              takes a TaskRequest; returns a TaskView and its Location
//	GET    /api/tasks              all tasks, newest first; /api/tasks/ID: one task
//	GET    /api/tasks/ID/log       its log so far; with Accept: text/event-stream, the log as it grows
//	POST   /api/tasks/ID/abort     takes {"reason"}
//	GET    /api/runners            registered runners
//	PUT    /api/runners/ID/config  takes a configuration without its revision
//	POST   /api/runners/ID/enable  also disable and ping
//	DELETE /api/runners/ID         tells the runner that it was deleted
//	GET    /api/ledger?job=ID      messages of the runners, and the rules that they broke
//	GET    /api/v1/openapi.yaml    the Runner API
//
// docs/devserver.md has an example command for each of them.
//
// # Ledger
//
// The server does not trust runners. It records their messages in the Ledger, and records a message that breaks an
// invariant of the protocol as a Violation as well:
//
//	I1  a second finish that differs from the first one
//	I3  a log chunk or a finish of a job that the runner has not confirmed
//	I4  a reserve of more jobs than the runner's capacity ever was
//	I7  log bytes that leave a gap, differ from the stored ones, or come after the total
//	I8  a password value in a log or in a message
//	I9  a result that cannot be decrypted with its job's session key
//
// # Limits
//
// All state is in memory and is lost with the process. A runner then gets 401, registers again, and is asked to abort the
// jobs that it still has. The number of finished tasks, the log of each, the ledger and every body have limits (Options). Log
// bytes beyond the limit are counted but not stored. The REST API has no authentication: bind it to the loopback interface.
package devserver
