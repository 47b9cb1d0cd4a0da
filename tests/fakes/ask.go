package fakes

import (
	"context"
	"errors"
	"time"
)

// How a plugin comes to its jobs, and what the SDKs do when it goes wrong.

// question is a plugin's GET on its way: first it waits for an event if it must, then it is held, then answered.
type question struct {
	*visitor
	needsEvent bool
	hold       *hold
	mutters    time.Time // zero: not any more

	in   *given
	code int
	over bool
	lost bool // the GET was held, and is not any more
}

// ask waits for a job; over: the process has ended instead.
func (v *visitor) ask(ctx context.Context) (in given, code int, over bool) {
	q := &question{visitor: v}
	if v.MuttersAfter > 0 {
		q.mutters = time.Now().Add(v.MuttersAfter)
	}
	for {
		q.lost = false
		if v.Until(ctx, "ask", q.try) != nil {
			v.site.stage.Do("let go", func() { q.letGo() })
			return given{}, died, true
		}
		var stays bool
		switch {
		case q.over:
			return given{}, q.code, true
		case q.lost:
			stays = q.losesHold(ctx)
		case !v.python() && v.site.chance(AnswerCut): // Python repeats its GET, and has the same answer
			stays = q.losesAnswer(ctx)
		default:
			return *q.in, 0, false
		}
		if !stays {
			return given{}, 0, true
		}
	}
}

func (q *question) letGo() {
	if q.hold != nil {
		q.hold.letGo(q.Spec.ID)
	}
}

// try is one look at what has become of the question.
func (q *question) try() (done bool, again time.Time) {
	if !q.mutters.IsZero() && !time.Now().Before(q.mutters) {
		q.Print("nobody comes\n")
		q.mutters = time.Time{}
	}
	for s := q.Signal(); s != ""; s = q.Signal() {
		if q.code, q.over = q.dies(s); q.over {
			q.letGo()
			return true, again
		}
	}
	if q.hold == nil {
		done, again = q.come()
		return done, sooner(again, q.mutters)
	}
	if q.in, q.lost = q.hold.now(); q.in != nil || q.lost {
		q.hold, done = nil, true
	}
	return done, q.mutters
}

// come asks, unless it waits for an event first.
func (q *question) come() (done bool, again time.Time) {
	g := q.site.now()
	if g == nil {
		return false, again
	}
	if q.needsEvent {
		came, next := g.event(q.Spec.ID)
		if !came {
			return false, next
		}
		q.needsEvent = false
	}
	var err error
	q.hold, q.in, again, err = g.get(q.Spec.ID, q.last.execution)
	if err != nil && !errors.Is(err, errAway) {
		q.code, q.over = died, true
	}
	return q.over || q.in != nil, again
}

// losesHold: the plugin asks again, or it has been refused for too long: it reports that as the result of its last job, in the
// manner of its SDK. False: it has ended.
func (q *question) losesHold(ctx context.Context) (stays bool) {
	switch {
	case !q.site.chance(Refused):
		return true
	case q.last.execution == "": // it has nobody to report it to
		return false
	}
	q.site.bogus(ctx, q.Spec.ID, q.last)
	q.needsEvent = true
	return !q.python()
}

// losesAnswer: it reports, in the same way, that it could not read its input, and the job has never run.
func (q *question) losesAnswer(ctx context.Context) (stays bool) {
	if q.last.execution == "" {
		return false
	}
	q.site.bogus(ctx, q.Spec.ID, q.last)
	q.in, q.needsEvent = nil, true
	return true
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
