// Package actors contains runnerd's logic. Each part is an actor with typed messages (package actorrt), or a pure function that an actor
// calls. Everything outside is behind an interface in ports.go.
//
// # The tree
//
//	runner            lifecycle: registers, sends the heartbeat, supervises its children, drains    runner.go, runner_*.go
//	├─ reporter       sends logs and endings from the spool to the server, then removes the job     reporter.go, reporter_outage.go
//	├─ dispatcher     assigns jobs to executors, starts and evicts executors                        dispatcher.go, dispatcher_*.go
//	│   └─ executor…  one for each container; its session decides what to do                        session*.go (pure), executor*.go
//	├─ recovery       finds the executors and jobs that survived a restart                          recovery.go, recovery_plan.go
//	├─ sse            keeps the server's event stream open and forwards its events                  sse.go
//	└─ poller         reserves jobs while there are free slots, confirms them, hands them over      poller.go
//
// The children start in this order. Each may rely on the ones before it.
//
// # A job, from offer to report
//
//  1. The poller reserves the job by long poll, stores it (Spool.Add), confirms it, and sends JobConfirmed to the dispatcher.
//  2. The dispatcher decides to reuse an idle executor, to start a new one, or to let the job wait for a slot. It sends Assign to the
//     executor's actor.
//  3. A new executor pulls the image, creates the container and starts it. Then, as in an idle executor, the plugin's GET arrives at the
//     gateway, which sends SecretRequested to the executor's actor and holds the GET.
//  4. The executor reads the input, records the hand-out (Spool.HandOut), and only then answers the GET with the job. When the plugin's
//     machine has acknowledged the input, the gateway sends Delivered, which is recorded too.
//  5. The executor attributes the container's output to the job, masks it, appends it to the spool (Spool.AppendLog), and sends Report to
//     the reporter.
//  6. The plugin delivers its result by callback or file; the gateway sends CallbackReceived or ResultFileChanged. The executor stores
//     the result (Spool.StoreResult), answers the callback, and sends Report to the reporter and JobDone to the dispatcher.
//  7. The executor notifies the plugin, which sends its next GET. While that is held, the executor is Idle.
//  8. The reporter sends the log, the finish and the end of the log to the server, and removes the job from the spool (Spool.Remove).
//
// # The session
//
// One pure function, step, makes all decisions about an executor. It takes a session, which is a value, and a message, and returns the
// next session and its effects. The executor's actor passes every message to it, carries out the effects, and passes their outcomes to it
// as messages. So the state of the container, the job and the plugin's requests cannot contradict each other, and a test can visit every
// reachable combination (session_explore_test.go). The gateway holds requests until the session answers them.
//
// The finish of an aborted or timed-out job waits until the executor has recorded how the stop went (Spool.Stopped). The executor knows
// that once the plugin has reacted to the signals or ended. If the executor has not recorded it shortly after the time in which the stop
// sequence must have ended, the reporter records Stopped itself before it sends the finish, because a repeated finish must not differ.
//
// The log of a job is closed when the executor has been quiet for a while after its next GET, or when it has ended and its output is read.
// Only then is the log's total size known. The executor closes it; the dispatcher closes the log of a job without an executor, and
// recovery that of a job whose executor no longer exists.
//
// The dispatcher evicts an executor (Retire) when its eviction time has passed, or when it has more processes while idle than the baseline of
// its image. An executor that exceeds its disk limit fails its job.
//
// # Events of the server
//
// sse sends each event of the server to the runner (ServerEvent), which acts on it:
//
//   - Configure, Enable, Disable: save the configuration, send Configured to the dispatcher, open or close the poller's intake.
//   - ExecuteScript: sse has stored the script in the spool; the poller confirms it and hands it over like a task, but it runs before
//     tasks. Its log goes to the runner's own log.
//   - StopJob: send Abort to the dispatcher. The heartbeat's answer carries the same orders, in case the event stream is broken.
//   - Delete: record the deletion (Settings.RecordDeletion), drain with the jobs aborted, unregister once, call Program.Deleted.
//
// A script counts as processed once it is in the spool, any other event at once. After a crash the server repeats all events since the
// registration. sse reopens a stream that is silent for 30 s. If that does not help, the runner goes offline and registers again; running
// jobs continue.
//
// The messages are in package messages, one file for each exchange.
//
// # What survives a restart
//
// Nothing that this package holds in memory survives. Containers and the spool are authoritative, and each actor rebuilds its work from them
// when it starts:
//
//	reporter    every job that is handed out or ended: the unsent part of its log, its ending, its removal
//	dispatcher  nothing: recovery sends the executors (Adopt, Orphan), the poller sends the waiting jobs again
//	executor    the executor's record and the stage of its job; the gateway sends all pending requests again, and the engine reports the
//	            state of the container
//	recovery    the driver's list of containers and the spool
//	runner      whether the server has deleted it
//	sse         nothing: the runner gives it the id of the last event
//	poller      reserved jobs, which it confirms again, and confirmed ones, which it sends to the dispatcher again
//
// # Supervision
//
// A panic ends its actor, never a container. The runner restarts the child that crashed and those after it (rest-for-one), by the table in
// supervision.go. The dispatcher restarts an executor's actor alone. A job on which actors crashed three times fails. If the actors of
// its executor keep crashing after that, the dispatcher removes the executor with its container, as it does with an orphaned
// container. If the runner itself crashes, the process ends, and the service manager restarts it.
//
// # Stopping
//
// Drain: the poller reserves nothing more, the dispatcher lets running jobs end and evicts the executors, the reporter sends what is left;
// then the tree is stopped. Detach: the poller accepts the jobs that are on their way and no more, the dispatcher assigns none; the gateway
// accepts the results that are on their way and is stopped, then the tree. The executors keep running, and the next start adopts them. A
// second signal ends the process at once, with the same effect as a detach.
package actors
