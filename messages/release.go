package messages

import (
	"errors"
	"fmt"
	"time"
)

// Types exchanged between the runner and the Release server.

// Registration is the server's answer to register.
type Registration struct {
	RunnerID    string
	AccessToken Secret
	LastEventID string // the newest event that the registration includes; the event stream begins after it
	Config      Config
}

// ErrConfig is wrapped by the error of a registration that the server answered with an invalid configuration.
var ErrConfig = errors.New("server sent an invalid runner configuration")

// JobPhase is what a heartbeat reports about a job.
type JobPhase struct {
	ID        JobID
	Execution ExecutionID
	Phase     string // the name of a Stage
}

// StopOrder asks to stop a job that the server no longer wants or knows.
type StopOrder struct {
	ID        JobID
	Execution ExecutionID
	Reason    string
}

// Refusal is an error response of the server. Errors without a valid response (no connection, a timeout, a response that violates the
// protocol) are of other types: they say nothing about the server's decision.
type Refusal struct {
	Op         string // "register", "reserve", …
	Status     int
	Detail     string        // from the problem document
	RetryAfter time.Duration // zero: the server gave none
	Offset     int64         // with 409 to a log: where the server wants it to continue
	Stale      bool          // the runner has registered since the request began: the refusal may be about the previous registration
}

func (r *Refusal) Error() string {
	s := fmt.Sprintf("%s: server answered %d", r.Op, r.Status)
	if r.Detail != "" {
		s += ": " + r.Detail
	}
	return s
}

// Final reports whether the server will refuse every retry of the request. A log or a finish never changes, so a server
// that cannot read it, or finds it too large, always will.
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

// Unavailable reports whether the server, or a proxy in front of it, is unavailable: the refusal is not about the request.
func (r *Refusal) Unavailable() bool {
	return r.Status == 429 || r.Status == 502 || r.Status == 503 || r.Status == 504
}

// Unregistered reports whether the server does not know the runner, which then has to register again.
func (r *Refusal) Unregistered() bool {
	return !r.Stale && (r.Status == 401 || r.Status == 403)
}
