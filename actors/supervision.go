package actors

import "time"

// childPolicy is how the runner keeps one of its children up. A child that crashes is started anew, and with it those after it
// in the table (rest for one): they hold what it told them. None of them loses anything: what it owes is in the spool, and
// it looks there when it starts.
type childPolicy struct {
	name  string
	wait  backoff
	reset time.Duration // a child that lived this long has not failed before
	limit int           // crashes in a row; then the runner gives up, the process ends, and the service manager starts it again
	lost  string        // by a crash
}

// children is the supervision table, in the order of starting.
var children = []childPolicy{
	{name: "reporter", wait: restart, reset: time.Minute, limit: 20, lost: "nothing: an attempt under way is repeated, and the server takes it once"},
	{name: "dispatcher", wait: restart, reset: time.Minute, limit: 20, lost: "nothing: the poller tells the waiting jobs again, recovery gives the executors back"},
	{name: "recovery", wait: restart, reset: time.Minute, limit: 20, lost: "nothing: its plan may be carried out twice"},
	{name: "sse", wait: restart, reset: time.Minute, limit: 20, lost: "nothing: the server says again what it has said since the registration"},
	{name: "poller", wait: restart, reset: time.Minute, limit: 20, lost: "a reserve answer that is not stored yet: its lease runs out, and the server offers it again"},
}

var restart = backoff{min: 100 * time.Millisecond, max: 10 * time.Second, jitter: 0.2}

// childState is what the runner remembers of a child.
type childState struct {
	childPolicy
	up       bool
	stopping bool // asked to stop
	since    time.Time
	fails    int
}

// crashed counts a crash and says how long to wait; false: enough.
func (u *childState) crashed(now time.Time, jitter float64) (time.Duration, bool) {
	if now.Sub(u.since) >= u.reset {
		u.fails = 0
	}
	u.fails++
	return u.wait.after(u.fails, jitter), u.fails <= u.limit
}
