// Package gateway is the HTTP server from which executors' plugins get their jobs and to which they deliver results.
//
// It serves the Kubernetes API for exactly one Secret per executor, which is all that the official SDKs use of a cluster, and receives
// results by callback and from the result file. docs/executor-contract.md describes how plugins behave, and the eighteen rules that
// follow from it.
//
// # Model
//
// The gateway is transport: it listens, authenticates, limits, parses, decrypts and encrypts. All decisions about jobs are made by the
// session in the executor's actor (actors/session.go). Every executor has an endpoint, which holds its pending requests:
//
//	plugin ──GET, LIST, callback──▶ endpoint ──SessionEvent──▶ session
//	plugin ◀──────answer─────────── endpoint ◀────Answer────── session
//	plugin ◀────watch event──────── endpoint ◀────Notify────── session
//
// Pending requests survive a restart of the actor, as containers do: a new call of Requests receives all of them. A request waits without
// limit, except for a callback, which waits for at most 45 s.
//
// # Guarantees
//
// An endpoint is accessible to its own executor only. What the gateway reports as a job's result was encrypted with that job's key and
// came by that job's own URL or file. The gateway reports Delivered when the executor's machine has acknowledged the last byte of the
// input.
//
// # Limits
//
// The gateway holds one result body per executor in memory, up to Options.MaxResult. Watches, requests and headers of an executor are
// limited in number and size. Connections without a valid token are limited in time only.
package gateway
