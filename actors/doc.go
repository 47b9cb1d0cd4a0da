// Package actors decides. Everything that touches the outside is behind a port (ports.go); everything here is an actor with
// typed messages and a supervisor, or a pure function beside one.
//
// # The tree
//
//	runner            lifecycle: registers, sends the heartbeat, keeps its children up, drains   runner.go, then _server, _end, _delete, _status; _phase
//	├─ reporter       spool → server: logs, finishes, removal, for ever                          reporter.go, _outage; _progress decides
//	├─ dispatcher     who runs where: admits jobs, chooses or evicts executors                   dispatcher.go, _pool, _crash; _slots decides
//	│   └─ executor…  one per container; its session decides                                     session.go, then _start, _requests, _job, _result, _stop, _container;
//	│                                                                                            executor.go, _effects, _tasks, _handout do; _log, _logbook, _chapter, _usage
//	├─ recovery       finds what outlived a restart; then is done                                recovery.go; _plan decides
//	├─ sse            keeps the control channel open, hands on what the server says              sse.go
//	└─ poller         asks for jobs while there is room, confirms them, hands them over          poller.go
//
// They start in this order, and each later one may rely on the earlier.
//
// # A job, from offer to report
//
//	poller      reserves, Spool.Add, confirms                         → dispatcher JobConfirmed
//	dispatcher  decide: reuse, start, or wait for a place              → executor   Assign
//	executor    pull, create, start; or it has been waiting            ← gateway    SecretRequested: its GET waits
//	executor    reads the input once, Spool.HandOut, then answers the GET with the job
//	executor    output → logbook → Spool.AppendLog, masked             → reporter   Report
//	gateway     the input is acknowledged                              → executor   Delivered, journaled
//	gateway     a callback or a result file                            → executor   CallbackReceived, ResultFileChanged
//	executor    Spool.StoreResult, answers the callback                → reporter   Report, → dispatcher JobOver
//	executor    tells the plugin to ask; its next GET waits            → dispatcher Idle
//	reporter    log, finish, log's end; Spool.Remove
//
// # The session
//
// All that is decided about one executor is one pure function: step takes a session, which is a value, and a message, and returns
// the session after it and its effects. The executor's actor brings it every message, carries the effects out, and brings back what
// comes of them. So its container's life, its job and what its plugin is told cannot contradict each other, and a test can visit every
// state that they reach together (session_explore_test.go). The gateway keeps requests until the session has them answered.
//
// The finish of an aborted or timed-out job waits for the plugin's answer to the signals, or its end: until Spool.Stopped, with
// which the executor says how that went, or for a little longer than the signals may take. The reporter says Stopped before it
// sends such a finish, for that must be the same whenever it is repeated. A job's log is closed, and so has a total, when its executor has been quiet
// for a while after its next GET, or has ended and its output is read. Closed by whoever is left: the executor; the
// dispatcher for a job without one; recovery for a job whose executor is no more.
//
//	dispatcher  eviction timer                                         → executor   Retire: killed, removed, Gone
//	executor    waits: counts what runs in it, more than usual         → dispatcher ProcessesCounted → Retire
//	executor    runs: measures what it has written, too much           (the job has failed)
//
// # What the server says
//
//	server      Ping, Enable, Disable, Configure, Delete, ExecuteScript, AbortJob → sse → runner ServerEvent
//	runner      configuration: kept, → dispatcher Configured, opens or closes the poller
//	            script: sse has stored it, → poller ScriptStored, confirmed and handed over like a task, and run before tasks
//	            abort: → dispatcher Abort; the heartbeat's answer brings it too, should the channel be silent
//	            delete: Settings.RecordDeletion, and → dispatcher DrainDispatch with the reason; after both Unregister, once, then
//	            Program.Deleted
//
// An event counts once what it brings is in the spool; after a crash the server says again what it has said since the
// registration. A channel that is silent for 30 s is opened anew; if that does not help the runner is offline: no new jobs, those
// that run go on, and it registers again. A script's log goes to the runner's own.
//
// What each of them says to whom is in package messages, a file for each conversation.
//
// # What survives a restart
//
// Nothing in here. Containers and the spool are the truth; an actor that starts looks there for what it owes:
//
//	reporter    every job that is handed out or ended: unsent log, an ending, removal
//	dispatcher  nothing: recovery gives it the executors (Adopt, Orphan), the poller tells the waiting jobs again
//	executor    its record and its job's stage: from them its session; the gateway tells again all requests that wait; the engine
//	            tells later what has become of the container
//	recovery    the driver's list and the spool: plan
//	runner      that the server has deleted it
//	sse         nothing: the runner says after which event it goes on
//	poller      reserved jobs are confirmed again, confirmed ones told again
//
// # Supervision
//
// A panic ends its actor, never a container. The runner's children: rest for one, by the table in supervision.go: the one
// that failed and those after it are stopped and started anew. An executor's actor is started anew alone, by the dispatcher.
// A job on which actors panicked three times is failed; an executor whose actors keep crashing without it is removed with its
// container, by the dispatcher itself, and so is a container of ours that no record knows. When the runner itself fails the process
// ends, and whoever started it starts it again.
//
// # How we stop
//
// Drain: the poller takes nothing more, the dispatcher lets running jobs end and evicts the rest, the reporter delivers; then
// the tree is stopped from its end. Detach: the poller takes what is on its way and nothing more, the dispatcher gives out nothing;
// the gateway is stopped, which takes the results that are on their way, and then the tree; executors stay, and the next start goes on. A second signal ends the process at once, with
// the same effect.
package actors
