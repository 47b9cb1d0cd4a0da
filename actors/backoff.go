package actors

import "time"

// backoff is an exponential backoff: min, 2·min, 4·min … max, each ± jitter.
type backoff struct {
	min, max time.Duration
	jitter   float64 // 0.2: ± 20 %
}

// after returns the wait after that many failures in a row; jitter is a random number in [0,1).
func (b backoff) after(failures int, jitter float64) time.Duration {
	d := b.min
	for i := 1; i < failures && d < b.max; i++ {
		d *= 2
	}
	d = min(d, b.max)
	return time.Duration(float64(d) * (1 + b.jitter*(2*jitter-1))).Round(time.Millisecond)
}

// afterError returns the wait after an error. It is at least the time that the server asked for.
func (b backoff) afterError(err error, failures int, jitter float64) time.Duration {
	d := b.after(failures, jitter)
	if r, ok := asRefusal(err); ok && r.RetryAfter > d {
		return r.RetryAfter
	}
	return d
}

// engineTimeout bounds a short engine call: one that hangs is retried like one that fails.
const engineTimeout = time.Minute

var (
	towardsServer = backoff{min: 500 * time.Millisecond, max: 30 * time.Second, jitter: 0.3}
	towardsEngine = backoff{min: 200 * time.Millisecond, max: 5 * time.Second, jitter: 0.2}
)
