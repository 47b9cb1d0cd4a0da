// Package gateway is the door of executors: where they get their jobs and leave their results.
//
// It answers as the Kubernetes API for exactly one Secret per executor, which is all that the official SDKs need of a
// cluster, and takes results by callback or from the result file. How plugins behave there, and the eighteen rules that
// follow from it, is docs/executor-contract.md.
//
// # Model
//
// A Gateway is a value without actors: it goes on while they are restarted. Every executor has a door, and a door has a
// phase:
//
//	waiting ──hand out──▶ running ──result──▶ settled ──arm──▶ waiting
//	                       │   ▲                 ▲
//	                 proof │   │ next GET        │
//	                       ▼   │                 │
//	                     unstarted ───result─────┘
//
// While it is waiting, a GET of the Secret is held until a job is there. While a job runs, a GET is answered with that job
// again. In settled the plugin may still be about its old result: a GET shows the old key and url, and no input. To arm is
// to send one event with the next dummy key to the watch that makes the plugin come with a GET. LIST and WATCH show the
// dummy key, never a job.
//
// # Guarantees
//
// A job is journaled as handed out before its first byte leaves, and leaves a second time only if the plugin has proven
// that it did not start it. A callback is answered 204 once the result is stored, and with an error only when it could not
// be stored for 45 s. Only what decrypts with a job's key and came by that job's own URL or file is its result. A door opens
// to its own executor only.
//
// # Limits
//
// A plugin can harm itself: it may claim that it did not start a job, once, and it may write results until one counts. The
// bodies of results are held in memory, one per executor at a time, up to Options.MaxResult. Watches, requests and headers
// of an executor are bounded; connections of somebody without a token are bounded by time only.
package gateway
