// Package gateway is where executors' plugins get their jobs and leave their results.
//
// It answers as the Kubernetes API for exactly one Secret per executor, which is all that the official SDKs need of a
// cluster, and takes results by callback or from the result file. How plugins behave there, and the eighteen rules that
// follow from it, is docs/executor-contract.md.
//
// # Model
//
// The gateway is transport. It listens, authenticates, bounds, parses, decrypts and encrypts, and decides nothing about jobs: that
// does the session of the executor's actor (actors/session.go). Every executor has an endpoint. A request is parked there:
//
//	plugin ──GET, LIST, callback──▶ endpoint ──SessionEvent──▶ session
//	plugin ◀──────answer─────────── endpoint ◀────Answer────── session
//	plugin ◀──event of a watch───── endpoint ◀────Notify────── session
//
// Parked requests outlive the actor, as containers do: whoever calls Requests is told of all that wait. One that nobody answers
// waits, a callback for 45 s.
//
// # Guarantees
//
// An endpoint opens to its own executor only. What a session is told is a job's result was made with that job's key and came by
// its own URL or file. Delivered is told once the executor's machine has acknowledged the last byte of the input.
//
// # Limits
//
// The bodies of results are held in memory, one per executor at a time, up to Options.MaxResult. Watches, requests and headers
// of an executor are bounded; connections of somebody without a token are bounded by time only.
package gateway
