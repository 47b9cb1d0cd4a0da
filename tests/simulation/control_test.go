package simulation

import (
	"maps"
	"slices"
	"strings"
	"time"

	msg "runnerd/messages"
	"runnerd/tests/fakes"
)

// What must hold of what the server says over the control channel.

const deletionHeard = "the server deletes this runner: its jobs are aborted, and what it has on this machine is removed"

// change is one of the runner's configuration.
type change struct {
	from    time.Time
	enabled bool
	scripts bool
}

// waiting is a job that the runner has confirmed, and has no executor yet.
type waiting struct {
	since  time.Time
	script bool
}

// boots: the runner goes by what its disk knows.
func (o *oracle) boots() {
	o.configured(o.w.config)
	o.trouble()
	if !o.w.note {
		o.deletion = deletion{}
	}
}

// configured: the runner goes by this from now on.
func (o *oracle) configured(c msg.Config) {
	o.now, o.nowFrom = c, time.Now()
	o.capacity = append(o.capacity, capacity{time.Now(), c.Capacity})
	o.changes = append(o.changes, change{time.Now(), c.Enabled, slices.Contains(c.Capabilities, "remote-script")})
}

// everSince reports whether it was so all the time since t, give or take a second.
func (o *oracle) everSince(t time.Time, so func(change) bool) bool {
	for i, c := range o.changes {
		if last := i+1 == len(o.changes); (last || !o.changes[i+1].from.Before(t.Add(-time.Second))) && !so(c) {
			return false
		}
	}
	return len(o.changes) > 0
}

// controlled: in good times the runner goes by what the server has said, and scripts are taken.
func (o *oracle) controlled() {
	if !o.deletion.heard.IsZero() {
		return
	}
	if held := o.idle(); o.calm(10*time.Second) && len(held) > 0 && len(o.alive) > o.now.Capacity && time.Since(o.nowFrom) > 10*time.Second {
		o.breach("I4: %v are alive and the capacity is %d, though %v are idle", o.living(), o.now.Capacity, held)
	}
	if !o.calm(2 * time.Minute) {
		return
	}
	if got, want := o.now, o.w.wanted; time.Since(o.w.said) > time.Second && (got.Enabled != want.Enabled || got.Capacity != want.Capacity || got.Eviction != want.Eviction || !slices.Equal(got.Capabilities, want.Capabilities)) {
		o.breach("config: the runner goes by %+v, and the server has said %+v", got, want)
	}
	o.stopped()
}

// idle are those that have waited for a while.
func (o *oracle) idle() (ids []msg.ExecutorID) {
	for _, id := range o.living() {
		if since := o.waits[id]; o.held[id] && !since.IsZero() && time.Since(since) > 30*time.Second {
			ids = append(ids, id)
		}
	}
	return ids
}

// stops: an event says so, and that is all the runner hears of it.
func (o *oracle) stops(id msg.ExecutionID) {
	if o.calm(2*time.Minute) && o.w.sys != nil {
		o.stopping[id] = time.Now()
	}
}

// stopped: who was stopped in good times ends so. A runner remembers for 2 min what it was told of a job to come.
func (o *oracle) stopped() {
	for _, id := range slices.Sorted(maps.Keys(o.stopping)) {
		since, a := o.stopping[id], o.w.server.AccountOf(id)
		switch {
		case time.Since(since) < 2*time.Minute:
			continue
		case !a.Confirmed || a.Execution != id || a.Taken.Sub(since) > time.Minute || a.Forgotten:
		case a.Finish == nil:
			o.breach("I11: %s was stopped by an event and has no finish", a.ID)
		case a.Finish.Outcome == msg.Completed && o.stored[id].Sub(since) > time.Second:
			o.breach("I11: %s was stopped by an event, and completes %v after it", a.ID, o.stored[id].Sub(since))
		}
		delete(o.stopping, id)
	}
}

// mayBegin looks at what a job needs besides its executor.
func (o *oracle) mayBegin(id msg.ExecutionID) {
	if d := o.deletion; d.undisturbed(o) && time.Since(d.heard) > 2*time.Second {
		o.breach("deletion: %s begins", id)
	}
	a := o.w.server.AccountOf(id)
	if a.Kind != msg.Script {
		return
	}
	if o.everSince(a.Taken, func(c change) bool { return !c.scripts }) {
		o.breach("capability: %s is a script, and the runner may run none", id)
	}
	if o.everSince(a.Offered, func(c change) bool { return !c.enabled }) {
		o.breach("disable: script %s runs", id)
	}
}

// isRefused: a script must not be, while the runner may run it.
func (o *oracle) isRefused(a fakes.Account) bool {
	return strings.Contains(a.Finish.Message, "runs no scripts") && o.everSince(a.Taken, func(c change) bool { return c.scripts })
}

// starts: an executor is made for a job. No script may wait then that was there before.
func (o *oracle) starts(id msg.ExecutionID) {
	delete(o.waiting, id)
	if o.w.server.AccountOf(id).Kind == msg.Script || !o.calm(time.Minute) {
		return
	}
	for _, other := range slices.Sorted(maps.Keys(o.waiting)) {
		w := o.waiting[other]
		if w.script && time.Since(w.since) > time.Second && o.w.server.AccountOf(other).Finish == nil {
			o.breach("order: task %s gets an executor, and script %s has waited for %v", id, other, time.Since(w.since))
			return
		}
	}
}
