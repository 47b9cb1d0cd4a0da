package actors

import "time"

// childPolicy says how the runner restarts one of its children. A child that crashes is restarted together with those after it in the
// table (rest for one), because they hold references to it and data from it. No work is lost: each child reads its work from the spool
// when it starts.
type childPolicy struct {
	name       string
	backoff    backoff
	resetAfter time.Duration // after this uptime earlier crashes do not count any more
	maxCrashes int           // in a row; after that the runner crashes, the process ends, and the service manager restarts it
}

// children is the supervision table, in the order of starting. The comments say what a crash loses.
var children = []childPolicy{
	// Nothing: the next reporter retries an attempt in flight, and the server accepts it once.
	{name: "reporter", backoff: childRestart, resetAfter: time.Minute, maxCrashes: 20},
	// Nothing: the poller sends the waiting jobs again, and recovery the executors.
	{name: "dispatcher", backoff: childRestart, resetAfter: time.Minute, maxCrashes: 20},
	// Nothing: carrying out the plan twice does no harm.
	{name: "recovery", backoff: childRestart, resetAfter: time.Minute, maxCrashes: 20},
	// Nothing: the server repeats all events since the registration.
	{name: "sse", backoff: childRestart, resetAfter: time.Minute, maxCrashes: 20},
	// A reserve answer that is not stored yet: its lease expires, and the server offers the jobs again.
	{name: "poller", backoff: childRestart, resetAfter: time.Minute, maxCrashes: 20},
}

var childRestart = backoff{min: 100 * time.Millisecond, max: 10 * time.Second, jitter: 0.2}

// childState is a child and its state.
type childState struct {
	childPolicy
	up       bool
	stopping bool // it was asked to stop, because a child before it crashed
	since    time.Time
	crashes  int
}

// crashed counts a crash and returns the wait before the restart, and false after maxCrashes.
func (u *childState) crashed(now time.Time, jitter float64) (time.Duration, bool) {
	if now.Sub(u.since) >= u.resetAfter {
		u.crashes = 0
	}
	u.crashes++
	return u.backoff.after(u.crashes, jitter), u.crashes <= u.maxCrashes
}
