package messages

import (
	"errors"
	"fmt"
	"time"
)

// The words between the runner and the Release server.

// Registration is the server's answer to register.
type Registration struct {
	RunnerID    string
	AccessToken Secret
	LastEventID string // the first request for events sends it
	Config      Config
}

// ErrConfig is the cause where the server has answered a registration with a configuration that cannot be.
var ErrConfig = errors.New("the server's configuration of this runner cannot be")

// JobPhase is what a heartbeat says of a job.
type JobPhase struct {
	ID        JobID
	Execution ExecutionID
	Phase     string // a Stage's word
}

// StopOrder asks for the end of a job that the server no longer wants or knows.
type StopOrder struct {
	ID        JobID
	Execution ExecutionID
	Reason    string
}

// Refusal is an answer of the server that is not the one asked for. Errors without an answer (no connection, a time-out,
// an answer that is no part of the protocol) are of other types: they say nothing about what the server wants.
type Refusal struct {
	Op         string // "register", "reserve", …
	Status     int
	Detail     string        // of the problem document
	RetryAfter time.Duration // zero: the server named none
	Offset     int64         // 409 to a log: where the server wants it to go on
	Stale      bool          // the runner has registered since the request began: the refusal may be about the session before
}

func (r *Refusal) Error() string {
	s := fmt.Sprintf("%s: the server answers %d", r.Op, r.Status)
	if r.Detail != "" {
		s += ": " + r.Detail
	}
	return s
}

// Final reports whether the server will never take it, however often it is repeated. What a job said and how it ended is the
// same however often it is sent: a server that cannot read it, or finds it too large, does so for ever.
func (r *Refusal) Final() bool {
	switch r.Status {
	case 404, 409, 410:
		return true
	case 400, 413:
		return r.Op == "log" || r.Op == "finish"
	default:
		return false
	}
}

// Unavailable reports whether it is about the server, or what stands before it, and not about what was sent.
func (r *Refusal) Unavailable() bool {
	return r.Status == 429 || r.Status == 502 || r.Status == 503 || r.Status == 504
}

// Unregistered reports whether the server does not know the caller (any more): register again.
func (r *Refusal) Unregistered() bool {
	return !r.Stale && (r.Status == 401 || r.Status == 403)
}
